"""The pods' links, kept right within a second: the host ends in their bridge, up, marked; both ends with the MTU due.

What the kernel says of a host end is judged by the event alone: an ADD ends with an event that is all right, so it
costs no look. Only a link that is not as it should be is looked at, by its name, once the events of its group are
over; where one was deleted, whether its journal is still there: then it was no DEL, and somebody has to be told. Where
the bridge is gone the reconciler makes it anew; the pods wait for it and join it at once.

A new MTU. `agent.reconcile` has given it to the VXLAN device and the bridge before the pods get it here, for
smaller as for larger ones. Smaller: from then on the node itself answers "fragmentation needed" to whatever is
still too long, in both directions, where a pod that was changed first would just lose the long packets that
others still send it. Larger: no pod may send what the tunnel cannot hold yet.

The sweep looks at everything once a minute, in case an event was lost.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from ipaddress import ip_interface
from pathlib import Path

from agent.podfights import PodFights
from cni import attach, collect, health, lock, podmtu
from cni.health import Expected
from cni.ipam import Ipam
from cni.owner import Owner, owner_at
from cni.pods import Lives, boot_id
from cni.record import Attachment
from overlay.errors import OverlayError
from overlay.model import ALIAS_PREFIX, POD_LINK_PREFIX, Address
from overlay.netlink import LinkInfo, Netlink
from overlay.netlink.parse import Record

log = logging.getLogger(__name__)

SETTLE_S = 0.1
"""Changes come in groups; kernelwatch has gathered some already."""
BUSY_S, BUSY_TRIES = 0.2, 10
"""A verb is at work on the pod: its own last event tells whether anything is left to do."""
BRIDGE_S, LIVES_S = 0.05, 1.0
MOST_LINES = 5
"""At a time, of single pods; how many more there were is one line."""


class PodLinks:
    """``heard`` and ``give`` are quick, for any thread; ``faults`` are by place; ``undone`` is told what was mended."""

    def __init__(self, run_dir: Path, bridge: str) -> None:
        self.undone: Callable[[list[tuple[str, str]]], None] = lambda _: None
        self.mended = 0
        self.faults: dict[str, tuple[str, ...]] = {}
        self.fits = 0
        """What pods may send at most, in bytes; 0 while nobody has said so."""
        self._run_dir, self._bridge = run_dir, bridge
        self._home = 0
        self._places: dict[str, str] = {}
        self._pending: dict[str, int] = {}
        self._fights = PodFights()
        self.fights = self._fights.now
        self._all = False
        self._lives: tuple[float, Lives] | None = None
        self._said, self._moves = deque[str](), deque[str]()
        self._bent = deque[tuple[str, str]]()
        self._guard = threading.Lock()
        self._news, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="podlinks", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._news.set()

    def give(self, fits: int) -> None:
        """The MTU that the node's devices have now; again is harmless."""
        if fits != self.fits:
            self.fits = fits
            self.look_at_all()

    def look_at_all(self) -> None:
        """Events were lost, or concern every pod."""
        self._all = True
        self._news.set()

    def heard(self, records: Iterable[Record] | None) -> None:
        """What kernelwatch has read, None if something of it was lost."""
        if records is None:
            return self.look_at_all()
        with self._guard:
            for record in records:
                if not isinstance(record, LinkInfo):
                    continue
                if record.kind == "bridge" and record.name == self._bridge:
                    self._home = 0 if record.deleted else record.index
                elif record.kind == "veth" and record.name.startswith(POD_LINK_PREFIX):
                    if not record.deleted and self._is_right(record):
                        self._pending.pop(record.name, None)
                    else:
                        self._pending.setdefault(record.name, 0)
                elif record.kind == "veth" and (name := _true_name(record)):
                    self._pending.setdefault(name, 0)
            if self._pending:
                self._news.set()

    def tend(self, place: str, gateways: tuple[Address, ...] = ()) -> bool:
        """Look at one pod and put right what can be; False if a verb is at work on it."""
        with lock.tried(self._run_dir, place) as free:
            if not free:
                return False
            ipam = Ipam(self._run_dir)
            record = collect.record_of(ipam, place)
            faults: tuple[str, ...] = ()
            if record is not None and not self._is_gone(record):
                try:
                    faults = self._tended(ipam, record, gateways)
                except (OverlayError, ValueError) as error:  # a corrupt record costs no other pod
                    faults = (str(error),)
        if faults and self.faults.get(place) != faults:
            self._said.append(f"pod {place}: {'; '.join(faults)}")
        if faults:
            self.faults[place] = faults
        else:
            self.faults.pop(place, None)
        return True

    def tend_all(self, gateways: tuple[Address, ...] = ()) -> None:
        """Every pod that there is; one line says that their MTU was changed."""
        begun = time.monotonic()
        places = Ipam(self._run_dir).places()
        for place in places:
            if self._stopping.is_set():
                return
            if not self.tend(place, gateways) and (owner := owner_at(place)):
                with self._guard:
                    self._pending.setdefault(owner.host_link, 0)
                self._news.set()
        for place in {*list(self.faults)} - {*places}:
            self.faults.pop(place, None)
        self._say(time.monotonic() - begun)

    # --- inside ------------------------------------------------------------------------------------

    def _is_right(self, link: LinkInfo) -> bool:
        return (
            link.up
            and link.master == self._home != 0
            and link.alias.startswith(ALIAS_PREFIX)
            and link.mtu == (self.fits or link.mtu)
        )

    def _tended(
        self, ipam: Ipam, record: Attachment, gateways: tuple[Address, ...]
    ) -> tuple[str, ...]:
        """The faults that stay. Whose interface another plugin made is not looked at, but for its MTU.

        Nor is one that just got another MTU: a hundred of them are to have it within a second.
        """
        if not record.host_link and not record.adopted:
            return ()
        moved = self.fits and record.due_mtu(self.fits) != record.mtu
        refused: tuple[str, ...] = ()
        if moved:
            record, refused = self._followed(ipam, record)
        short = (
            (f"it asks for MTU {record.asked_mtu}, {record.mtu} is the most that fits now",)
            if self.fits and record.mtu < record.asked_mtu
            else ()
        )
        if moved or not record.host_link:
            return (*refused, *short)
        faults = health.look(record, _expected(record), gateways)
        if faults.host:
            health.mend(record)
            self._count(record, faults.host)
            faults = health.look(record, _expected(record), gateways)
        return (*faults.all, *short)

    def _is_gone(self, record: Attachment) -> bool:
        """Most live, and are told by their path alone; for proof of an end all processes are looked through, once for
        all who end together."""
        if not Lives(boot_id(), frozenset()).pod_is_gone(record):
            return False
        now = time.monotonic()
        if self._lives is None or now - self._lives[0] > LIVES_S:
            self._lives = now, Lives.look()
        return self._lives[1].pod_is_gone(record)

    def _followed(self, ipam: Ipam, record: Attachment) -> tuple[Attachment, tuple[str, ...]]:
        new, refused = podmtu.follow(record, self.fits)
        ipam.write(new)
        self._moves.append(f"{record.mtu} -> {new.mtu}")
        return new, refused

    def _count(self, record: Attachment, what: tuple[str, ...]) -> None:
        with self._guard:
            self.mended += 1
        self._said.append(f"pod {record.owner.place}: mended: {'; '.join(what)}")
        if fight := self._fights.count(record.host_link, record.owner.place):
            self._said.append(fight)
        self._bent.append((record.owner.place, "; ".join(what)))

    def _say(self, took_s: float = 0.0) -> None:
        """A bridge that is deleted concerns a hundred pods: the log is to be read by people."""
        said = [self._said.popleft() for _ in range(len(self._said))]
        for sentence in said[:MOST_LINES]:
            log.warning("%s", sentence)
        if len(said) > MOST_LINES:
            log.warning("the same or the like of pods=%d more", len(said) - MOST_LINES)
        self.undone([self._bent.popleft() for _ in range(len(self._bent))])
        moves = [self._moves.popleft() for _ in range(len(self._moves))]
        if moves:
            words = ", ".join(sorted(set(moves)))
            log.warning("the pods follow, mtu %s pods=%d (%.2f s)", words, len(moves), took_s)

    # --- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._news.wait()
            if self._stopping.wait(SETTLE_S):
                return
            self._news.clear()
            try:
                self._look()
            except (OverlayError, OSError) as error:
                log.warning("pods' links could not be looked after, the sweep will: %s", error)
            except Exception:  # a thread that ended here would be missed by nobody for weeks
                log.exception("pods' links could not be looked after, the sweep will")

    def _look(self) -> None:
        if not self._wait_for_bridge():
            return
        if self._all:
            self._all = False  # before the look: who asks meanwhile gets another
            self.tend_all()
        with self._guard:
            names, self._pending = self._pending, {}
        if names:
            self._look_at(names)

    def _wait_for_bridge(self) -> bool:
        """The reconciler makes it; without it no pod's link can be put right."""
        with Netlink() as host:
            while not self._stopping.is_set():
                if not self._pending and not self._all:
                    return False
                bridge = attach.find(host, self._bridge)
                if bridge is not None and bridge.up:
                    self._home = bridge.index
                    return True
                self._stopping.wait(BRIDGE_S)
        return False

    def _look_at(self, names: dict[str, int]) -> None:
        again, self._places = dict[str, int](), {}
        for name, tries in names.items():
            if self._fights.waits(name):
                again[name] = tries
            elif (place := self._place_of(name)) and not self.tend(place) and tries < BUSY_TRIES:
                again[name] = tries + 1
        self._say()
        if again and not self._stopping.wait(BUSY_S):
            with self._guard:
                for name, tries in again.items():
                    self._pending.setdefault(name, tries)
            self._news.set()

    def _place_of(self, name: str) -> str:
        """By the journals; empty for a link without one, which is the sweep's."""
        if not self._places:  # of this round
            ipam = Ipam(self._run_dir)
            for place in ipam.places():
                owner = owner_at(place)
                if owner is None and (record := collect.record_of(ipam, place)) is not None:
                    owner = record.owner
                if owner is not None:
                    self._places[owner.host_link] = place
        return self._places.get(name, "")


def _true_name(link: LinkInfo) -> str:
    """What a host end was named before somebody renamed it; empty for any other link."""
    parts = link.alias.removeprefix(ALIAS_PREFIX).split("/")
    is_end = not link.deleted and link.alias.startswith(ALIAS_PREFIX) and len(parts) == 3
    return Owner(*parts).host_link if is_end else ""


def _expected(record: Attachment) -> Expected:
    """By the journal alone: plugins chained after us may have given the pod another MAC."""
    addresses = tuple(ip_interface(text) for text in record.addresses)
    return Expected(record.ifname, "", record.mtu, addresses, frozenset())
