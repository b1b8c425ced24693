"""A fake kernel that is no party to a wrong step, and who ought to stand of peers that contradict one another.

The oracle says by brute force, pair by pair, what agent.demand and overlay.wanted work out step by step.
"""

from collections.abc import Hashable, Iterable

from overlay.desired import desired_node
from overlay.errors import ForeignObject, OverlayError
from overlay.model import (
    Action,
    Bridge,
    Endpoint,
    FdbEntry,
    KernelObject,
    Lease,
    Neighbour,
    Route,
    Step,
    Vxlan,
)
from tests.agent.fake_kernel import FakeKernel
from tests.agent.one_node import Node
from tests.examples import ME, NETWORK

(VTEP,) = ME.vteps


class Crash(Exception):
    """The agent dies here, between two steps."""


class StrictKernel(FakeKernel):
    """A step that takes away or changes what is right fails the test, and so does any deletion before the first list.

    ``foreign``: somebody's routes in the place of ours; True where ours was there, and may take its place back: also
    where it had gone a moment before, with its device. ``made``: what this agent made and has not taken away.
    """

    node: Node

    def __init__(self) -> None:
        super().__init__()
        self.foreign: dict[Hashable, bool] = {}
        self.made: set[Hashable] = set()
        self.crash_after: int | None = None

    def _one(self, step: Step) -> OverlayError | None:
        demand = self.node.reconciler.demand
        key = step.object.key
        present, wanted = self.state.get(key), demand.wanted.want.get(key)
        assert present is None or present != wanted, f"{step} touches what is right"
        if step.action is Action.DELETE:
            assert demand.roll.complete, f"{step} before anybody knows who is here"
            assert wanted is None, f"{step}, but it is wanted"
        else:
            assert step.object == wanted, f"{step}, but wanted is {wanted}"
        self._maybe_die()
        if key in self.foreign and step.action is not Action.DELETE:
            if step.action is Action.ADD:
                return ForeignObject("not ours", errno=17)
            assert self.foreign[key], f"{step} overwrites a route that was there before ours"
        error = super()._one(step)
        if error is None:
            self.foreign.pop(key, None)
            (self.made.discard if step.action is Action.DELETE else self.made.add)(key)
            if isinstance(step.object, Vxlan | Bridge):
                self._cascade(step, present)
        return error

    def _maybe_die(self) -> None:
        if self.crash_after is not None:
            self.crash_after -= 1
            if self.crash_after < 0:
                self.crash_after = None
                raise Crash

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

    def occupy(self, key: Hashable) -> None:
        """Somebody's route takes the place of ours, or is there before it."""
        self.foreign[key] = self.state.pop(key, None) is not None or key in self.made


def expected(leases: Iterable[Lease]) -> dict[Hashable, KernelObject]:
    """What the kernel ought to hold of IPv4 VXLAN peers."""
    ends = {lease.key: lease.endpoints[0] for lease in leases if lease.key != ME.lease_key}
    age = {lease.key: (lease.create_revision, lease.key) for lease in leases}
    others = {key: end for key, end in ends.items() if not _is_me(end)}
    objects: list[KernelObject] = [*desired_node(NETWORK, ME)]
    for key, end in others.items():
        older = (other for name, other in others.items() if age[name] < age[key])
        if _half_me(end) or any(_contradict(end, other) for other in older):
            continue
        assert end.mac is not None
        assert end.underlay is not None
        via = end.subnet.network_address
        objects += [
            FdbEntry(VTEP.link, end.mac, end.underlay),
            Neighbour(VTEP.link, via, end.mac),
            Route(end.subnet, via, VTEP.link),
        ]
    return {item.key: item for item in objects}


def _is_me(end: Endpoint) -> bool:
    """An older record of this node: behind no tunnel."""
    return (end.mac, end.underlay) == (VTEP.mac, VTEP.local)


def _half_me(end: Endpoint) -> bool:
    return (end.mac == VTEP.mac) != (end.underlay == VTEP.local)


def _contradict(one: Endpoint, other: Endpoint) -> bool:
    return (one.mac == other.mac) != (one.underlay == other.underlay)
