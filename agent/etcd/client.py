"""The client: calls with deadlines, endpoints that are rotated, streams of our own.

Uses the generated stubs and messages of python3-etcd3 and nothing else of it: its client sets no deadline
on streams and its watcher dies silently (docs/decisions/001). No policy here: a call is tried once per
endpoint, then it is StoreUnavailable; who retries, and how often, is said elsewhere.
"""

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from agent.etcd.watch import Watch
from agent.etcd.wire import Listing, Outcome, record, words
from overlay.errors import BadConfig, Compacted, LeaseLost, StoreUnavailable

MOST_MESSAGE_BYTES = 256 << 20
"""A list of 20,000 leases is about 10 MB; grpc's own limit of 4 MB is too small."""
# A stream whose server hangs is ended by HTTP/2 pings: asked every 10 s (etcd refuses more than one in 5 s),
# an answer is due within 5 s.
_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
)
_ELSEWHERE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.INTERNAL,
)
"""Another member may do better on these."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """File names and a user; empty means not used."""

    cafile: str = ""
    certfile: str = ""
    keyfile: str = ""
    username: str = ""
    password: str = ""


class Etcd:
    """A client for one thread or many. ``timeout_s`` is the deadline of one call at one endpoint."""

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        credentials: Credentials | None = None,
        timeout_s: float = 5.0,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.credentials = self._credentials = credentials or Credentials()
        self._timeout_s = timeout_s
        self._current = 0
        self._lock = threading.Lock()
        self._channels: dict[str, grpc.Channel] = {}
        self._token = ""
        self._watches: set[Watch] = set()

    def close(self) -> None:
        """End every stream and channel; calls under way fail."""
        for watch in tuple(self._watches):
            watch.close()
        with self._lock:
            channels, self._channels = self._channels, {}
        for channel in channels.values():
            channel.close()

    # --- calls -----------------------------------------------------------------------------------------

    def range(self, start: str, end: str = "", *, revision: int = 0) -> Listing:
        """The key ``start``, or all of [start, end)."""
        request = rpc_pb2.RangeRequest(
            key=start.encode(), range_end=end.encode(), revision=revision
        )
        answer = self._call(lambda kv, **o: kv.Range(request, **o), rpc_pb2_grpc.KVStub)
        return Listing(tuple(record(item) for item in answer.kvs), answer.header.revision)

    def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write; returns the revision."""
        request = rpc_pb2.PutRequest(key=key.encode(), value=value, lease=lease)
        answer = self._call(lambda kv, **o: kv.Put(request, **o), rpc_pb2_grpc.KVStub)
        return int(answer.header.revision)

    def txn(
        self,
        compares: Sequence[rpc_pb2.Compare],
        then: Sequence[rpc_pb2.RequestOp],
        otherwise: Sequence[rpc_pb2.RequestOp] = (),
    ) -> Outcome:
        """One transaction. A deadline leaves it unknown whether it was done: read before trying again."""
        request = rpc_pb2.TxnRequest(compare=compares, success=then, failure=otherwise)
        answer = self._call(lambda kv, **o: kv.Txn(request, **o), rpc_pb2_grpc.KVStub)
        records = [
            record(item)
            for response in answer.responses
            if response.HasField("response_range")
            for item in response.response_range.kvs
        ]
        revision = int(answer.header.revision)
        return Outcome(answer.succeeded, revision, Listing(tuple(records), revision))

    def grant(self, ttl_s: int) -> int:
        """A new etcd lease; returns its id."""
        request = rpc_pb2.LeaseGrantRequest(TTL=ttl_s)
        answer = self._call(
            lambda lease, **o: lease.LeaseGrant(request, **o), rpc_pb2_grpc.LeaseStub
        )
        return int(answer.ID)

    def keepalive(self, lease: int) -> int:
        """Renew once, without a new revision; returns the TTL in seconds.

        Raises:
            LeaseLost: etcd no longer knows the lease.
        """
        request = rpc_pb2.LeaseKeepAliveRequest(ID=lease)

        def once(stub: Any, **options: Any) -> Any:  # noqa: ANN401 - generated stubs are untyped
            stream = stub.LeaseKeepAlive(iter([request]), **options)
            try:
                return next(stream)
            finally:
                stream.cancel()

        answer = self._call(once, rpc_pb2_grpc.LeaseStub)
        if answer.TTL <= 0:
            raise LeaseLost(f"etcd lease {lease:x} has expired or was revoked")
        return int(answer.TTL)

    def revoke(self, lease: int) -> None:
        """End a lease and its keys; an unknown one is fine."""
        request = rpc_pb2.LeaseRevokeRequest(ID=lease)
        with contextlib.suppress(LeaseLost):
            self._call(lambda stub, **o: stub.LeaseRevoke(request, **o), rpc_pb2_grpc.LeaseStub)

    def time_to_live(self, lease: int) -> int:
        """Seconds left; -1 if etcd does not know the lease."""
        request = rpc_pb2.LeaseTimeToLiveRequest(ID=lease)
        answer = self._call(
            lambda stub, **o: stub.LeaseTimeToLive(request, **o), rpc_pb2_grpc.LeaseStub
        )
        return int(answer.TTL)

    def compact(self, revision: int) -> None:
        """Forget history below a revision; for tests and operators."""
        request = rpc_pb2.CompactionRequest(revision=revision, physical=True)
        self._call(lambda kv, **o: kv.Compact(request, **o), rpc_pb2_grpc.KVStub)

    def watch(self, start: str, end: str, *, revision: int) -> Watch:
        """All changes of [start, end) from ``revision`` on, as a stream of its own."""
        endpoint = self.endpoints[self._current % len(self.endpoints)]
        made = Watch(
            rpc_pb2_grpc.WatchStub(self._channel(endpoint)), start, end, revision, self._metadata()
        )
        made.on_close = lambda: self._watches.discard(made)
        made.on_failure = lambda error: self._failed(endpoint, error)
        self._watches.add(made)
        return made

    # --- one given member ------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The one that calls go to now."""
        return self.endpoints[self._current % len(self.endpoints)]

    def at(self, endpoint: str) -> tuple[grpc.Channel, tuple[tuple[str, str], ...]]:
        """Channel and metadata to ask this very member (agent.etcd.members); a token is had from any."""
        for _ in self.endpoints:
            with contextlib.suppress(StoreUnavailable):
                return self._channel(endpoint), self._metadata()[1:]
        return self._channel(endpoint), ()

    # --- inside ----------------------------------------------------------------------------------------

    def _call(self, call: Callable[..., Any], stub: Callable[[grpc.Channel], Any]) -> Any:  # noqa: ANN401
        """Try each endpoint once, beginning with the one that last answered."""
        tried, renewed = 0, False
        while True:
            endpoint = self.endpoints[self._current % len(self.endpoints)]
            try:
                return call(
                    stub(self._channel(endpoint)),
                    timeout=self._timeout_s,
                    metadata=self._metadata(),
                )
            except grpc.RpcError as error:
                if _is_token_expired(error) and not renewed:
                    self._token, renewed = "", True
                    continue
                failure = self._failed(endpoint, error)
                tried += 1
                if error.code() not in _ELSEWHERE or tried == len(self.endpoints):
                    raise failure from error
            except ValueError as error:  # grpc: "Cannot invoke RPC on closed channel!"
                raise StoreUnavailable("the etcd client was closed") from error

    def _failed(self, endpoint: str, error: grpc.RpcError) -> StoreUnavailable:
        """Move on to the next endpoint and say what happened at this one."""
        code, text = error.code(), words(error)
        if code is grpc.StatusCode.NOT_FOUND and "lease not found" in text:
            raise LeaseLost(text) from error
        if code is grpc.StatusCode.OUT_OF_RANGE and "compacted" in text:
            raise Compacted(text, revision=0) from error
        if code in _ELSEWHERE:
            with self._lock:
                if self.endpoints[self._current % len(self.endpoints)] == endpoint:
                    self._current += 1
        return StoreUnavailable(
            f"etcd at {endpoint}: {text}", hint=f"etcdctl --endpoints {endpoint} endpoint health"
        )

    def _channel(self, endpoint: str) -> grpc.Channel:
        with self._lock:
            if endpoint not in self._channels:
                self._channels[endpoint] = self._connect(endpoint)
            return self._channels[endpoint]

    def _connect(self, endpoint: str) -> grpc.Channel:
        scheme, _, rest = endpoint.rpartition("://")
        target, options = rest or endpoint, list(_OPTIONS)
        if scheme != "https" and not self._credentials.cafile:
            return grpc.insecure_channel(target, options=options)
        keys = grpc.ssl_channel_credentials(
            root_certificates=_file("etcd_cafile", self._credentials.cafile),
            private_key=_file("etcd_keyfile", self._credentials.keyfile),
            certificate_chain=_file("etcd_certfile", self._credentials.certfile),
        )
        return grpc.secure_channel(target, keys, options=options)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        """WithRequireLeader, so that a cut-off member says so instead of answering nothing; and the token."""
        leader = (("hasleader", "true"),)
        if not self._credentials.username:
            return leader
        if not self._token:
            self._token = self._authenticate()
        return (*leader, ("token", self._token))

    def _authenticate(self) -> str:
        request = rpc_pb2.AuthenticateRequest(
            name=self._credentials.username, password=self._credentials.password
        )
        endpoint = self.endpoints[self._current % len(self.endpoints)]
        try:
            answer = rpc_pb2_grpc.AuthStub(self._channel(endpoint)).Authenticate(
                request, timeout=self._timeout_s
            )
        except grpc.RpcError as error:
            raise self._failed(endpoint, error) from error
        return str(answer.token)


def _is_token_expired(error: grpc.RpcError) -> bool:
    return error.code() is grpc.StatusCode.UNAUTHENTICATED and "invalid auth token" in (
        error.details() or ""
    )


def _file(key: str, name: str) -> bytes | None:
    if not name:
        return None
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise BadConfig(f"{key} = {name!r}: {error.strerror}") from error
