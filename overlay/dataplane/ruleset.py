"""Our nft tables: is what the kernel lists still what we loaded?

nft prints a table in its own spelling, which differs between versions, so text cannot be compared with
text. After each load we list the table and keep both digests in the run directory (a tmpfs, gone with the
kernel state it describes): a freshly started agent knows by them that nothing has to be loaded again.
"""

import hashlib
from pathlib import Path

import msgspec

from overlay.model import Ruleset
from overlay.nft import Nft
from overlay.nodefile import write_atomic

CHANGED = "(changed by somebody else, or by another version)"


class Rulesets:
    """``changes`` counts accepted transactions."""

    def __init__(self, digests: Path) -> None:
        self.changes = 0
        self._nft = Nft()
        self._path = digests
        self._unwritten: dict[str, str] = {}
        """What stands in no file: a full /run costs the next agent a load, and this one nothing."""

    def close(self) -> None:
        """Close the door."""
        self._nft.close()

    def read(self, wanted: Ruleset) -> Ruleset | None:
        """The table: equal to ``wanted`` if it is untouched, None if it is absent."""
        listing = self._nft.list_table(wanted.table)
        if listing is None:
            return None
        untouched = self._known().get(_digest(wanted.text)) == _digest(listing)
        return wanted if untouched else Ruleset(wanted.table, CHANGED)

    def write(self, item: Ruleset, *, delete: bool) -> None:
        """Load or delete a table, in one transaction."""
        if delete:
            self._nft.run(f"add table {item.table}\ndelete table {item.table}\n")
            self.changes += 1
            return
        self._nft.run(item.text)
        self.changes += 1
        listing = self._nft.list_table(item.table) or ""
        known = {_digest(item.text): _digest(listing)}
        try:
            write_atomic(self._path, msgspec.json.encode(known))
        except OSError:
            self._unwritten = known
        else:
            self._unwritten = {}

    def _known(self) -> dict[str, str]:
        if self._unwritten:
            return self._unwritten
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=dict[str, str])
        except (OSError, ValueError):  # no such file, no JSON, no UTF-8
            return {}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
