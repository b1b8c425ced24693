"""What follows from the roll of leases and from who we are: which kernel objects are wanted, and by whom.

Between agent.roll (what etcd says) and agent.reconcile (what the kernel holds). ``touch`` is told of every
owner and key whose wanted value may have changed; nothing else leaves this room.
"""

import logging
from collections.abc import Callable, Hashable, Iterable

from agent.events import Gone, Put, Snapshot, Unreadable
from agent.offlink import OffLink
from agent.roll import Change, Past, Roll
from agent.uncollected import uncollected
from overlay.desired import Me, desired_node, desired_peer, reserved
from overlay.model import KernelObject, Lease, Network
from overlay.onlink import NOTHING, OnLink
from overlay.served import off_link
from overlay.wanted import NODE, Wanted

log = logging.getLogger(__name__)


class Demand:
    """``wanted`` is the desired state; ``me`` and ``network`` are None until this node holds a lease."""

    def __init__(self, roll: Roll, touch: Callable[[str, Iterable[Hashable]], None]) -> None:
        self.roll = roll
        self.wanted = Wanted()
        self.me: Me | None = None
        self.network: Network | None = None
        self._touch = touch
        self._listed = False
        """From now on a change is news: the first list may have thousands, and the roll has said how many."""
        self.off_link = OffLink()

    @uncollected()
    def set_node(self, network: Network, me: Me) -> None:
        """This node is somebody else than before: everything is judged anew."""
        self.network, self.me = network, me
        self.wanted = Wanted()
        self.wanted.reserve(reserved(me))
        self._touch(NODE, self.wanted.claim(NODE, age=-1, objects=desired_node(network, me)))
        for lease in self.roll.leases.values():
            self._want_peer(lease)
        self.off_link.say()
        self._drop_contradicted()

    @property
    def connected(self) -> OnLink:
        """What is on link, as far as this node knows."""
        return NOTHING if self.me is None else self.me.connected

    def set_connected(self, me: Me) -> None:
        """``me`` differs in what is on link only: whose way changes is judged anew; of the others it costs a look."""
        before, self.me = self.connected, me
        changed = [
            lease
            for lease in self.roll.leases.values()
            for end in lease.endpoints
            if end.underlay
            and before.link_to(end.underlay) != me.connected.link_to(end.underlay)
            and not self._is_me(lease.key)
        ]
        for lease in changed:
            self._want_peer(lease)
        if changed:
            log.warning(
                "the underlay's routes changed, and the way to peers=%d first=%s on link by: %s",
                len(changed),
                changed[0].key,
                ", ".join(sorted(me.connected.links)) or "nothing",
            )
        self.off_link.say()
        self._drop_contradicted()

    @uncollected()
    def take(self, event: Snapshot | Put | Gone | Unreadable) -> None:
        """What the watch says."""
        self._judge(self.roll.take(event))
        self._listed = self._listed or self.roll.complete

    @uncollected()
    def remember(self, past: Past) -> None:
        """What an earlier life knew."""
        self._judge(self.roll.remember(past))
        self._listed = True

    def expire(self) -> None:
        """Let go of orphans whose time is up."""
        if self.roll.orphans:
            self._judge(self.roll.expire())

    @property
    def waiting_for(self) -> str:
        """What is missing to say what is wanted; empty if nothing is."""
        if self.me is None:
            return "this node's lease"
        if self.roll.complete or self.roll.remembered:
            return ""
        return "the first complete list of leases"

    @property
    def count(self) -> int:
        """Of every other node's lease; asked every round."""
        own = frozenset[str]() if self.me is None else self.me.own_keys
        return len(self.roll.leases) - sum(key in self.roll.leases for key in own)

    def peers(self) -> list[Lease]:
        """Every other node's lease."""
        return [lease for key, lease in sorted(self.roll.leases.items()) if not self._is_me(key)]

    def unserved(self) -> set[str]:
        """The keys of peers that nothing is programmed for: another backend, VNI or family, or a reservation."""
        own = frozenset[str]() if self.me is None else self.me.own_keys
        return self.wanted.idle(self.roll.leases.keys() - own)

    def orphans(self) -> dict[str, float]:
        """Peers that are kept though etcd has lost them, and the wall time at which it did."""
        kept = self.roll.orphans.items()
        return {key: orphan.lost_at for key, orphan in kept if not self._is_me(key)}

    def conflicts(self) -> dict[str, str]:
        """The lease keys that lost to an older one, in words."""
        return {who: _contradicts(winner) for who, winner in self.wanted.losers.items()}

    def first_conflict(self) -> tuple[str, str] | None:
        """One of these."""
        losers = self.wanted.losers.items()
        return next(((who, _contradicts(winner)) for who, winner in losers), None)

    # --- inside ------------------------------------------------------------------------------------

    def _judge(self, changes: list[Change]) -> None:
        for change in changes:
            self._note_peer(change)
            if change.after is not None:
                self._want_peer(change.after)
            elif change.before is not None and not self._is_me(change.key):
                age = change.before.create_revision
                self.off_link.note(change.key, "")
                self._claim(change.key, age, ())
        if changes:
            self.off_link.say()
            self._drop_contradicted()

    def _claim(self, who: str, age: int, objects: tuple[KernelObject, ...]) -> None:
        """What others get or lose by it is theirs: what is refused of that is told of them."""
        touched = self.wanted.claim(who, age=age, objects=objects)
        own = set(self.wanted.keys(who)) if self.wanted.moved else touched
        for other in self.wanted.moved:
            theirs = set(self.wanted.keys(other)) - own
            self._touch(other, theirs)
            touched -= theirs
        self._touch(who, touched)

    def _note_peer(self, change: Change) -> None:
        lease = change.after or change.before
        if lease is None or self.me is None or not self._listed or self._is_me(change.key):
            return
        if change.before is change.after:  # an orphan: the roll has said how many
            return
        word = "joined" if change.before is None else "left" if change.after is None else "changed"
        log.info("peer %s node=%s lease=%s", word, lease.node or "(no name)", change.key)

    def _drop_contradicted(self) -> None:
        """An orphan yields to any real record, for good: it does not come back when that one goes."""
        for key in self.roll.orphans.keys() & self.wanted.losers.keys():
            if self.wanted.losers[key] not in self.roll.orphans:
                self._judge(self.roll.contradicted(key))

    def _is_me(self, key: str) -> bool:
        return self.me is not None and self.me.owns(key)

    def _want_peer(self, lease: Lease) -> None:
        if self.me is None or self.network is None or self._is_me(lease.key):
            return
        objects = desired_peer(self.network, self.me, lease)
        self.off_link.note(lease.key, "" if objects else off_link(self.network, self.me, lease))
        losing = lease.key in self.wanted.losers
        age = self.roll.age(lease)
        self._claim(lease.key, age, objects)
        if lease.key in self.wanted.losers and not losing:
            log.warning(
                "peer not programmed, an older lease holds what it claims lease=%s node=%s holder=%s; "
                "look: overlayctl peers",
                lease.key,
                lease.node or "(no name)",
                self.wanted.losers[lease.key],
            )


def _contradicts(winner: str) -> str:
    return f"contradicts {winner}, which is older and stands: same subnet, VTEP MAC or address"
