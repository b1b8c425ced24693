"""What the watch says: a closed union. An unreadable record has a name of its own, so it is never "empty"."""

from collections.abc import Mapping
from dataclasses import dataclass

from overlay.model import Lease


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All records at one revision. ``unreadable`` maps a key to the reason; those keys exist.

    ``history_lost``: etcd is not the one we knew (another cluster, or an older revision: restored or wiped),
    so a missing record does not say that its node has left.
    """

    leases: Mapping[str, Lease]
    unreadable: Mapping[str, str]
    revision: int
    history_lost: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """A record was written."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Gone:
    """A record was deleted or expired at ``revision``."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A record was written that cannot be read; what was known of it stays."""

    key: str
    why: str


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """P/config as it stands now, None if there is none; said after every list and at every change."""

    raw: bytes | None


Event = Snapshot | Put | Gone | Unreadable | NetworkChanged
