"""The only door to etcd: calls with deadlines, endpoints that are rotated, streams of our own."""

import os

# grpc's C core writes lines of its own about every failed handshake to stderr; ours say more, and once.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

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
