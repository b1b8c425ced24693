"""What etcd's errors mean: each text of etcd that matters has its class, and no text holds a password."""

import grpc
import pytest

from agent.etcd import Credentials
from agent.etcd.faults import Fault, Reach, final, judge
from agent.etcd.wire import words
from overlay.errors import BadConfig, Compacted, LeaseLost, OverlayError, StoreUnavailable

Code = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "text", "fault"),
    [
        (Code.UNAVAILABLE, "etcdserver: no leader", Fault.ELSEWHERE),
        (Code.UNAVAILABLE, "etcdserver: leader changed", Fault.ELSEWHERE),
        (Code.UNAVAILABLE, "etcdserver: request timed out", Fault.ELSEWHERE),
        (
            Code.UNAVAILABLE,
            "etcdserver: request timed out, possibly due to previous leader failure",
            Fault.ELSEWHERE,
        ),
        (Code.UNAVAILABLE, "etcdserver: server stopped", Fault.ELSEWHERE),
        (Code.UNAVAILABLE, "etcdserver: unhealthy cluster", Fault.ELSEWHERE),
        (Code.FAILED_PRECONDITION, "etcdserver: not leader", Fault.ELSEWHERE),
        (Code.UNAVAILABLE, "etcdserver: rpc not supported for learner", Fault.ELSEWHERE),
        (Code.FAILED_PRECONDITION, "etcdserver: member is not a voter", Fault.ELSEWHERE),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: too many requests", Fault.ELSEWHERE),
        (Code.UNAVAILABLE, "failed to connect to all addresses", Fault.ELSEWHERE),
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded", Fault.ELSEWHERE),
        (Code.UNIMPLEMENTED, "unknown service etcdserverpb.KV", Fault.ELSEWHERE),
        (None, "the watch is silent", Fault.ELSEWHERE),
        (Code.RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded", Fault.FULL),
        (Code.DATA_LOSS, "etcdserver: corrupt cluster", Fault.CORRUPT),
        (Code.UNAUTHENTICATED, "etcdserver: invalid auth token", Fault.TOKEN),
        (
            None,
            "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
            Fault.TOKEN,
        ),
        (Code.INVALID_ARGUMENT, "etcdserver: revision of auth store is old", Fault.TOKEN),
        (Code.UNKNOWN, "auth: revision in header is old", Fault.TOKEN),
        (Code.FAILED_PRECONDITION, "etcdserver: authentication is not enabled", Fault.NO_AUTH),
        (Code.INVALID_ARGUMENT, "etcdserver: user name is empty", Fault.NO_USER),
        (
            Code.INVALID_ARGUMENT,
            "etcdserver: authentication failed, invalid user ID or password",
            Fault.WRONG_PASSWORD,
        ),
        (Code.PERMISSION_DENIED, "etcdserver: permission denied", Fault.DENIED),
        (Code.NOT_FOUND, "etcdserver: requested lease not found", Fault.NO_LEASE),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision has been compacted",
            Fault.COMPACTED,
        ),
        (
            Code.OUT_OF_RANGE,
            "etcdserver: mvcc: required revision is a future revision",
            Fault.COMPACTED,
        ),
        (Code.CANCELLED, "Channel closed!", Fault.CLOSED),
        (Code.INVALID_ARGUMENT, "etcdserver: request is too large", Fault.OTHER),
        # A file or host that is called like an error is none: only the first line counts.
        (Code.UNAVAILABLE, "no way\npermission denied", Fault.ELSEWHERE),
    ],
)
def test_every_error_has_its_class(code: grpc.StatusCode | None, text: str, fault: Fault) -> None:
    """etcd's own words, of 3.4 and 3.5."""
    assert judge(code, text) is fault


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (Fault.FULL, StoreUnavailable, "NOSPACE"),
        (Fault.CORRUPT, StoreUnavailable, "CORRUPT"),
        (Fault.NO_USER, BadConfig, "etcd_username"),
        (Fault.WRONG_PASSWORD, BadConfig, "etcd_username = 'node'"),
        (Fault.DENIED, BadConfig, "'node' may not write /p/x"),
        (Fault.NO_LEASE, LeaseLost, "expired"),
        (Fault.COMPACTED, Compacted, "text"),
        (Fault.OTHER, StoreUnavailable, "text"),
    ],
)
def test_what_no_other_member_mends_is_a_sentence_of_ours(
    fault: Fault, kind: type[OverlayError], words: str
) -> None:
    """With the next step where somebody has to act."""
    error = final(fault, "text", username="node", reach=Reach("/p/x", writes=True), scope="/p")

    assert isinstance(error, kind)
    assert words in str(error)
    assert error.hint or kind in (LeaseLost, Compacted)


class Said(grpc.RpcError):  # type: ignore[misc]
    """An error of grpc as it comes from a member."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        """Of it."""
        return self._code

    def details(self) -> str:
        """Its text."""
        return self._details


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (Code.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (Code.UNKNOWN, "context deadline exceeded"),
        (Code.UNAVAILABLE, "etcdserver: context deadline exceeded"),
    ],
)
def test_whoever_says_it_first_a_deadline_is_said_in_the_same_words(
    code: grpc.StatusCode, details: str
) -> None:
    """A member without a leader gives up when our deadline is over, and so do we."""
    assert words(Said(code, details)) == "no answer within the deadline"


def test_a_password_is_not_shown() -> None:
    """Credentials end up in tracebacks and debug logs."""
    assert "s3cret" not in repr(Credentials(username="node", password="s3cret"))
