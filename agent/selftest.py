"""Does what the tunnel device sends arrive whole? If not, its checksum offload is switched off, and said.

Network cards, drivers and hypervisors that get the checksum of an encapsulated packet wrong are well known
(flannel issue 1279): pings pass, TCP and UDP between nodes are dead. The test sends one datagram whose
checksum is left to the device, from our VTEP to a peer's, and looks whether the peer's kernel answers
(`overlay.netlink.offload`). Only where it does not, and the same datagram with a checksum of the kernel's own does,
several times, and no other peer contradicts, is the device called broken. Whatever else happens (loss, a
firewall, no peer) means that nothing is known, and nothing is changed.

What was switched off stays so for a device that is made anew and for an agent that starts again: it is written
down in the run directory, which a reboot empties. A device that was found good by an earlier agent is tested
again at a start; that changes nothing. A test sends a few dozen packets at most, all to VTEPs and all through our own
device: a kernel answers one host with some six "unreachable" in a row, then with one a second.
"""

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from pathlib import Path

import msgspec

from agent.loop import Loop
from agent.reconcile import Reconciler
from overlay.errors import OverlayError
from overlay.model import Address
from overlay.netlink import LinkInfo, offload
from overlay.netlink.offload import Checksum
from overlay.netlink.parse import Record
from overlay.nodefile import write_atomic
from overlay.served import direct_by, unserved

log = logging.getLogger(__name__)

ROUNDS, MOST_PEERS = 4, 6
AGAIN_S = (2.0, 10.0, 30.0, 60.0, 300.0)
"""While nobody answered; then the last one. A peer has to hear of us before it can answer."""
CURE_TRIES, CURE_PAUSE_S = 3, 1.1
ASK_TIMEOUT_S = 10.0
PAGE_NAME = "offload.json"


class Verdict(Enum):
    """What a test has shown."""

    GOOD = "works"
    BROKEN = "is broken"
    UNKNOWN = "not tested: no peer has answered through it yet"
    NOT_OURS = "is off, and not by this agent"


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A device and its VTEP's address, and those of some peers behind it."""

    link: str
    local: Address
    peers: tuple[Address, ...]


Ask = Callable[[Tunnel, Address, Checksum], bool]


def verdict(tunnel: Tunnel, ask: Ask) -> Verdict:
    """Ask peers until one has shown that the device is good, or all have been asked. Pure but for ``ask``."""
    found = Verdict.UNKNOWN
    for peer in tunnel.peers[:MOST_PEERS]:
        match _one_peer(tunnel, peer, ask):
            case Verdict.GOOD:
                return Verdict.GOOD
            case Verdict.BROKEN:
                found = Verdict.BROKEN
            case _:
                continue
    return found


def _one_peer(tunnel: Tunnel, peer: Address, ask: Ask) -> Verdict:
    for _ in range(ROUNDS):
        if ask(tunnel, peer, Checksum.DEVICE):
            return Verdict.GOOD
        if not ask(tunnel, peer, Checksum.KERNEL):
            return Verdict.UNKNOWN
    return Verdict.BROKEN


class SelfTest:
    """One thread. ``looked`` says what is known, by device."""

    def __init__(self, run_dir: Path, loop: Loop, *, enabled: bool) -> None:
        self.looked: dict[str, Verdict] = {}
        self._page, self._loop, self._enabled = run_dir / PAGE_NAME, loop, enabled
        self._off = _read(self._page)
        self._tested: dict[str, int] = {}
        self._had_peers = False
        self._tries = 0
        self._news, self._stopping = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="selftest", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        if self._enabled:
            self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        self._news.set()

    def turned(self, reconciler: Reconciler) -> None:
        """After a round of the loop: the first peer may be there."""
        has_peers = reconciler.serving and reconciler.demand.count > 0
        if has_peers and not self._had_peers:
            self._tries = 0
            self._news.set()
        self._had_peers = has_peers or (self._had_peers and not reconciler.serving)

    def heard(self, records: Iterable[Record] | None) -> None:
        """A device of ours may have been made anew, or its checksums switched on again."""
        for record in records or ():
            if not isinstance(record, LinkInfo) or record.deleted:
                continue
            if record.name in self._off:
                self._news.set()
            if self._tested.get(record.name, record.index) != record.index:
                self._tries = 0
                self._news.set()

    @property
    def notices(self) -> Sequence[str]:
        """For ``overlayctl status``."""
        return [
            f"checksum offload does not work below {link}: tx-checksum is off on it, the CPU computes instead; "
            f"look: ethtool -k {link}; to have it tested anew: rm {self._page}, ethtool -K {link} tx on, restart "
            "overlay-agent"
            for link in sorted(self._off)
        ]

    def facts(self) -> Mapping[str, str]:
        """By device."""
        off = dict.fromkeys(self._off, "broken, switched off")
        return {link: found.value for link, found in list(self.looked.items())} | off

    # --- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        wait_s: float | None = None
        while not self._stopping.is_set():
            self._news.wait(wait_s)
            if self._stopping.is_set():
                return
            self._news.clear()
            try:
                unknown = self._look()
            except (OverlayError, OSError) as error:
                log.info("checksum offload cannot be tested, trying again: %s", error)
                unknown = True
            except Exception:  # a thread that ended here would be missed by nobody for weeks
                log.exception("checksum offload cannot be tested")
                unknown = True
            wait_s = AGAIN_S[min(self._tries, len(AGAIN_S) - 1)] if unknown else None
            self._tries += 1

    def _look(self) -> bool:
        """All our devices; True if one of them is still to be tested, or there is none (yet)."""
        there = self._loop.ask(tunnels, timeout_s=ASK_TIMEOUT_S)
        for tunnel in there:
            index = socket.if_nametoindex(tunnel.link)
            on_again = tunnel.link in self._off and offload.tx_checksum(tunnel.link)
            if on_again:
                self._off = self._off & _read(self._page)  # who deletes that wants it tested
            if tunnel.link in self._off:
                if on_again:
                    offload.set_tx_checksum(tunnel.link, False)
                    log.warning(
                        "the tx-checksum of %s was on, of a new device or by others: it is off again",
                        tunnel.link,
                    )
            elif self._tested.get(tunnel.link) == index and self._is_known(tunnel.link):
                continue
            elif not offload.tx_checksum(tunnel.link):
                self.looked[tunnel.link] = Verdict.NOT_OURS
            else:
                self.looked[tunnel.link] = self._test(tunnel)
            self._tested[tunnel.link] = index
        return not there or not all(self._is_known(tunnel.link) for tunnel in there)

    def _is_known(self, link: str) -> bool:
        return link in self._off or self.looked.get(link, Verdict.UNKNOWN) is not Verdict.UNKNOWN

    def _test(self, tunnel: Tunnel) -> Verdict:
        begun = time.monotonic()
        found = verdict(tunnel, self._ask)
        log.debug("checksum offload of %s: %s", tunnel.link, found.value)
        if found is not Verdict.BROKEN or self._stopping.is_set():
            return Verdict.UNKNOWN if found is Verdict.BROKEN else found
        offload.set_tx_checksum(tunnel.link, False)
        if not self._is_cured(tunnel):
            offload.set_tx_checksum(tunnel.link, True)
            log.warning(
                "packets through %s do not arrive, with tx-checksum off neither: on again",
                tunnel.link,
            )
            return Verdict.UNKNOWN
        self._off = self._off | {tunnel.link}
        write_atomic(self._page, msgspec.json.encode(sorted(self._off)))
        log.warning(
            "checksum offload is broken below %s: TCP and UDP through it did not arrive; tx-checksum is off on it, "
            "tested again: they arrive (%.1f s)",
            tunnel.link,
            time.monotonic() - begun,
        )
        return Verdict.BROKEN

    def _is_cured(self, tunnel: Tunnel) -> bool:
        for _ in range(CURE_TRIES):
            for peer in tunnel.peers[:MOST_PEERS]:
                if self._ask(tunnel, peer, Checksum.DEVICE):
                    return True
            if self._stopping.wait(CURE_PAUSE_S):  # it answers one a second
                return False
        return False

    def _ask(self, tunnel: Tunnel, peer: Address, checksum: Checksum) -> bool:
        if self._stopping.is_set():
            return False
        return offload.arrives(tunnel.link, tunnel.local, peer, checksum)


def tunnels(reconciler: Reconciler) -> list[Tunnel]:
    """In the loop's thread; peers in any order, so that not all nodes ask the same one.

    One that is reached directly answers directly, which a socket that is bound to the tunnel's device does not hear.
    """
    me, network = reconciler.me, reconciler.network
    if me is None or network is None or not reconciler.serving:
        return []
    failing = reconciler.trouble()
    leases = [lease for lease in reconciler.demand.peers() if lease.key not in failing]
    random.shuffle(leases)
    found = []
    for vtep in me.vteps:
        ends = (
            end.subnet.network_address
            for lease in leases
            if not unserved(network, me, lease) and (end := lease.endpoint(vtep.family)) is not None
            if not direct_by(network, me, end)
        )
        if vtep.link:  # with host-gw there is no tunnel
            local = vtep.subnet.network_address
            found.append(Tunnel(vtep.link, local, tuple(islice(ends, MOST_PEERS))))
    return found


def _read(page: Path) -> frozenset[str]:
    try:
        return frozenset(msgspec.json.decode(page.read_bytes(), type=list[str]))
    except (OSError, ValueError):  # no such file, no JSON, no UTF-8
        return frozenset()
