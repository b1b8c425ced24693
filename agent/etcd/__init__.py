"""The only door to etcd: calls with deadlines, endpoints that are rotated, streams of our own."""

from agent.etcd.client import Credentials, Etcd
from agent.etcd.watch import Watch
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
    "Listing",
    "Outcome",
    "Record",
    "Watch",
    "deleting",
    "modified_at",
    "putting",
    "reading",
    "unchanged_since",
]
