"""What the watch says: a closed union. An unreadable record has a name of its own, so it is never "empty"."""

from collections.abc import Mapping
from dataclasses import dataclass

from overlay.model import Lease


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All records at one revision. ``unreadable`` maps a key to the reason; those keys exist."""

    leases: Mapping[str, Lease]
    unreadable: Mapping[str, str]
    revision: int


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


Event = Snapshot | Put | Gone | Unreadable
