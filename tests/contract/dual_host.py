"""A dual-stack node's data plane in a namespace with strangers beside it, and what of it ought to be there."""

import subprocess
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.desired import desired_node, desired_peer
from overlay.errors import ForeignObject
from overlay.model import Action, Lease
from overlay.netlink.namespace import run_inside
from overlay.plan import State, plan
from tests.contract.blows import Way
from tests.contract.entries import Ear, Entry, there
from tests.contract.spaces import inside, ip, namespace
from tests.contract.test_dataplane_v6 import BOTH, DUAL

ROUNDS = 5
_STRANGERS = (
    "link add other type vxlan id 9 dstport 8472 local 192.0.2.1 dev eth0",
    "link set other up",
    "route add 198.51.100.0/24 via 192.0.2.9",
    "route add 10.0.0.0/8 via 192.0.2.9 proto bird",
    "neigh add 192.0.2.50 lladdr 02:00:00:00:00:50 dev eth0",
    "neigh add 10.5.3.0 lladdr 02:00:00:00:00:50 dev other",
    "route add 10.5.0.0/16 dev other proto static",
    "route add 10.5.4.0/24 via 10.5.4.0 dev other onlink table 99 proto 158",
)


def wanted(*leases: Lease) -> State:
    """The node and its peers, of both families."""
    items = [*desired_node(DUAL, BOTH)]
    for lease in leases:
        items += desired_peer(DUAL, BOTH, lease)
    return {item.key: item for item in items}


def right(leases: Iterable[Lease]) -> set[Entry]:
    """What leads to the peers, said anew."""
    found: set[Entry] = set()
    for end in (end for lease in leases for end in lease.endpoints):
        via, version = str(end.subnet.network_address), end.subnet.version
        link, metric = ("overlay.1", "0") if version == 4 else ("overlay-v6.1", "1024")
        found |= {
            ("route", str(end.subnet), metric, via, link, "158"),
            ("neighbour", via, link, str(end.mac)),
            ("fdb", str(end.mac), link, str(end.underlay)),
        }
    return found


class Host:
    """A namespace with a node's data plane in it."""

    def __init__(self, space: Path, run_dir: Path, leases: Iterable[Lease]) -> None:
        self.space, self._run_dir = space, run_dir
        self.want: State = wanted(*leases)
        self.passes = 0
        """How many times steps were carried out by the last `mended`."""
        self.dataplane = run_inside(space, lambda: Dataplane(run_dir))
        assert self.mended() == set()
        self.ear = run_inside(space, Ear)

    def close(self) -> None:
        """Close the doors."""
        self.dataplane.close()
        self.ear.close()

    def batch(self, tool: str, lines: Iterable[str], way: Way) -> None:
        """What cannot be done (twice, say) is not done."""
        text = "".join(f"{line}\n" for line in lines).format(**asdict(way))
        words = ["nsenter", f"--net={self.space}", *tool.split(), "-force", "-batch", "-"]
        subprocess.run(words, input=text, text=True, capture_output=True, check=False)

    def interrupted(self, after: int, *, additive: bool) -> None:
        """So many steps of a plan (of what is only made, if ``additive``), then another process takes over."""

        def body() -> None:
            steps = plan(self.want, self.dataplane.read(self.want))
            if additive:
                steps = [step for step in steps if step.action is not Action.DELETE]
            self.dataplane.apply(steps[:after])
            self.dataplane.close()
            self.dataplane = Dataplane(self._run_dir)

        run_inside(self.space, body)

    def mended(self) -> set[str]:
        """Read, plan, apply until nothing is left but what stands in the way; the routes that it is."""

        def body() -> set[str]:
            for self.passes in range(ROUNDS):
                steps = plan(self.want, self.dataplane.read(self.want))
                errors = self.dataplane.apply(steps)
                blocked = {
                    str(getattr(step.object, "dst", step.object))
                    for step, error in zip(steps, errors, strict=True)
                    if isinstance(error, ForeignObject)
                }
                others = [it for it in errors if it and not isinstance(it, ForeignObject)]
                assert others == []
                if len(blocked) == len(steps):
                    return blocked
            pytest.fail(f"never at rest: {[str(step) for step in steps]}")

        return run_inside(self.space, body)


def _furnish(space: Path) -> None:
    inside(space, "sysctl", "-qw", "net.ipv4.conf.default.rp_filter=0")
    ip(space, "link", "set", "lo", "up")
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    for name in ("far0", "eth0"):
        ip(space, "link", "set", name, "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")
    ip(space, "addr", "add", "2001:db8::1/64", "dev", "eth0", "nodad")
    for line in _STRANGERS:
        ip(space, *line.split())
    inside(
        space,
        *[
            "bridge",
            "fdb",
            "add",
            "02:00:00:00:00:03",
            "dev",
            "other",
            "dst",
            "192.0.2.9",
            "self",
            "permanent",
        ],
    )


@contextmanager
def dual_host(run_dir: Path, leases: Iterable[Lease]) -> Iterator[Host]:
    """At rest; the strangers are still there."""
    with namespace() as space:
        _furnish(space)
        before = there(space)
        made = Host(space, run_dir, leases)
        with closing(made):
            assert before <= there(space), "a stranger's entry went"
            yield made
