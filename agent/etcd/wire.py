"""etcd's messages ↔ our values: records, changes, the words of a transaction, and what an error says."""

from dataclasses import dataclass
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2


@dataclass(frozen=True, slots=True)
class Record:
    """One key as etcd has it."""

    key: str
    value: bytes
    create_revision: int
    mod_revision: int
    lease: int


@dataclass(frozen=True, slots=True)
class Listing:
    """A range at one revision; ``cluster`` is the id of the cluster that said so, 0 where nobody asked."""

    records: tuple[Record, ...]
    revision: int
    cluster: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """A watch event; ``value`` is None for a deletion."""

    key: str
    record: Record | None
    revision: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of a transaction: ``listing`` holds what the losing branch read."""

    succeeded: bool
    revision: int
    listing: Listing


def unchanged_since(start: str, end: str, revision: int) -> Any:  # noqa: ANN401 - generated messages are untyped
    """Compare: every key of [start, end) was last modified at ``revision`` or before; true for an empty range."""
    return rpc_pb2.Compare(
        result=rpc_pb2.Compare.LESS,
        target=rpc_pb2.Compare.MOD,
        key=start.encode(),
        range_end=end.encode(),
        mod_revision=revision + 1,
    )


def modified_at(key: str, revision: int) -> Any:  # noqa: ANN401
    """Compare: the key was last modified exactly then (0: it does not exist)."""
    return rpc_pb2.Compare(
        result=rpc_pb2.Compare.EQUAL,
        target=rpc_pb2.Compare.MOD,
        key=key.encode(),
        mod_revision=revision,
    )


def putting(key: str, value: bytes, *, lease: int = 0) -> Any:  # noqa: ANN401
    """Then: write."""
    return rpc_pb2.RequestOp(
        request_put=rpc_pb2.PutRequest(key=key.encode(), value=value, lease=lease)
    )


def deleting(key: str) -> Any:  # noqa: ANN401
    """Then: delete."""
    return rpc_pb2.RequestOp(request_delete_range=rpc_pb2.DeleteRangeRequest(key=key.encode()))


def reading(start: str, end: str, *, modified_after: int = 0) -> Any:  # noqa: ANN401
    """Then or else: read what of [start, end) was modified after a revision."""
    request = rpc_pb2.RangeRequest(
        key=start.encode(), range_end=end.encode(), min_mod_revision=modified_after + 1
    )
    return rpc_pb2.RequestOp(request_range=request)


def record(item: Any) -> Record:  # noqa: ANN401
    """A key-value message as a Record."""
    key = item.key.decode(errors="replace")
    return Record(key, item.value, item.create_revision, item.mod_revision, item.lease)


def change(event: Any) -> Change:  # noqa: ANN401
    """A watch event as a Change."""
    written = record(event.kv) if event.type == event.PUT else None
    return Change(event.kv.key.decode(errors="replace"), written, event.kv.mod_revision)


def words(error: grpc.RpcError) -> str:
    """grpc's long-winded details, shortened to what an operator needs."""
    details = error.details() or error.code().name
    # A member that gave up when our deadline was over may be quicker to say so than grpc, in words of Go's.
    late = "context deadline exceeded" in details
    if late or error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return "no answer within the deadline"
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "what answers there is not etcd 3.4 or later"
    for known in (
        "Connection refused",
        "No route to host",
        "Network is unreachable",
        "Connection reset",
    ):
        if known.lower() in details.lower():
            return known.lower()
    return str(details).splitlines()[0][:200]
