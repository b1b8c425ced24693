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

from overlay.keys import home_key
from overlay.model import FdbEntry, KernelObject

NODE = ""
"""The owner of what this node itself needs; older than any lease."""
OURSELVES = "this node"
"""Whose claim a reserved object is: nobody contradicts it, and it is never programmed."""


@dataclass(frozen=True, slots=True)
class _Claim:
    age: int
    objects: tuple[KernelObject, ...]

    @property
    def facts(self) -> dict[Hashable, KernelObject]:
        """What it says, by key."""
        return _facts(self.objects)


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
        self._reserved: dict[Hashable, KernelObject] = {}

    def reserve(self, objects: Iterable[KernelObject]) -> None:
        """State what no peer may claim. Call before the peers are set."""
        self._reserved = _facts(objects)
        self._holders = dict.fromkeys(self._reserved, (OURSELVES,))

    def claim(self, owner: str, *, age: int, objects: tuple[KernelObject, ...]) -> set[Hashable]:
        """State what an owner wants now; returns the keys whose value may have changed.

        ``age`` is the lease's create revision: low is old. Empty ``objects`` forgets the owner.
        """
        self.moved = set()
        claimed = _facts(objects)
        before = self._claims.get(owner)
        if before is None and self._holders.keys().isdisjoint(claimed):
            return self._take_all(owner, age, objects, claimed)
        said = before.facts if before else {}
        if claimed:
            self._claims[owner] = _Claim(age, objects)
        else:
            self._claims.pop(owner, None)
            self.losers.pop(owner, None)
        for key in said:
            if key not in claimed:
                self._unclaim(key, owner)
        for key in claimed:
            holders = self._holders.get(key, ())
            if owner not in holders:
                self._holders[key] = (*holders, owner)
        return self._settle({*said, *claimed}, owner)

    def _take_all(
        self,
        owner: str,
        age: int,
        objects: tuple[KernelObject, ...],
        claimed: Iterable[Hashable],
    ) -> set[Hashable]:
        """Nobody else claims any of it: a start with thousands of peers does nothing but this."""
        if not objects:
            return set()
        self._claims[owner] = _Claim(age, objects)
        self._holders.update(dict.fromkeys(claimed, (owner,)))
        want = self.want
        fresh = set()
        for item in objects:
            key = item.key
            want[key] = item
            fresh.add(key)
        return fresh

    def owners(self, key: Hashable) -> tuple[str, ...]:
        """Everyone who claims a key, whether the claim stands or not."""
        return tuple(who for who in self._holders.get(key, ()) if who != OURSELVES)

    def idle(self, owners: Iterable[str]) -> set[str]:
        """Those that want nothing."""
        return {owner for owner in owners if owner not in self._claims}

    def keys(self, owner: str) -> tuple[Hashable, ...]:
        """The keys an owner claims."""
        claim = self._claims.get(owner)
        return tuple(claim.facts) if claim else ()

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
            item = self._claims[standing[0]].facts[key] if standing else None
            if item is not None and item.key == key:
                self.want[key] = item
            else:
                self.want.pop(key, None)
        return touched

    def _rival(self, owner: str) -> str | None:
        """The older owner whose claim contradicts this one's, if there is one."""
        mine = self._claims[owner]
        for key, item in mine.facts.items():
            for other in self._holders[key]:
                if other == OURSELVES:
                    if owner != NODE and self._reserved[key] != item:
                        return OURSELVES
                elif (
                    other != owner
                    and (self._claims[other].age, other) < (mine.age, owner)
                    and self._claims[other].facts[key] != item
                ):
                    return other
        return None


def _facts(objects: Iterable[KernelObject]) -> dict[Hashable, KernelObject]:
    """The objects by their keys, and each FDB entry once more by what it says the other way round.

    At its underlay address lives the VTEP with its MAC, and no other one.
    """
    facts = {}
    for item in objects:
        facts[item.key] = item
        if isinstance(item, FdbEntry):
            facts[home_key(item.link, item.underlay)] = item
    return facts
