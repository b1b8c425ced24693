"""A full comparison of the kernel with what is wanted: with nothing to do, and with 100 entries gone.

The agent's own parts (read, plan, apply) in this process, in a namespace of their own, so that nothing else of the
agent is in the figure: `make bench` asks the real one as well (e2e.bench_load).
"""

import statistics
import tempfile
import time
from collections.abc import Hashable, Sequence
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path

from e2e.bench_bare import underlaid
from e2e.bench_records import CONFIG, SimPeer
from overlay.dataplane import Dataplane
from overlay.desired import Me, Vtep, desired_node, desired_peer
from overlay.model import KernelObject, Route, Step
from overlay.netconfig import parse_network
from overlay.netlink.namespace import run_inside
from overlay.plan import plan
from overlay.schema import parse_lease

SUBNET = ip_network("10.255.255.0/24")
MAC = "02:ff:00:00:00:01"
ME = Me(
    "10.255.255.0-24",
    (Vtep(SUBNET, "overlay.1", MAC, ip_address("192.0.2.1"), "eth0", 1450),),
    "overlay0",
)
Want = dict[Hashable, KernelObject]


@dataclass(frozen=True, slots=True)
class Resync:
    """Seconds, medians; ``cpu_s`` of CPU, with nothing to do."""

    nothing_s: float
    damaged_s: float
    cpu_s: float


def resync(name: str, peers: Sequence[SimPeer], *, damaged: int, rounds: int = 5) -> Resync:
    """In a namespace of that name, which is gone afterwards."""
    with underlaid(name) as space, tempfile.TemporaryDirectory() as work:
        return run_inside(space.path, lambda: _measured(Path(work), peers, damaged, rounds))


def _measured(work: Path, peers: Sequence[SimPeer], damaged: int, rounds: int) -> Resync:
    network = parse_network(CONFIG.encode())
    node: Want = {item.key: item for item in desired_node(network, ME)}
    leases = (parse_lease(peer.key.rpartition("/")[2], peer.value) for peer in peers)
    want: Want = node | {
        item.key: item for lease in leases for item in desired_peer(network, ME, lease)
    }
    gone = [item for item in want.values() if isinstance(item, Route)][:damaged]
    nothing: list[float] = []
    mended: list[float] = []
    used: list[float] = []
    with closing(Dataplane(work)) as dataplane:
        _mend(dataplane, node)
        _mend(dataplane, want)
        for _ in range(rounds):
            before = time.thread_time()
            nothing.append(_mend(dataplane, want)[0])
            used.append(time.thread_time() - before)
            _apply(dataplane, plan({}, {item.key: item for item in gone}))
            taken, steps = _mend(dataplane, want)
            assert steps == len(gone), f"{steps} steps for {len(gone)} missing routes"
            mended.append(taken)
    return Resync(*map(statistics.median, (nothing, mended, used)))


def _mend(dataplane: Dataplane, want: Want) -> tuple[float, int]:
    begun = time.perf_counter()
    steps = plan(want, dataplane.read(want))
    _apply(dataplane, steps)
    return time.perf_counter() - begun, len(steps)


def _apply(dataplane: Dataplane, steps: list[Step]) -> None:
    errors = [error for error in dataplane.apply(steps) if error]
    assert not errors, errors[0]
