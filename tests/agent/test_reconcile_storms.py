"""reconcile against anything: any damage, failures, joins and leaves in any order end in what is wanted, and on the
way no right entry is ever touched."""

from collections.abc import Hashable
from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.events import Gone, Put, Snapshot
from overlay.errors import KernelBusy, OverlayError
from overlay.model import (
    Action,
    Bridge,
    FdbEntry,
    KernelObject,
    Lease,
    Neighbour,
    Route,
    Step,
    Sysctl,
    Vxlan,
)
from tests.agent.fake_kernel import FakeKernel
from tests.agent.one_node import Node, lease, snapshot
from tests.examples import ME, NETWORK

LINK = "overlay.1"
PEERS = range(2, 7)


class StrictKernel(FakeKernel):
    """Refuses to be a party to it: a step that takes away or changes what is right fails the test."""

    node: Node

    def _one(self, step: Step) -> OverlayError | None:
        want: dict[Hashable, KernelObject] = self.node.reconciler.demand.wanted.want
        key = step.object.key
        present, wanted = self.state.get(key), want.get(key)
        if step.action is Action.DELETE:
            assert present is None or present != wanted, f"{step} takes away what is right"
        else:
            assert step.object == wanted, f"{step}, but wanted is {wanted}"
        error = super()._one(step)
        if error is None and isinstance(step.object, Vxlan | Bridge):
            self._cascade(step, present)
        return error

    def _cascade(self, step: Step, before: KernelObject | None) -> None:
        """What the kernel loses with a device that is deleted or made anew."""
        anew = isinstance(step.object, Vxlan) and isinstance(before, Vxlan)
        if step.action is Action.DELETE or (anew and before.fixed != step.object.fixed):  # type: ignore[union-attr]
            self.drop(getattr(step.object, "name", ""))

    def drop(self, link: str) -> None:
        """A device is gone, and all that hung on it."""
        hung = [key for key, item in self.state.items() if getattr(item, "link", "") == link]
        for key in hung:
            del self.state[key]


def record(number: int, mac: int, underlay: int, revision: int) -> Lease:
    """A peer's record: peers may contradict one another, in MAC and in address."""
    base = lease(number, mac=mac, create=number, mod=revision)
    end = replace(base.endpoints[0], underlay=ip_address(f"192.0.2.{underlay}"))
    return replace(base, endpoints=(end,))


small = st.integers(2, 6)
puts = st.tuples(st.just("put"), small, small, small)
gones = st.tuples(st.just("gone"), small)
lists = st.tuples(st.just("list"), st.lists(small, max_size=5, unique=True))
losses = st.tuples(st.just("lose"), st.integers(0, 40))
bends = st.tuples(st.just("bend"), st.integers(0, 40))
extras = st.tuples(st.just("extra"), small, st.integers(0, 2))
devices = st.tuples(st.just("device"), st.sampled_from([LINK, "overlay0"]))
failures = st.tuples(st.just("fail"), st.integers(0, 40))
ticks = st.tuples(st.just("tick"), st.floats(0.0, 40.0))
storm = st.lists(
    st.one_of(puts, gones, lists, losses, bends, extras, devices, failures, ticks, ticks),
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


def strike(node: Node, kernel: StrictKernel, blow: Any, revision: int) -> None:  # noqa: ANN401
    """One thing happens, and the kernel tells of it or does not."""
    keys = list(kernel.state)
    match blow:
        case ("put", number, mac, underlay):
            node.reconciler.on_event(Put(record(number, mac, underlay, revision)))
        case ("gone", number):
            node.reconciler.on_event(Gone(f"10.5.{number}.0-24", revision))
        case ("list", numbers):
            found = {item.key: item for item in map(lease, (1, *numbers))}
            node.reconciler.on_event(Snapshot(found, {}, revision))
        case ("lose", place) if keys:
            del kernel.state[keys[place % len(keys)]]
            node.reconciler.kernel_changed(after_s=0.1)
        case ("bend", place) if keys:  # unnoticed: the next resync finds it
            key = keys[place % len(keys)]
            kernel.state[key] = bent(kernel.state[key])
        case ("extra", number, kind):
            item = foreign(number, kind)
            kernel.state[item.key] = item
            node.reconciler.kernel_changed()
        case ("device", link):
            kernel.state.pop(("link", link), None)
            kernel.drop(link)
            node.reconciler.kernel_changed(after_s=0.1)
        case ("fail", place) if keys:
            kernel.fail_next[keys[place % len(keys)]] = KernelBusy("no buffer space")
        case ("tick", seconds):
            node.clock.now += seconds
            node.reconciler.tick()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(storm)
def test_any_storm_ends_in_what_is_wanted_and_never_touches_what_is_right(blows: Any) -> None:  # noqa: ANN401
    """Damage, failing steps, contradicting peers, joins and leaves, in any order."""
    node = Node()
    kernel = node.kernel = StrictKernel()
    node.reconciler = node.born()
    kernel.node = node
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(1, 2, 3))
    node.settle()

    for revision, blow in enumerate(blows, start=20):
        strike(node, kernel, blow, revision)

    kernel.fail_next.clear()
    for _ in range(6):  # pauses end, and each resync sees all
        node.clock.now += 70
        node.settle()
    assert kernel.state == node.reconciler.demand.wanted.want
    assert node.reconciler.in_sync


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

    assert kernel.state == node.reconciler.demand.wanted.want
