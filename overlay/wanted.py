"""Who wants which kernel object: the claims of all peers, and which of them stand.

Two leases may claim one kernel object with different values (the same subnet, or one VTEP MAC at two
underlay addresses), or say that two VTEPs live at one underlay address, which the kernel would take but
which cannot be true. Then the older lease stands, whole, and the younger one is not programmed at all:
half a peer would send its traffic to somebody else. Equal values are shared: a node that changed its
subnet has two records with one MAC for a while, and both are right.

Every operation costs the objects of the peers concerned, never the number of peers.
"""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from overlay.model import Address, FdbEntry, KernelObject

NODE = ""
"""The owner of what this node itself needs; older than any lease."""


@dataclass(frozen=True, slots=True)
class _Home:
    """What an FDB entry says the other way round: at this underlay address lives the VTEP with this MAC."""

    link: str
    underlay: Address
    mac: str

    @property
    def key(self) -> Hashable:
        return ("home", self.link, self.underlay)


_Fact = KernelObject | _Home


@dataclass(frozen=True, slots=True)
class _Claim:
    age: int
    facts: tuple[_Fact, ...]


class Wanted:
    """The desired state. ``want`` maps an object's key to the value that stands."""

    def __init__(self) -> None:
        self.want: dict[Hashable, KernelObject] = {}
        self.losers: dict[str, str] = {}  # owner -> the owner it lost to
        self._claims: dict[str, _Claim] = {}
        self._by_key: dict[Hashable, dict[str, _Fact]] = {}
        self._reserved: dict[Hashable, _Fact] = {}

    def reserve(self, objects: Iterable[KernelObject]) -> None:
        """State what no peer may claim. Call before the peers are set."""
        self._reserved = {item.key: item for item in _facts(objects)}

    def claim(self, owner: str, *, age: int, objects: tuple[KernelObject, ...]) -> set[Hashable]:
        """State what an owner wants now; returns the keys whose value may have changed.

        ``age`` is the lease's create revision: low is old. Empty ``objects`` forgets the owner.
        """
        before = self._claims.get(owner, _Claim(age, ()))
        facts = _facts(objects)
        if facts:
            self._claims[owner] = _Claim(age, facts)
        else:
            self._claims.pop(owner, None)
            self.losers.pop(owner, None)
        fresh = {item.key: item for item in facts}
        for item in before.facts:
            if item.key not in fresh:
                self._unclaim(item.key, owner)
        for key, item in fresh.items():
            self._by_key.setdefault(key, {})[owner] = item
        touched = {item.key for item in before.facts} | set(fresh)
        return self._settle(touched, owner)

    def owners(self, key: Hashable) -> tuple[str, ...]:
        """Everyone who claims a key, whether the claim stands or not."""
        return tuple(self._by_key.get(key, ()))

    def keys(self, owner: str) -> tuple[Hashable, ...]:
        """The keys an owner claims."""
        claim = self._claims.get(owner)
        return tuple(item.key for item in claim.facts) if claim else ()

    def _unclaim(self, key: Hashable, owner: str) -> None:
        holders = self._by_key.get(key, {})
        holders.pop(owner, None)
        if not holders:
            self._by_key.pop(key, None)

    def _settle(self, touched: set[Hashable], owner: str) -> set[Hashable]:
        """Judge everyone who shares a touched key again, then choose each key's value."""
        concerned = {owner, *(other for key in touched for other in self._by_key.get(key, ()))}
        for other in concerned & self._claims.keys():
            rival = self._rival(other)
            changed = (rival is None) == (other in self.losers)
            if rival is None:
                self.losers.pop(other, None)
            else:
                self.losers[other] = rival
            if changed:  # its other objects appear or disappear with it
                touched.update(self.keys(other))
        for key in touched:
            standing = [
                item
                for who, item in self._by_key.get(key, {}).items()
                if who not in self.losers and not isinstance(item, _Home)
            ]
            if standing:
                self.want[key] = standing[0]
            else:
                self.want.pop(key, None)
        return touched

    def _rival(self, owner: str) -> str | None:
        """The older owner whose claim contradicts this one's, if there is one."""
        mine = self._claims[owner]
        for item in mine.facts:
            held = self._reserved.get(item.key)
            if held is not None and held != item and owner != NODE:
                return "this node"
            for other, theirs in self._by_key[item.key].items():
                if (
                    other != owner
                    and theirs != item
                    and (self._claims[other].age, other) < (mine.age, owner)
                ):
                    return other
        return None


def _facts(objects: Iterable[KernelObject]) -> tuple[_Fact, ...]:
    """The objects, and what their FDB entries say the other way round."""
    found = tuple(objects)
    homes = (
        _Home(item.link, item.underlay, item.mac) for item in found if isinstance(item, FdbEntry)
    )
    return (*found, *homes)
