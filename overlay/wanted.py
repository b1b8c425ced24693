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
OURSELVES = "this node"
"""Whose claim a reserved object is: nobody contradicts it, and it is never programmed."""


@dataclass(frozen=True, slots=True)
class _Home:
    """What an FDB entry says the other way round: at this underlay address lives the VTEP with this MAC."""

    link: str
    underlay: Address
    mac: str

    @property
    def key(self) -> Hashable:
        return ("home", self.link, int(self.underlay), self.underlay.version)


_Fact = KernelObject | _Home


@dataclass(frozen=True, slots=True)
class _Claim:
    age: int
    facts: tuple[_Fact, ...]

    def of(self, key: Hashable) -> _Fact:
        """What it says of a key that it claims."""
        return next(item for item in self.facts if item.key == key)


class Wanted:
    """The desired state. ``want`` maps an object's key to the value that stands."""

    def __init__(self) -> None:
        self.want: dict[Hashable, KernelObject] = {}
        self.losers: dict[str, str] = {}  # owner -> the owner it lost to
        self.moved: set[str] = set()
        """The others who stand, or lose, since the last claim and because of it."""
        self._claims: dict[str, _Claim] = {}
        self._holders: dict[Hashable, tuple[str, ...]] = {}
        """Who claims a key. One tuple serves all keys that its owner has for itself: there are thousands."""
        self._reserved: dict[Hashable, _Fact] = {}

    def reserve(self, objects: Iterable[KernelObject]) -> None:
        """State what no peer may claim. Call before the peers are set."""
        self._reserved = {item.key: item for item in _facts(objects)}
        self._holders = dict.fromkeys(self._reserved, (OURSELVES,))

    def claim(self, owner: str, *, age: int, objects: tuple[KernelObject, ...]) -> set[Hashable]:
        """State what an owner wants now; returns the keys whose value may have changed.

        ``age`` is the lease's create revision: low is old. Empty ``objects`` forgets the owner.
        """
        self.moved = set()
        fresh = {item.key: item for item in objects}
        homes = {item.key: item for item in _homes(objects)}
        claimed: dict[Hashable, _Fact] = {**fresh, **homes}
        before = self._claims.get(owner)
        if before is None and self._holders.keys().isdisjoint(claimed):
            return self._take_all(owner, age, fresh, claimed)
        before = before or _Claim(age, ())
        if claimed:
            self._claims[owner] = _Claim(age, tuple(claimed.values()))
        else:
            self._claims.pop(owner, None)
            self.losers.pop(owner, None)
        for item in before.facts:
            if item.key not in claimed:
                self._unclaim(item.key, owner)
        for key in claimed:
            holders = self._holders.get(key, ())
            if owner not in holders:
                self._holders[key] = (*holders, owner)
        touched = {item.key for item in before.facts} | set(claimed)
        return self._settle(touched, owner)

    def _take_all(
        self,
        owner: str,
        age: int,
        fresh: dict[Hashable, KernelObject],
        claimed: dict[Hashable, _Fact],
    ) -> set[Hashable]:
        """Nobody else claims any of it: a start with thousands of peers does nothing but this."""
        if claimed:
            self._claims[owner] = _Claim(age, tuple(claimed.values()))
            self._holders.update(dict.fromkeys(claimed, (owner,)))
            self.want.update(fresh)
        return set(claimed)

    def owners(self, key: Hashable) -> tuple[str, ...]:
        """Everyone who claims a key, whether the claim stands or not."""
        return tuple(who for who in self._holders.get(key, ()) if who != OURSELVES)

    def idle(self, owners: Iterable[str]) -> set[str]:
        """Those that want nothing."""
        return {owner for owner in owners if owner not in self._claims}

    def keys(self, owner: str) -> tuple[Hashable, ...]:
        """The keys an owner claims."""
        claim = self._claims.get(owner)
        return tuple(item.key for item in claim.facts) if claim else ()

    def _unclaim(self, key: Hashable, owner: str) -> None:
        holders = tuple(who for who in self._holders.get(key, ()) if who != owner)
        if holders:
            self._holders[key] = holders
        else:
            self._holders.pop(key, None)

    def _settle(self, touched: set[Hashable], owner: str) -> set[Hashable]:
        """Judge everyone who shares a touched key again, then choose each key's value."""
        concerned = {owner, *(other for key in touched for other in self.owners(key))}
        for other in concerned & self._claims.keys():
            rival = self._rival(other)
            changed = (rival is None) == (other in self.losers)
            if rival is None:
                self.losers.pop(other, None)
            else:
                self.losers[other] = rival
            if changed:  # its other objects appear or disappear with it
                touched.update(self.keys(other))
                self.moved.add(other)
        self.moved.discard(owner)
        for key in touched:
            standing = [who for who in self.owners(key) if who not in self.losers]
            item = self._claims[standing[0]].of(key) if standing else None
            if item is not None and not isinstance(item, _Home):
                self.want[key] = item
            else:
                self.want.pop(key, None)
        return touched

    def _rival(self, owner: str) -> str | None:
        """The older owner whose claim contradicts this one's, if there is one."""
        mine = self._claims[owner]
        for item in mine.facts:
            for other in self._holders[item.key]:
                if other == OURSELVES:
                    if owner != NODE and self._reserved[item.key] != item:
                        return OURSELVES
                elif (
                    other != owner
                    and (self._claims[other].age, other) < (mine.age, owner)
                    and self._claims[other].of(item.key) != item
                ):
                    return other
        return None


def _facts(objects: Iterable[KernelObject]) -> tuple[_Fact, ...]:
    """The objects, and what their FDB entries say the other way round."""
    found = tuple(objects)
    return (*found, *_homes(found))


def _homes(objects: Iterable[KernelObject]) -> Iterable[_Home]:
    return (
        _Home(item.link, item.underlay, item.mac) for item in objects if isinstance(item, FdbEntry)
    )
