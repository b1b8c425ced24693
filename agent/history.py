"""When a subnet was last used: marks under P/overlay/used, so that subnets are reused least recently freed first.

A claim and a release write the mark themselves. An expired lease is nobody's act: those three agents
whose hash with its key ranks lowest write it down, so an expiry costs O(1) requests in a cluster of any
size, and one of three may be away. etcd's revision of the mark is what counts; its text is for people.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from agent.events import Event, Gone, Put, Snapshot
from overlay.model import Lease

WRITERS = 3
"""How many agents write down one expiry."""
MOST_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Mark:
    """Who used a subnet last. ``at`` is UTC by the writer's clock, such as ``2026-11-25 09:26:02Z``."""

    what: str
    node: str = ""
    machine_id: str = ""
    at: str = ""


def format_mark(what: str, lease: Lease | None, now: datetime) -> bytes:
    """``what`` is claimed, released or expired."""
    fields = {
        "What": what,
        "Node": lease.node if lease else "",
        "MachineID": lease.machine_id if lease else "",
        "At": now.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
    }
    return json.dumps({name: text for name, text in fields.items() if text}).encode()


def parse_mark(value: bytes) -> Mark:
    """Tolerant: what cannot be read is a mark that says nothing."""
    try:
        found = json.loads(value) if len(value) <= MOST_BYTES else None
    except (ValueError, RecursionError):
        found = None
    fields = found if isinstance(found, dict) else {}

    def text(name: str) -> str:
        item = fields.get(name)
        return item if isinstance(item, str) and item.isprintable() else ""

    return Mark(text("What"), text("Node"), text("MachineID"), text("At"))


def is_writer(own: str, gone: str, keys: Iterable[str]) -> bool:
    """True if fewer than WRITERS of ``keys`` rank below ``own`` for this ``gone`` key.

    Ends as soon as that many are found, so most agents look at a few keys only.
    """
    mine, lower = _rank(own, gone), 0
    for key in keys:
        if key not in (own, gone) and _rank(key, gone) < mine:
            lower += 1
            if lower == WRITERS:
                return False
    return True


def _rank(holder: str, gone: str) -> tuple[bytes, str]:
    return hashlib.blake2b(f"{holder} {gone}".encode(), digest_size=8).digest(), holder


class History:
    """Which keys are known to be held by agents of ours, and which endings we are to write down."""

    def __init__(self) -> None:
        self._known: dict[str, bool] = {}
        """Key to whether its holder is an agent of ours. flanneld's are known, too, but it writes no marks."""

    def told(self, event: Event, *, own: str) -> list[tuple[str, int]]:
        """The (key, revision) that this node, the holder of lease ``own``, has to note as freed."""
        match event:
            case Put(lease):
                self._known[lease.key] = bool(lease.machine_id)
                return []
            case Gone(key, revision):
                return self._ended([key], revision, own)
            case Snapshot(leases, unreadable, revision):
                missing = self._known.keys() - leases.keys() - unreadable.keys()
                lost = [] if event.history_lost else self._ended(sorted(missing), revision, own)
                self._known = {key: bool(lease.machine_id) for key, lease in leases.items()}
                return lost
            case _:
                return []

    def _ended(self, keys: list[str], revision: int, own: str) -> list[tuple[str, int]]:
        for key in keys:
            self._known.pop(key, None)
        if not own:
            return []
        return [(key, revision) for key in keys if is_writer(own, key, self._agents())]

    def _agents(self) -> Iterator[str]:
        return (key for key, ours in self._known.items() if ours)
