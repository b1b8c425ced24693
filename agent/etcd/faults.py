"""What an error of etcd means: whose fault it is, who may do better, and what an operator does next.

etcd's errors are known by their text: the codes of gRPC are shared by many of them, and a cancelled watch has
only a text. The list follows etcd's api/v3rpc/rpctypes/error.go (3.4 and 3.5).
"""

from dataclasses import dataclass
from enum import Enum

import grpc

from overlay.errors import BadConfig, Compacted, LeaseLost, OverlayError, StoreUnavailable


class Fault(Enum):
    """The classes that are treated differently."""

    ELSEWHERE = "this member, or the way to it; another one may do better"
    TOKEN = "our token is not valid any more"
    NO_AUTH = "authentication is switched off"
    NO_USER = "authentication is switched on, and we said no name"
    WRONG_PASSWORD = "user or password is wrong"
    DENIED = "the user may not do this"
    FULL = "the database is full"
    CORRUPT = "members found that their data differ"
    COMPACTED = "history was forgotten, or is another one"
    NO_LEASE = "the etcd lease is gone"
    CLOSED = "our own end was closed"
    OTHER = "asking elsewhere changes nothing"


_BY_TEXT = (
    ("invalid auth token", Fault.TOKEN),
    ("revision of auth store is old", Fault.TOKEN),
    ("revision in header is old", Fault.TOKEN),  # the same, as 3.4 and 3.5.1 let it slip out
    ("authentication is not enabled", Fault.NO_AUTH),
    ("user name is empty", Fault.NO_USER),
    ("user name not found", Fault.WRONG_PASSWORD),
    ("invalid user ID or password", Fault.WRONG_PASSWORD),
    ("permission denied", Fault.DENIED),
    ("database space exceeded", Fault.FULL),
    ("corrupt cluster", Fault.CORRUPT),
    ("requested lease not found", Fault.NO_LEASE),
    ("has been compacted", Fault.COMPACTED),
    ("is a future revision", Fault.COMPACTED),
    # A member's own state. Most come as UNAVAILABLE, but not in every version.
    ("no leader", Fault.ELSEWHERE),
    ("not leader", Fault.ELSEWHERE),
    ("leader changed", Fault.ELSEWHERE),
    ("request timed out", Fault.ELSEWHERE),
    ("too many requests", Fault.ELSEWHERE),
    ("unhealthy cluster", Fault.ELSEWHERE),
    ("server stopped", Fault.ELSEWHERE),
    ("learner", Fault.ELSEWHERE),
    ("not a voter", Fault.ELSEWHERE),
    ("Channel closed", Fault.CLOSED),
)
_BY_CODE = {
    grpc.StatusCode.UNAVAILABLE: Fault.ELSEWHERE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Fault.ELSEWHERE,
    grpc.StatusCode.UNKNOWN: Fault.ELSEWHERE,
    grpc.StatusCode.INTERNAL: Fault.ELSEWHERE,
    grpc.StatusCode.ABORTED: Fault.ELSEWHERE,
    grpc.StatusCode.UNIMPLEMENTED: Fault.ELSEWHERE,  # not etcd, or a proxy before it
    grpc.StatusCode.UNAUTHENTICATED: Fault.TOKEN,
    grpc.StatusCode.PERMISSION_DENIED: Fault.DENIED,
}


def judge(code: grpc.StatusCode | None, text: str) -> Fault:
    """The class of an error; ``code`` is None for the reason of a cancelled watch."""
    # Only the first line: what follows in grpc's own errors are addresses and file names.
    first = text.split("\n", 1)[0]
    for part, fault in _BY_TEXT:
        if part in first:
            return fault
    return _BY_CODE.get(code, Fault.OTHER) if code is not None else Fault.ELSEWHERE


@dataclass(frozen=True, slots=True)
class Reach:
    """What a call touches, for the words of a refusal."""

    start: str = ""
    end: str = ""
    writes: bool = False

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})" if self.end else self.start


def final(fault: Fault, text: str, *, username: str, reach: Reach, scope: str) -> OverlayError:
    """The error of a fault that no other member mends. A password is never part of any text."""
    match fault:
        case Fault.WRONG_PASSWORD:
            return BadConfig(
                f"etcd does not know etcd_username = {username!r} with the etcd_password given",
                hint=f"etcdctl user get {username}; etcdctl user passwd {username}",
            )
        case Fault.NO_USER:
            return BadConfig(
                "etcd asks for a user, but etcd_username is not set",
                hint="set etcd_username and etcd_password (etcdctl user list shows the users)",
            )
        case Fault.DENIED:
            return _denied(username, reach, scope)
        case Fault.FULL:
            return StoreUnavailable(
                "etcd's database is full (alarm NOSPACE): it takes no writes until space is made",
                hint="overlayctl etcd; then etcdctl compact, etcdctl defrag, etcdctl alarm disarm",
            )
        case Fault.CORRUPT:
            return StoreUnavailable(
                "etcd found that its members' data differ (alarm CORRUPT)",
                hint="overlayctl etcd; etcdctl alarm list",
            )
        case Fault.NO_LEASE:
            return LeaseLost("etcd does not know the lease: it has expired or was revoked")
        case Fault.COMPACTED:
            return Compacted(text, revision=0)
        case Fault.CLOSED:
            return StoreUnavailable("our own connection to etcd was closed")
        case _:
            return StoreUnavailable(f"etcd: {text}", hint="overlayctl etcd")


def _denied(username: str, reach: Reach, scope: str) -> BadConfig:
    # What to grant: all below our prefix, or the very range where we know of no prefix.
    if scope and reach.start.startswith(scope):
        what = f"--prefix=true readwrite {scope}/"
    else:
        what = f"readwrite {reach.start} {reach.end}".rstrip()
    who = f"etcd user {username!r}" if username else "the user of our client certificate"
    return BadConfig(
        f"{who} may not {'write' if reach.writes else 'read'} {reach}".rstrip(),
        hint=f"etcdctl role add overlay; etcdctl role grant-permission overlay {what}; "
        f"etcdctl user grant-role {username or 'USER'} overlay",
    )
