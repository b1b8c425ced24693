"""One call: which member, with which token, and what a failure means.

Every endpoint is tried once, the last good one first; at each the whole attempt (introduction, token, the call
itself and the question why it failed) has ``timeout_s``. So a call ends within timeout_s x endpoints, and
timeout_s more where names have to be resolved. Who tries again after that, and how often, is said elsewhere
(agent.retry).

A member answers for its cluster: one that says another cluster id than the one we know (its disk was
replaced, its address is somebody else's now) is passed over. If most members say so, or the others have been
silent for STRANGER_S, it is the cluster that was replaced: StoreReplaced, until ``adopt`` accepts it.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from agent.etcd import probe
from agent.etcd.channels import Channels, Line
from agent.etcd.credentials import Credentials, check
from agent.etcd.endpoints import Endpoint, Endpoints
from agent.etcd.faults import Fault, Reach, final, judge
from agent.etcd.tls import TlsFiles
from agent.etcd.tokens import Tokens
from agent.etcd.wire import words
from overlay.errors import OverlayError, StoreReplaced, StoreUnavailable

log = logging.getLogger(__name__)

STRANGER_S = 60.0
MOST_RENEWALS = 2
_LEAST_S = 0.05


class Refused(Exception):
    """etcd said no in an answer instead of an error: a cancelled watch."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a call gets to be made with."""

    endpoint: Endpoint
    line: Line
    timeout_s: float
    metadata: tuple[tuple[str, str], ...]
    token: str = field(repr=False)

    @property
    def options(self) -> dict[str, Any]:
        """For a unary call of a stub."""
        return {"timeout": self.timeout_s, "metadata": self.metadata}


@dataclass(slots=True)
class _Failure(Exception):
    """At one endpoint; ``stranger`` is the cluster id it said instead of ours."""

    text: str
    hint: str = ""
    stranger: int = 0


class Caller:
    """Thread-safe."""

    def __init__(
        self,
        endpoints: Endpoints,
        credentials: Credentials,
        *,
        timeout_s: float,
        scope: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check(endpoints.urls, credentials)
        self.endpoints = endpoints
        self.cluster = 0
        """The id of the cluster we know, 0 before the first answer."""
        self._credentials, self._scope = credentials, scope
        self._timeout_s, self._clock = timeout_s, clock
        self.tls = TlsFiles(credentials)
        self._channels = Channels(self.tls)
        self._tokens = Tokens(credentials.username)
        self._known_at = clock()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Calls under way fail, later ones too."""
        self._channels.close()

    def reconnect(self) -> None:
        """Every connection anew; calls under way fail with StoreUnavailable."""
        self._channels.drop()

    def adopt(self, cluster: int) -> None:
        """From now on this is the cluster we know (0: the next one that answers)."""
        with self._lock:
            self.cluster = cluster
            self._known_at = self._clock()

    def call(self, make: Callable[[Attempt], Any], reach: Reach) -> Any:  # noqa: ANN401
        """What ``make`` returns, at the first endpoint that answers; it must have a ``header``.

        Raises:
            StoreUnavailable: none answered; StoreReplaced: not the cluster we know.
            BadConfig: user, password, permission or certificate files are not right.
            LeaseLost, Compacted: what etcd said of the lease or revision asked for.
        """
        failures: list[tuple[Endpoint, _Failure]] = []
        order = self.endpoints.order()
        for endpoint in order:
            try:
                return self._at(endpoint, make, reach)
            except _Failure as failure:
                self.endpoints.bad(endpoint)
                failures.append((endpoint, failure))
        raise self._summary(failures)

    def at(self, endpoint: Endpoint) -> tuple[grpc.Channel, tuple[tuple[str, str], ...]]:
        """Channel and metadata to ask this very member; without a token if none is to be had there."""
        deadline = self._clock() + self._timeout_s
        line = self._channels.hold(endpoint)
        try:
            token = self._token(line, deadline)
        except (
            grpc.RpcError,
            _Failure,
            TimeoutError,
            ValueError,
        ):  # the last: closed by `reconnect`
            token = ""
        finally:
            line.release()
        return line.channel, (("token", token),) if token else ()

    def ended(self, attempt: Attempt, error: grpc.RpcError | Refused, reach: Reach) -> OverlayError:
        """A stream that began well has ended: the error of it, and the next call goes elsewhere."""
        fault, text = _fault(error)
        if fault is Fault.TOKEN:
            self._tokens.drop(attempt.token)
            return StoreUnavailable(f"etcd at {attempt.endpoint}: {text}")
        if fault is not Fault.ELSEWHERE:
            return final(
                fault, text, username=self._tokens.username, reach=reach, scope=self._scope
            )
        attempt.line.introduced = False
        self.endpoints.bad(attempt.endpoint)
        return StoreUnavailable(f"etcd at {attempt.endpoint}: {text}")

    # --- one endpoint ---------------------------------------------------------------------------------

    def _at(self, endpoint: Endpoint, make: Callable[[Attempt], Any], reach: Reach) -> Any:  # noqa: ANN401
        deadline = self._clock() + self._timeout_s
        for renewals in range(MOST_RENEWALS + 1):
            line, token = self._channels.hold(endpoint), ""
            try:
                self._introduce(line, endpoint, deadline)
                token = self._token(line, deadline)
                answer = make(Attempt(endpoint, line, self._left(deadline), _meta(token), token))
                try:
                    self._recognise(int(answer.header.cluster_id))
                except _Failure:
                    getattr(answer, "close", lambda: None)()  # a stream: nobody would ever end it
                    raise
                self.endpoints.good(endpoint)
                return answer
            except (grpc.RpcError, Refused) as error:
                fault, text = _fault(error)
                # A watch that etcd 3.4 cancels for a bad token is "permission denied", too.
                watch = isinstance(error, Refused)
                suspect = fault is Fault.TOKEN or (watch and token and fault is Fault.DENIED)
                if suspect and renewals < MOST_RENEWALS:
                    self._tokens.drop(token)
                elif fault is Fault.NO_USER and self._tokens.needed():
                    pass  # switched on since we were told that it is off
                elif fault is Fault.ELSEWHERE or fault is Fault.TOKEN:
                    line.introduced = False
                    raise self._failure(endpoint, error, text, deadline) from error
                else:
                    raise final(
                        fault, text, username=self._tokens.username, reach=reach, scope=self._scope
                    ) from error
            except TimeoutError as error:
                raise _Failure(str(error)) from error
            except ValueError as error:  # grpc: "Cannot invoke RPC on closed channel!"
                raise StoreUnavailable("the etcd client was closed") from error
            finally:
                line.release()
        raise _Failure("it forgets our token again and again")

    def _introduce(self, line: Line, endpoint: Endpoint, deadline: float) -> None:
        """Ask a member that is new to us, or has failed, which cluster it is of: before anything is written to it.

        `Status` is answered from memory and needs no user (etcd 3.4, 3.5); one that refuses it is believed.
        """
        if line.introduced:
            return
        stub = rpc_pb2_grpc.MaintenanceStub(line.channel)
        try:
            status = stub.Status(rpc_pb2.StatusRequest(), timeout=self._left(deadline))
        except grpc.RpcError as error:
            if _fault(error)[0] is Fault.ELSEWHERE:
                raise
            line.introduced = True
            return
        self._recognise(int(status.header.cluster_id))
        if not status.leader:
            raise _Failure(
                "it has no leader", f"etcdctl --endpoints {endpoint.url} endpoint status"
            )
        line.introduced = True

    def _recognise(self, cluster: int) -> None:
        with self._lock:
            if not self.cluster:
                self.cluster = cluster
            if cluster == self.cluster:
                self._known_at = self._clock()
                return
        raise _Failure(
            f"it is of another cluster: {cluster:x}, ours is {self.cluster:x}",
            "etcdctl endpoint status --write-out=json (cluster_id); remove it from etcd_endpoints",
            stranger=cluster,
        )

    def _token(self, line: Line, deadline: float) -> str:
        return self._tokens.get(
            lambda: self._authenticate(line, deadline), timeout_s=self._left(deadline)
        )

    def _authenticate(self, line: Line, deadline: float) -> str:
        request = rpc_pb2.AuthenticateRequest(
            name=self._credentials.username, password=self._credentials.password
        )
        try:
            answer = rpc_pb2_grpc.AuthStub(line.channel).Authenticate(
                request, timeout=self._left(deadline)
            )
        except grpc.RpcError as error:
            if _fault(error)[0] is not Fault.NO_AUTH:
                raise
            self._tokens.needless()
            return ""
        return str(answer.token)

    def _failure(
        self, endpoint: Endpoint, error: grpc.RpcError | Refused, text: str, deadline: float
    ) -> _Failure:
        """The words for a failure; for one of the transport, what a handshake by hand shows."""
        if isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE:
            found = None
            if not text.startswith(("etcdserver", "connection refused")):
                found = probe.why(
                    endpoint, self._credentials, self.tls.context, timeout_s=self._left(deadline)
                )
            if found is not None:
                return _Failure(found.text, found.hint)
        return _Failure(text)

    def _left(self, deadline: float) -> float:
        return max(_LEAST_S, deadline - self._clock())

    # --- all endpoints ---------------------------------------------------------------------------------

    def _summary(self, failures: Sequence[tuple[Endpoint, _Failure]]) -> StoreUnavailable:
        parts = [f"{endpoint}: {failure.text}" for endpoint, failure in failures]
        more = f" (and {len(parts) - 3} more)" if len(parts) > 3 else ""
        text = f"etcd at {'; '.join(parts[:3])}{more}"
        url = failures[0][0].url
        hint = next((f.hint for _, f in failures if f.hint), "")
        hint = hint or f"etcdctl --endpoints {url} endpoint health"
        strangers = [failure.stranger for _, failure in failures if failure.stranger]
        silent_s = self._clock() - self._known_at
        if strangers and (len(strangers) * 2 > len(failures) or silent_s >= STRANGER_S):
            return StoreReplaced(text, cluster=strangers[0], hint=hint)
        return StoreUnavailable(text, hint=hint)


def _fault(error: grpc.RpcError | Refused) -> tuple[Fault, str]:
    if isinstance(error, Refused):
        return judge(None, str(error)), str(error)
    with contextlib.suppress(AttributeError):
        return judge(error.code(), str(error.details() or "")), words(error)
    return Fault.ELSEWHERE, str(error)


def _meta(token: str) -> tuple[tuple[str, str], ...]:
    """WithRequireLeader, so that a cut-off member says so instead of answering nothing; and the token."""
    leader = (("hasleader", "true"),)
    return (*leader, ("token", token)) if token else leader
