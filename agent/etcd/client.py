"""The client: etcd's calls in our words. How a call finds its member: agent.etcd.caller.

Uses the generated stubs and messages of python3-etcd3 and nothing else of it: its client sets no deadline
on streams and its watcher dies silently (docs/decisions/001). No policy here: a call is tried once per
endpoint, then it is StoreUnavailable; who retries, and how often, is said elsewhere.
"""

import contextlib
import random
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from agent.etcd.caller import Attempt, Caller
from agent.etcd.credentials import Credentials
from agent.etcd.endpoints import Endpoint, Endpoints, Resolver, system_resolver
from agent.etcd.faults import Reach
from agent.etcd.watch import PULSE_S, Span, Watch
from agent.etcd.wire import Listing, Outcome, record
from overlay.errors import BadConfig, LeaseLost, OverlayError, StoreUnavailable

Observed = Callable[[str, float, str, int], None]
"""Told of each call: the operation, the seconds it took, the class of its error or "", the store's revision or 0."""


class Etcd:
    """A client for one thread or many.

    ``timeout_s`` is the deadline at one endpoint; a call that finds none ends within timeout_s x endpoints
    (names with several addresses count once per address), and timeout_s more if names must be resolved.
    ``scope`` is the prefix we work under, for the hint of a refusal.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        credentials: Credentials | None = None,
        timeout_s: float = 5.0,
        scope: str = "",
        resolver: Resolver = system_resolver,
        rng: random.Random | None = None,
    ) -> None:
        self.endpoints = tuple(endpoints)
        self.credentials = credentials or Credentials()
        self._scope, self._resolver, self._rng = scope, resolver, rng
        self.observed: Observed = lambda *_: None
        self._caller = self._made(timeout_s)
        self._watches: set[Watch] = set()

    def _made(self, timeout_s: float) -> Caller:
        return Caller(
            Endpoints(
                self.endpoints,
                secure=self.credentials.wants_tls,
                timeout_s=timeout_s,
                resolver=self._resolver,
                rng=self._rng,
            ),
            self.credentials,
            timeout_s=timeout_s,
            scope=self._scope,
        )

    def close(self) -> None:
        """End every stream and channel; calls under way fail."""
        for watch in tuple(self._watches):
            watch.close()
        self._caller.close()

    def reconnect(self) -> None:
        """New connections for all calls and streams; those under way fail with StoreUnavailable."""
        self._caller.reconnect()

    def redial(
        self, endpoints: Sequence[str], credentials: Credentials, *, timeout_s: float
    ) -> None:
        """Another way to the same etcd, from now on; calls and streams under way fail with StoreUnavailable.

        Raises:
            BadConfig: settings contradict each other, or the certificates cannot be used; nothing has changed.
        """
        before = self.endpoints, self.credentials
        self.endpoints, self.credentials = tuple(endpoints), credentials
        try:
            fresh = self._made(timeout_s)
            if credentials.wants_tls:
                fresh.tls.again()
        except BadConfig:
            self.endpoints, self.credentials = before
            raise
        fresh.adopt(self._caller.cluster)
        old, self._caller = self._caller, fresh
        old.close()

    def certificates(self) -> bool:
        """Look at the files now, and not when a connection is used next; True if a new set was taken.

        Raises:
            BadConfig: they cannot be used; what was loaded before serves on.
        """
        return self.credentials.wants_tls and self._caller.tls.again()

    @property
    def cluster(self) -> int:
        """The id of the cluster we know, 0 before its first answer."""
        return self._caller.cluster

    def adopt(self, cluster: int) -> None:
        """Accept this cluster as ours (0: the next one that answers) after a StoreReplaced."""
        self._caller.adopt(cluster)

    # --- calls -----------------------------------------------------------------------------------------

    def range(self, start: str, end: str = "", *, revision: int = 0) -> Listing:
        """The key ``start``, or all of [start, end)."""
        request = rpc_pb2.RangeRequest(
            key=start.encode(), range_end=end.encode(), revision=revision
        )
        answer = self._kv("Range", request, Reach(start, end))
        return _listing(answer, answer.kvs)

    def ranges(self, *spans: tuple[str, str]) -> Listing:
        """Several (start, end), all at one revision."""
        asked = [
            rpc_pb2.RequestOp(
                request_range=rpc_pb2.RangeRequest(key=start.encode(), range_end=end.encode())
            )
            for start, end in spans
        ]
        answer = self._kv("Txn", rpc_pb2.TxnRequest(success=asked), Reach(*spans[0]))
        return _listing(answer, _read(answer))

    def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Write; returns the revision."""
        request = rpc_pb2.PutRequest(key=key.encode(), value=value, lease=lease)
        return int(self._kv("Put", request, Reach(key, writes=True)).header.revision)

    def txn(
        self,
        compares: Sequence[rpc_pb2.Compare],
        then: Sequence[rpc_pb2.RequestOp],
        otherwise: Sequence[rpc_pb2.RequestOp] = (),
    ) -> Outcome:
        """One transaction. A deadline leaves it unknown whether it was done: read before trying again."""
        request = rpc_pb2.TxnRequest(compare=compares, success=then, failure=otherwise)
        answer = self._kv("Txn", request, _reach_of(then))
        listing = _listing(answer, _read(answer))
        return Outcome(answer.succeeded, listing.revision, listing)

    def grant(self, ttl_s: int) -> int:
        """A new etcd lease; returns its id."""
        return int(self._lease("LeaseGrant", rpc_pb2.LeaseGrantRequest(TTL=ttl_s)).ID)

    def keepalive(self, lease: int) -> int:
        """Renew once, without a new revision; returns the TTL in seconds.

        Raises:
            LeaseLost: etcd no longer knows the lease.
        """
        request = rpc_pb2.LeaseKeepAliveRequest(ID=lease)

        def once(attempt: Attempt) -> Any:  # noqa: ANN401 - generated stubs are untyped
            stub = rpc_pb2_grpc.LeaseStub(attempt.line.channel)
            stream = stub.LeaseKeepAlive(iter([request]), **attempt.options)
            try:
                return next(stream)
            except StopIteration as error:
                raise StoreUnavailable("etcd ended the renewal without an answer") from error
            finally:
                stream.cancel()

        answer = self._call("keepalive", once, Reach())
        if answer.TTL <= 0:
            raise LeaseLost(f"etcd lease {lease:x} has expired or was revoked")
        return int(answer.TTL)

    def revoke(self, lease: int) -> None:
        """End a lease and its keys; an unknown one is fine."""
        with contextlib.suppress(LeaseLost):
            self._lease("LeaseRevoke", rpc_pb2.LeaseRevokeRequest(ID=lease))

    def time_to_live(self, lease: int) -> int:
        """Seconds left; -1 if etcd does not know the lease."""
        return int(self._lease("LeaseTimeToLive", rpc_pb2.LeaseTimeToLiveRequest(ID=lease)).TTL)

    def term(self, lease: int) -> tuple[int, int]:
        """(seconds left, TTL it was granted with); (-1, 0) if etcd does not know the lease."""
        answer = self._lease("LeaseTimeToLive", rpc_pb2.LeaseTimeToLiveRequest(ID=lease))
        return int(answer.TTL), int(answer.grantedTTL)

    def compact(self, revision: int) -> None:
        """Forget history below a revision; for tests and operators."""
        self._kv("Compact", rpc_pb2.CompactionRequest(revision=revision, physical=True), Reach())

    def watch(self, spans: Sequence[Span], *, pulse_s: float = PULSE_S) -> Watch:
        """All changes of several ranges, as one stream of its own; etcd has taken it when this returns.

        Raises:
            Compacted, and what any call raises.
        """
        reach = Reach(spans[0].start, spans[0].end)

        def opened(attempt: Attempt) -> Watch:
            made = Watch(attempt, spans, pulse_s=pulse_s)
            made.on_failure = lambda error: caller.ended(attempt, error, reach)
            return made

        caller = self._caller
        watch: Watch = self._call("watch", opened, reach, caller)
        self._watches.add(watch)
        watch.on_close = lambda: self._watches.discard(watch)
        return watch

    # --- one given member ------------------------------------------------------------------------------

    @property
    def endpoint(self) -> str:
        """The URL that the next call goes to."""
        return self._caller.endpoints.order()[0].url

    def at(self, endpoint: str) -> tuple[grpc.Channel, tuple[tuple[str, str], ...]]:
        """Channel and metadata to ask this very member."""
        return self._caller.at(self._caller.endpoints.at(endpoint))

    def where(self, endpoint: str) -> Endpoint:
        """The address behind a URL; raises StoreUnavailable."""
        return self._caller.endpoints.at(endpoint)

    # --- inside ----------------------------------------------------------------------------------------

    def _kv(self, verb: str, request: Any, reach: Reach) -> Any:  # noqa: ANN401
        return self._call(
            verb,
            lambda it: getattr(rpc_pb2_grpc.KVStub(it.line.channel), verb)(request, **it.options),
            reach,
        )

    def _lease(self, verb: str, request: Any) -> Any:  # noqa: ANN401
        return self._call(
            verb,
            lambda it: getattr(rpc_pb2_grpc.LeaseStub(it.line.channel), verb)(
                request, **it.options
            ),
            Reach(writes=True),
        )

    def _call(
        self,
        operation: str,
        make: Callable[[Attempt], Any],
        reach: Reach,
        caller: Caller | None = None,
    ) -> Any:  # noqa: ANN401
        begun = time.monotonic()
        try:
            answer = (caller or self._caller).call(make, reach)
        except OverlayError as error:
            self.observed(operation, time.monotonic() - begun, type(error).__name__, 0)
            raise
        took = time.monotonic() - begun
        self.observed(operation, took, "", int(answer.header.revision))
        return answer


def _listing(answer: Any, items: Any) -> Listing:  # noqa: ANN401
    records = tuple(record(item) for item in items)
    return Listing(records, int(answer.header.revision), int(answer.header.cluster_id))


def _read(answer: Any) -> list[Any]:  # noqa: ANN401
    return [
        item
        for response in answer.responses
        if response.HasField("response_range")
        for item in response.response_range.kvs
    ]


def _reach_of(operations: Sequence[rpc_pb2.RequestOp]) -> Reach:
    """The first key that is written, for the words of a refusal."""
    for operation in operations:
        for name in ("request_put", "request_delete_range"):
            if operation.HasField(name):
                return Reach(getattr(operation, name).key.decode(errors="replace"), writes=True)
    return Reach()
