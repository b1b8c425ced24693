"""The only door to etcd: calls with deadlines, endpoints that are rotated, streams of our own."""

from agent.etcd.client import Etcd
from agent.etcd.credentials import Credentials
from agent.etcd.watch import Heard, Span, Watch
from agent.etcd.wire import (
    Change,
    Listing,
    Outcome,
    Record,
    deleting,
    modified_at,
    putting,
    reading,
    unchanged_since,
)

__all__ = [
    "Change",
    "Credentials",
    "Etcd",
    "Heard",
    "Listing",
    "Outcome",
    "Record",
    "Span",
    "Watch",
    "deleting",
    "modified_at",
    "putting",
    "reading",
    "unchanged_since",
]
