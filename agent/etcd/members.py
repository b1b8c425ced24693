"""Questions about one member, not about the data: its state, alarms, who belongs to the cluster, its quota.

Here an endpoint is never rotated: what is asked is how *this* one is. `Status` is answered by the member
itself from memory (a member without a leader answers, too); `Alarm` goes through the log even to read, so it is
for operators, while `Status.errors` tells an agent of alarms for nothing (etcd 3.4 and later).

The stubs are older than etcd 3.4: what they do not know is taken from the unknown fields of the answer by the
numbers of etcd's rpc.proto.
"""

import contextlib
import http.client
import socket
import ssl
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc
from google.protobuf.unknown_fields import UnknownFieldSet

from agent.etcd.client import Etcd
from agent.etcd.credentials import Credentials
from agent.etcd.wire import words
from overlay.errors import BadConfig, StoreUnavailable

ALARMS = {1: "NOSPACE", 2: "CORRUPT"}
_ERRORS, _IN_USE, _STATUS_LEARNER, _MEMBER_LEARNER = 8, 9, 10, 5
_REFUSED = (grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED)
ASK_S = 5.0
_QUOTA = b"etcd_server_quota_backend_bytes "
_MOST_METRICS_BYTES = 8 << 20
_UNHEARD = (OSError, StoreUnavailable, http.client.HTTPException)
_GZIP = 31
"""zlib's wbits for gzip's header and the largest window."""


@dataclass(frozen=True, slots=True)
class Status:
    """A member as it sees itself; sizes in bytes, ``leader`` is a member id or 0."""

    cluster: int
    member: int
    version: str
    leader: int
    term: int
    revision: int
    size: int
    in_use: int
    learner: bool
    errors: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """Of the cluster's list; one that has not started yet has no name."""

    id: int
    name: str
    urls: tuple[str, ...]
    learner: bool


@dataclass(frozen=True, slots=True)
class Alarm:
    """Raised by ``member``: NOSPACE (no writes), CORRUPT (its data differ), or a number we do not know."""

    member: int
    what: str


def status(store: Etcd, endpoint: str, *, timeout_s: float = ASK_S) -> Status:
    """How the member is.

    Raises:
        StoreUnavailable: it does not answer.
        BadConfig: this user may not ask.
    """
    answer = _ask(
        store, endpoint, timeout_s, lambda it, **o: it.Status(rpc_pb2.StatusRequest(), **o)
    )
    more = _unknown(answer)
    return Status(
        cluster=int(answer.header.cluster_id),
        member=int(answer.header.member_id),
        version=str(answer.version),
        leader=int(answer.leader),
        term=int(answer.raftTerm),
        revision=int(answer.header.revision),
        size=int(answer.dbSize),
        in_use=int(more.get(_IN_USE, [answer.dbSize])[-1]),
        learner=bool(more.get(_STATUS_LEARNER, [0])[-1]),
        errors=tuple(text.decode(errors="replace") for text in more.get(_ERRORS, [])),
    )


def alarms(store: Etcd, endpoint: str, *, timeout_s: float = ASK_S) -> tuple[Alarm, ...]:
    """The cluster's alarms; raises as `status` does."""
    answer = _ask(store, endpoint, timeout_s, lambda it, **o: it.Alarm(rpc_pb2.AlarmRequest(), **o))
    return tuple(
        Alarm(int(one.memberID), ALARMS.get(int(one.alarm), f"alarm {int(one.alarm)}"))
        for one in answer.alarms
    )


def members(store: Etcd, endpoint: str, *, timeout_s: float = ASK_S) -> tuple[Member, ...]:
    """Who belongs to the cluster; raises as `status` does."""
    answer = _ask(
        store,
        endpoint,
        timeout_s,
        lambda it, **o: it.MemberList(rpc_pb2.MemberListRequest(), **o),
        rpc_pb2_grpc.ClusterStub,
    )
    return tuple(
        Member(
            int(one.ID),
            str(one.name),
            tuple(one.clientURLs),
            bool(_unknown(one).get(_MEMBER_LEARNER, [0])[-1]),
        )
        for one in answer.members
    )


def quota(store: Etcd, endpoint: str, *, timeout_s: float = ASK_S) -> int | None:
    """The member's quota in bytes by its own /metrics; None if that is not to be had, 0 or less: no quota.

    Only there etcd tells it. Where metrics have a listener of their own (--listen-metrics-urls), nobody knows.
    """
    try:
        where = store.where(
            endpoint
        )  # an address: http.client would resolve a name, without any deadline
        door = http.client.HTTPConnection(where.authority)
        door.sock = socket.create_connection((where.address, where.port), timeout=timeout_s)
        if where.secure:
            door.sock = _tls(store.credentials).wrap_socket(door.sock, server_hostname=where.name)
        # The socket's own timeout is for each of its answers: who sends a byte now and then never exceeds it.
        late = threading.Timer(timeout_s, _cut, [door.sock])
        late.daemon = True
        late.start()
        try:
            door.request("GET", "/metrics", headers={"Accept-Encoding": "gzip"})
            answer = door.getresponse()
            body = answer.read(_MOST_METRICS_BYTES)
            packed = answer.headers.get("Content-Encoding") == "gzip"
        finally:
            late.cancel()
            door.close()
        if packed:
            body = zlib.decompressobj(_GZIP).decompress(body, _MOST_METRICS_BYTES)
        found = (line[len(_QUOTA) :] for line in body.splitlines() if line.startswith(_QUOTA))
        return next((int(float(value)) for value in found), None)
    except (*_UNHEARD, ValueError, OverflowError, zlib.error):
        return None


def _cut(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # it has been closed
        line.shutdown(socket.SHUT_RDWR)


def _tls(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=credentials.cafile or None)
    if credentials.certfile:
        context.load_cert_chain(credentials.certfile, credentials.keyfile or None)
    return context


def _ask(
    store: Etcd,
    endpoint: str,
    timeout_s: float,
    call: Callable[..., Any],
    stub: Callable[[grpc.Channel], Any] = rpc_pb2_grpc.MaintenanceStub,
) -> Any:  # noqa: ANN401 - generated messages are untyped
    channel, metadata = store.at(endpoint)
    try:
        return call(stub(channel), timeout=timeout_s, metadata=metadata)
    except grpc.RpcError as error:
        if error.code() in _REFUSED:
            raise BadConfig(
                f"etcd at {endpoint} does not let this user ask: {words(error)}",
                hint="etcdctl user get NAME; the setting is etcd_username",
            ) from error
        raise StoreUnavailable(f"etcd at {endpoint}: {words(error)}") from error
    except ValueError as error:  # grpc: "Cannot invoke RPC on closed channel!"
        raise StoreUnavailable("the etcd client was closed") from error


def _unknown(message: Any) -> dict[int, list[Any]]:  # noqa: ANN401
    found: dict[int, list[Any]] = {}
    fields: Any = UnknownFieldSet(message)
    for one in fields:
        found.setdefault(one.field_number, []).append(one.data)
    return found
