"""reconcile against anything: any damage, failures, joins and leaves in any order end in what is wanted, and on the
way no right entry is ever touched."""

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agent.events import Gone, Put, Snapshot
from agent.roll import Past
from overlay.errors import KernelBusy
from overlay.keys import route_key
from overlay.model import (
    Bridge,
    FdbEntry,
    KernelObject,
    Lease,
    Neighbour,
    Route,
    Sysctl,
    Vxlan,
)
from tests.agent.one_node import Node, lease, snapshot
from tests.agent.strict_kernel import Crash, StrictKernel, expected
from tests.examples import ME, NETWORK

LINK = "overlay.1"
PEERS = range(2, 7)


def record(number: int, mac: int, underlay: int, revision: int) -> Lease:
    """A peer's record: peers may contradict one another, in MAC and in address."""
    base = lease(number, mac=mac, create=number, mod=revision)
    end = replace(base.endpoints[0], underlay=ip_address(f"192.0.2.{underlay}"))
    return replace(base, endpoints=(end,))


small, any_end = st.integers(2, 6), st.integers(1, 6)
"""1 is this node itself."""
puts = st.tuples(st.just("put"), small, any_end, any_end)
gones = st.tuples(st.just("gone"), small)
lists = st.tuples(st.just("list"), st.lists(small, max_size=5, unique=True))
losses = st.tuples(st.just("lose"), st.integers(0, 40))
bends = st.tuples(st.just("bend"), st.integers(0, 40))
extras = st.tuples(st.just("extra"), small, st.integers(0, 2))
devices = st.tuples(st.just("device"), st.sampled_from([LINK, "overlay0"]))
failures = st.tuples(st.just("fail"), st.integers(0, 40))
ticks = st.tuples(st.just("tick"), st.floats(0.0, 40.0))
occupied = st.tuples(st.just("occupy"), small)
freed = st.tuples(st.just("free"))
restarts = st.tuples(st.just("restart"), st.booleans())
crashes = st.tuples(st.just("crash"), st.integers(0, 12))
storm = st.lists(
    st.one_of(
        *(puts, puts, gones, lists, losses, bends, extras, devices, failures, ticks, ticks),
        *(occupied, freed, restarts, crashes),
    ),
    max_size=30,
)


def bent(item: KernelObject) -> KernelObject:
    """The same object as somebody else would have it."""
    match item:
        case Sysctl():
            return replace(item, value="7")
        case Vxlan() | Bridge():
            return replace(item, mac="02:00:00:00:00:ee", up=False)
        case FdbEntry():
            return replace(item, underlay=ip_address("192.0.2.99"))
        case Neighbour():
            return replace(item, mac="02:00:00:00:00:ee")
        case Route():
            return replace(item, via=None, onlink=False, protocol=3)
        case _:
            return item


def foreign(number: int, kind: int) -> KernelObject:
    """Something on our device that nobody wants; or somebody does, by chance."""
    via = ip_address(f"10.5.{number}.0")
    items: list[KernelObject] = [
        FdbEntry(LINK, f"02:00:00:00:00:{number:02x}", ip_address("192.0.2.98")),
        Neighbour(LINK, via, "02:00:00:00:00:ee"),
        Route(ip_network(f"10.5.{number}.0/24"), via, LINK, protocol=4),
    ]
    return items[kind]


class World:
    """A node, its kernel, and what etcd really holds."""

    def __init__(self) -> None:
        self.node = Node()
        self.kernel = self.node.kernel = StrictKernel()
        self.kernel.node = self.node
        self.etcd = {item.key: item for item in map(lease, (1, 2, 3))}
        self.born({})

    def born(self, remembered: dict[str, Lease]) -> None:
        """A new agent on the same kernel, which may remember leases; it has heard nothing from etcd."""
        self.node.reconciler = self.node.born()
        self.kernel.made.clear()
        self.node.reconciler.set_node(NETWORK, ME)
        if remembered:
            self.node.reconciler.remember(Past(remembered, 5, {}))

    def listed(self, revision: int) -> None:
        """The agent hears all that etcd holds."""
        self.node.reconciler.on_event(Snapshot(dict(self.etcd), {}, revision))

    def tick(self) -> None:
        """A round, in which the agent may die; the next one remembers what that one knew."""
        try:
            self.node.reconciler.tick()
        except Crash:
            self.born(dict(self.node.reconciler.demand.roll.leases))

    def strike(self, blow: Any, revision: int) -> None:  # noqa: ANN401
        """One thing happens, and the kernel tells of it or does not."""
        node, kernel, keys = self.node, self.kernel, list(self.kernel.state)
        match blow:
            case ("put", number, mac, underlay):
                item = record(number, mac, underlay, revision)
                self.etcd[item.key] = item
                node.reconciler.on_event(Put(item))
            case ("gone", number):
                self.etcd.pop(f"10.5.{number}.0-24", None)
                node.reconciler.on_event(Gone(f"10.5.{number}.0-24", revision))
            case ("list", numbers):
                self.etcd = {item.key: item for item in map(lease, (1, *numbers))}
                self.listed(revision)
            case ("lose", place) if keys:
                del kernel.state[keys[place % len(keys)]]
                node.reconciler.kernel_changed(after_s=0.1)
            case ("bend", place) if keys:  # unnoticed: the next resync finds it
                key = keys[place % len(keys)]
                kernel.state[key] = bent(kernel.state[key])
            case ("extra", number, kind):
                stray = foreign(number, kind)
                kernel.foreign.pop(stray.key, None)
                kernel.state[stray.key] = stray
                node.reconciler.kernel_changed()
            case ("device", link):
                kernel.state.pop(("link", link), None)
                kernel.drop(link)
                node.reconciler.kernel_changed(after_s=0.1)
            case ("occupy", number):
                kernel.occupy(route_key(ip_network(f"10.5.{number}.0/24")))
                node.reconciler.kernel_changed(after_s=0.1)
            case ("free",):
                kernel.foreign.clear()
            case ("restart", remembers):
                self.born(dict(node.reconciler.demand.roll.leases) if remembers else {})
            case ("crash", steps):
                kernel.crash_after = steps
            case ("fail", place) if keys:
                kernel.fail_next[keys[place % len(keys)]] = KernelBusy("no buffer space")
            case ("tick", seconds):
                node.clock.now += seconds
                self.tick()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(storm)
@example([("list", [2, 3]), ("tick", 0.0), ("occupy", 4), ("put", 4, 4, 4), ("tick", 0.0)])
@example([("list", [2, 3]), ("tick", 0.0), ("crash", 1), ("put", 2, 5, 2), ("tick", 0.0)])
@example([("list", [2, 3]), ("tick", 0.0), ("restart", True), ("extra", 5, 2), ("tick", 0.0)])
@example([("list", [2, 3]), ("tick", 0.0), ("restart", True), ("gone", 2), ("tick", 0.0)])
@example([("list", [3]), ("put", 2, 1, 3), ("gone", 2), ("occupy", 3)])
@example([("list", [2]), ("tick", 0.0), ("tick", 0.0), ("device", LINK), ("occupy", 2)])
@example([("list", [2, 3]), ("tick", 0.0), *(("bend", place) for place in range(20))])
def test_any_storm_ends_in_what_is_wanted_and_never_touches_what_is_right(blows: Any) -> None:  # noqa: ANN401
    """Damage, failing steps, deaths between two steps, contradicting peers, joins and leaves, in any order, from
    before the first list on; and others' routes in the place of ours, which stay.
    """
    world = World()
    for revision, blow in enumerate(blows, start=20):
        world.strike(blow, revision)

    kernel, node = world.kernel, world.node
    kernel.fail_next.clear()
    kernel.crash_after = None
    world.listed(100)
    for _ in range(6):  # pauses end, and each resync sees all
        node.clock.now += 70
        node.settle()
    want = expected(world.etcd.values())
    blocked = want.keys() & kernel.foreign.keys()
    assert kernel.state == {key: item for key, item in want.items() if key not in blocked}
    assert node.reconciler.in_sync == (not blocked)
    owners = {who for key in blocked for who in node.reconciler.demand.wanted.owners(key)}
    assert owners <= node.reconciler.trouble().keys()


def test_what_others_hold_up_is_told_until_it_is_free() -> None:
    """However often it was tried meanwhile, and without a look at the kernel."""
    world = World()
    world.kernel.occupy(route_key(ip_network("10.5.2.0/24")))
    world.listed(10)
    world.node.settle()
    for _ in range(5):
        world.node.clock.now += 5
        world.node.settle()
        assert list(world.node.reconciler.trouble()) == ["10.5.2.0-24"]
        assert not world.node.reconciler.in_sync

    world.kernel.foreign.clear()
    world.node.clock.now += 60
    world.node.settle()
    assert world.node.reconciler.in_sync


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(small, st.integers(0, 2)), max_size=12), st.lists(small, max_size=5))
def test_a_start_on_any_leftovers_touches_no_right_entry(
    leftovers: list[tuple[int, int]], here: list[int]
) -> None:
    """What an earlier life left may be right, wrong or nobody's."""
    node = Node()
    kernel = node.kernel = StrictKernel()
    node.reconciler = node.born()
    kernel.node = node
    for number, kind in leftovers:
        item = foreign(number, kind)
        kernel.state[item.key] = item
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(1, *dict.fromkeys(here)))

    for _ in range(3):
        node.settle()
        node.clock.now += 70

    present = {item.key: item for item in map(lease, (1, *dict.fromkeys(here)))}
    assert kernel.state == expected(present.values())
