"""What is wrong with this node, all of it, by name and in words, and since when.

Gathered from whoever knows: the reconciler, the life with etcd, the sweep, the threads of upkeep, and the look at
what the node needs outside of itself (agent.outlook). The loop has it gathered every other second, so that a
trouble is as old as it is and not as old as the first question about it.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from agent import adoption
from agent.config import Config
from agent.life import Life
from agent.moment import boot_clock, utc
from agent.reconcile import Reconciler
from overlay.wanted import NODE

MOST_NAMED = 5
LOOK_S = 2.0
SILENT_S = 60.0
"""A watch says something every 20 s, or is ended 10 s later (agent.etcd.watch)."""
OWN = "this node"


class Complainer(Protocol):
    """Something that knows what is wrong with it."""

    def trouble(self) -> Mapping[str, str]:
        """By name; empty if all is well. Waits for nothing."""


class Ledger:
    """How long there is each trouble, by a ``clock`` that nobody sets. Thread-safe; ``wall`` is seconds since 1970."""

    def __init__(
        self, wall: Callable[[], float] = time.time, clock: Callable[[], float] = boot_clock
    ) -> None:
        self._wall, self._clock = wall, clock
        self._lock = threading.Lock()
        self._since: dict[str, float] = {}

    def note(self, names: Mapping[str, str]) -> None:
        """These there are now; the others have ended."""
        now = self._clock()
        with self._lock:
            self._since = {name: self._since.get(name, now) for name in names}

    def oldest_first(self, names: Mapping[str, str]) -> dict[str, float]:
        """The same names in the order of their age, with their beginning as the wall clock of now would have it."""
        now, wall = self._clock(), self._wall()
        with self._lock:
            since = {name: self._since.get(name, now) for name in names}
        ordered = sorted(since.items(), key=lambda item: item[1])
        return {name: round(wall - (now - at), 1) for name, at in ordered}


class Ailments:
    """``pods`` is the sweep's report; ``complainers`` are asked in this order."""

    def __init__(
        self,
        config: Config,
        life: Life,
        *,
        pods: Callable[[], Mapping[str, Any]],
        complainers: tuple[Complainer, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ledger = Ledger()
        self._subnets = f"{config.etcd_prefix}/subnets"
        self._life, self._pods, self._complainers = life, pods, complainers
        self._clock, self._looked = clock, float("-inf")
        self.summary = ""
        """The oldest trouble as of the last look, and how many more; empty if there is none."""

    def turned(self, reconciler: Reconciler) -> None:
        """In the loop's thread after each round."""
        if self._clock() - self._looked >= LOOK_S:
            self._looked = self._clock()
            found = self.now(reconciler)
            self.ledger.note(found)
            self.summary = _summary(list(self.ledger.oldest_first(found)))

    def now(self, reconciler: Reconciler) -> dict[str, str]:
        """All troubles, in the loop's thread."""
        unreadable = {
            key: f"unreadable record: {why}; look: etcdctl get {self._subnets}/{key}"
            for key, why in reconciler.demand.roll.unreadable.items()
        }
        own = {OWN if who == NODE else who: why for who, why in reconciler.trouble().items()}
        return {**own, **unreadable, **self._beside_peers(reconciler)}

    def _beside_peers(self, reconciler: Reconciler) -> dict[str, str]:
        pods = self._pods()
        found = {f"pod {place}": "; ".join(faults) for place, faults in pods["faults"].items()}
        if pods["rivals"]:
            found["conflist"] = "; ".join(pods["rivals"])
        leases, me = reconciler.demand.roll.leases, reconciler.me
        mine = leases.get(me.lease_key) if me else None
        if beside := adoption.trouble(mine, pods["beside"]):
            found["flanneld"] = beside
        if self._life.keeper.store.trouble:
            found["etcd's store"] = self._life.keeper.store.trouble
        found |= reconciler.drift.fights(time.monotonic())
        for one in self._complainers:
            found |= one.trouble()
        return found | _outage(self._life, reconciler) | _off_link(reconciler)


def _summary(names: list[str]) -> str:
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}" if names else ""


def _outage(life: Life, reconciler: Reconciler) -> dict[str, str]:
    """What etcd's absence, or its loss of memory, means here; and the underlay's."""
    found = {}
    if not life.health.fine:
        found["etcd"] = f"traffic goes on, but etcd is {life.health.sentence()}"
    elif (life.heard_s_ago or 0.0) > SILENT_S:
        found["etcd's watch"] = (
            f"nothing was heard for {life.heard_s_ago:.0f} s, so peers that come and go are missed; "
            "next: overlayctl etcd; if etcd is well: systemctl restart overlay-agent"
        )
    if life.claimed is not None and life.refusal:
        found["new pods are refused"] = life.refusal
    if life.keeper.underlay_trouble:
        found["underlay"] = f"{life.keeper.underlay_trouble}; everything stays as it is meanwhile"
    if kept := reconciler.demand.orphans():
        found["etcd's history was lost"] = (
            f"{len(kept)} peers are kept that etcd knows no more, since {utc(min(kept.values()))}; each goes when "
            "its lease would have ended; look: overlayctl peers; where such a node lives: systemctl restart "
            "overlay-agent there"
        )
    return found


def _off_link(reconciler: Reconciler) -> dict[str, str]:
    """With host-gw: peers that nothing leads to."""
    reasons = sorted(reconciler.demand.off_link.reasons.items())
    missing = [f"{key}: {why}" for key, why in reasons]
    more = f"; and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return {"host-gw does not reach": "; ".join(missing[:MOST_NAMED]) + more} if missing else {}
