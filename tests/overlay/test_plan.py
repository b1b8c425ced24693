"""plan: whole values, the right order, and safe to stop anywhere."""

from collections.abc import Hashable
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from overlay.keys import neighbour_key, route_key
from overlay.model import (
    Action,
    FdbEntry,
    KernelObject,
    Neighbour,
    Route,
    Step,
)
from overlay.plan import plan, record

LINK = "overlay.1"


def mac(number: int) -> str:
    """A MAC made of one small number."""
    return f"02:00:00:00:00:{number:02x}"


def peer(subnet: int, *, lladdr: int, underlay: int) -> dict[Hashable, KernelObject]:
    """The three objects of one peer."""
    via = ip_address(f"10.5.{subnet}.0")
    items: list[KernelObject] = [
        FdbEntry(LINK, mac(lladdr), ip_address(f"192.0.2.{underlay}")),
        Neighbour(LINK, via, mac(lladdr)),
        Route(ip_network(f"10.5.{subnet}.0/24"), via, LINK),
    ]
    return {item.key: item for item in items}


peers = st.dictionaries(
    st.integers(1, 6), st.tuples(st.integers(1, 9), st.integers(1, 9)), max_size=6
).map(
    lambda table: {
        key: item
        for subnet, (lladdr, underlay) in table.items()
        for key, item in peer(subnet, lladdr=lladdr, underlay=underlay).items()
    }
)


def reachable(state: dict[Hashable, KernelObject]) -> dict[str, str]:
    """Which underlay address each subnet's packets would really go to."""
    found = {}
    for item in state.values():
        if not isinstance(item, Route):
            continue
        hop = state.get(neighbour_key(item.link, item.via)) if item.via else None
        entry = state.get(("fdb", LINK, hop.mac)) if isinstance(hop, Neighbour) else None
        if isinstance(entry, FdbEntry):
            found[str(item.dst)] = str(entry.underlay)
    return found


def run(state: dict[Hashable, KernelObject], steps: list[Step]) -> dict[Hashable, KernelObject]:
    """A kernel that accepts everything."""
    after = dict(state)
    for step in steps:
        record(after, step)
    return after


@given(peers, peers)
def test_a_plan_leads_to_the_desired_state_and_a_second_one_is_empty(
    want: dict[Hashable, KernelObject], have: dict[Hashable, KernelObject]
) -> None:
    """Convergence in one pass, then rest."""
    after = run(have, plan(want, have))

    assert after == want
    assert plan(want, after) == []


@given(peers, peers, st.integers(0, 40))
def test_a_plan_stopped_anywhere_converges_when_planned_again(
    want: dict[Hashable, KernelObject], have: dict[Hashable, KernelObject], stop: int
) -> None:
    """A crash between any two steps is only a pause."""
    halfway = run(have, plan(want, have)[:stop])

    assert run(halfway, plan(want, halfway)) == want


@given(peers, peers)
def test_no_prefix_of_a_plan_breaks_a_healthy_peer(
    want: dict[Hashable, KernelObject], have: dict[Hashable, KernelObject]
) -> None:
    """A subnet whose three objects are right before and after is right after every single step."""
    steps = plan(want, have)
    healthy = [
        subnet
        for subnet, underlay in reachable(want).items()
        if reachable(have).get(subnet) == underlay
        and all(have.get(key) == want.get(key) for key in _keys(want, subnet))
    ]
    for stop in range(len(steps) + 1):
        now = reachable(run(have, steps[:stop]))
        for subnet in healthy:
            assert now.get(subnet) == reachable(want)[subnet]


def _keys(state: dict[Hashable, KernelObject], subnet: str) -> list[Hashable]:
    route = state[route_key(ip_network(subnet))]
    assert isinstance(route, Route)
    assert route.via is not None
    hop = state[neighbour_key(route.link, route.via)]
    assert isinstance(hop, Neighbour)
    return [route.key, hop.key, ("fdb", LINK, hop.mac)]


def test_a_peer_with_a_new_mac_has_its_new_entry_before_the_old_one_goes() -> None:
    """Same key, other value: replaced in place, made before removed."""
    have, want = peer(2, lladdr=1, underlay=7), peer(2, lladdr=2, underlay=7)

    steps = plan(want, have)

    assert [(step.action, step.object.rank) for step in steps] == [
        (Action.ADD, FdbEntry.rank),
        (Action.REPLACE, Neighbour.rank),
        (Action.DELETE, FdbEntry.rank),
    ]


def test_a_leaving_peer_loses_its_route_first() -> None:
    """On the way down the route goes before what it leans on."""
    steps = plan({}, peer(2, lladdr=1, underlay=7))

    assert [type(step.object) for step in steps] == [Route, Neighbour, FdbEntry]
