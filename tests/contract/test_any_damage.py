"""From any damage to what is wanted, on a real kernel: no right entry ever goes, foreign ones stay as they are.

The damage is done by iproute2, the judge reads with iproute2, and what happens meanwhile is heard on a socket of its
own, decoded by pyroute2: nothing here believes the code that is tested.
"""

import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overlay.dataplane import Dataplane
from overlay.desired import desired_node, desired_peer
from overlay.errors import ForeignObject
from overlay.model import Action
from overlay.netlink.namespace import run_inside
from overlay.plan import State, plan
from tests.contract.blows import BLOWS, Way
from tests.contract.entries import Ear, Entry, there
from tests.contract.spaces import inside, ip, namespace
from tests.contract.test_dataplane_v6 import BOTH, DUAL, lease

pytestmark = pytest.mark.contract

PEERS = range(2, 6)
ROUNDS = 5
LINKS = ("overlay.1", "overlay-v6.1")
_STRANGERS = (
    "link add other type vxlan id 9 dstport 8472 local 192.0.2.1 dev eth0",
    "link set other up",
    "route add 198.51.100.0/24 via 192.0.2.9",
    "route add 10.0.0.0/8 via 192.0.2.9 proto bird",
    "neigh add 192.0.2.50 lladdr 02:00:00:00:00:50 dev eth0",
    "neigh add 10.5.3.0 lladdr 02:00:00:00:00:50 dev other",
    "route add 10.5.0.0/16 dev other proto static",
)


def wanted() -> State:
    """The node and its peers, of both families."""
    items = [*desired_node(DUAL, BOTH)]
    for number in PEERS:
        items += desired_peer(DUAL, BOTH, lease(number))
    return {item.key: item for item in items}


def right() -> set[Entry]:
    """The same of the peers alone, said anew."""
    found: set[Entry] = set()
    for version in (4, 6):
        for way in (Way.of(number, version) for number in PEERS):
            metric = "0" if version == 4 else "1024"
            found |= {
                ("route", way.dst, metric, way.via, way.link, "158"),
                ("neighbour", way.via, way.link, way.mac),
                ("fdb", way.mac, way.link, way.underlay),
            }
    return found


class Host:
    """A namespace with a node's data plane in it."""

    def __init__(self, space: Path, run_dir: Path) -> None:
        self.space, self.want, self._run_dir = space, wanted(), run_dir
        self.dataplane = run_inside(space, lambda: Dataplane(run_dir))
        assert self.mended() == set()
        self.ear = run_inside(space, Ear)

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
            for _ in range(ROUNDS):
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


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """At rest, with strangers beside it; each test leaves it so."""
    with namespace() as space:
        _furnish(space)
        made = Host(space, tmp_path_factory.mktemp("run"))
        yield made
        made.dataplane.close()
        made.ear.close()


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


blows = st.lists(
    st.tuples(st.sampled_from(sorted(BLOWS)), st.sampled_from(PEERS), st.sampled_from((4, 6))),
    min_size=1,
    max_size=7,
)


def strike(host: Host, name: str, way: Way) -> None:
    """Do it."""
    host.batch(f"ip {way.flag}", BLOWS[name].lines, way)
    host.batch("bridge", BLOWS[name].bridge, way)


def undo(host: Host, name: str, way: Way) -> None:
    """Its author goes."""
    host.batch(f"ip {way.flag}", BLOWS[name].undone, way)


def judge(host: Host, before: set[Entry], blocked: set[str]) -> None:
    """What was right was right all the time, ours is complete, the rest is as it was."""
    good = right()
    for gone, entry in host.ear.heard():
        if gone:
            assert entry not in before & good, f"{entry} was right, and went"
        else:
            hit = [it for it in before & good if it[:3] == entry[:3]]
            assert hit in ([], [entry]), f"{hit} was right, and became {entry}"
    after = there(host.space)
    missing = {it for it in good - after if it[1] not in blocked}
    assert missing == set()
    foreign = {it for it in before - good if not _ours(it)}
    assert {it for it in after - good} == foreign


def _ours(entry: Entry) -> bool:
    if entry[0] == "route":
        ours = entry[5] == "158" or any(link in entry[4].split("+") for link in LINKS)
        return ours and len(entry) == 6
    return entry[2] in LINKS


@settings(max_examples=25)
@given(blows, st.integers(0, 9), st.booleans())
def test_any_damage_is_mended_and_no_right_entry_ever_goes(
    host: Host, blows: list[tuple[str, int, int]], cut: int, additive: bool
) -> None:
    """Whatever somebody did to whichever of our entries, in both families, several at once; and though the process
    that mends it dies at any step, and another goes on.
    """
    struck = [(name, Way.of(number, version)) for name, number, version in blows]
    try:
        for name, way in struck:
            strike(host, name, way)
        before = there(host.space)
        host.ear.heard()

        host.interrupted(cut, additive=additive)
        if additive:
            assert {it[:2] for it in before} <= {it[:2] for it in there(host.space)}
        blocked = host.mended()

        judge(host, before, blocked)
    finally:
        for name, way in struck:
            undo(host, name, way)
    assert host.mended() == set()
    assert right() <= there(host.space)


@pytest.mark.parametrize(
    ("name", "version"), [(name, it) for name, blow in BLOWS.items() for it in blow.versions]
)
def test_each_kind_of_damage_alone(host: Host, name: str, version: int) -> None:
    """So that each is met in every run, and does what it says."""
    way = Way.of(3, version)
    calm = there(host.space)
    strike(host, name, way)
    before = there(host.space)
    assert before != calm, "the blow has struck nothing"
    host.ear.heard()

    blocked = host.mended()

    judge(host, before, blocked)
    assert blocked == ({way.dst} if BLOWS[name].takes else set())
    undo(host, name, way)
    assert host.mended() == set()
    assert there(host.space) == calm
