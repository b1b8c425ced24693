"""plan from any damage, both families, tunnel and direct: whatever fails, wherever it stops, nothing right goes."""

from collections.abc import Hashable
from dataclasses import replace
from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from overlay.desired import Me, Vtep, desired_node, desired_peer
from overlay.model import (
    Action,
    Backend,
    Bridge,
    Endpoint,
    FdbEntry,
    KernelObject,
    Lease,
    LinkAddress,
    Neighbour,
    Network,
    Pool,
    Route,
    Ruleset,
    Step,
    Sysctl,
    Vxlan,
)
from overlay.onlink import OnLink, Way
from overlay.plan import differing, plan, record
from overlay.wanted import NODE, Wanted
from tests.examples import ME, NETWORK

SIX = Pool(
    ip_network("fd05::/48"), 64, ip_network("fd05:0:0:1::/64"), ip_network("fd05:0:0:ff::/64")
)
DUAL = Network((*NETWORK.pools, SIX), Backend(direct_routing=True))
BOTH = replace(
    ME,
    vteps=(
        *ME.vteps,
        Vtep(SIX.first, "overlay-v6.1", ME.vteps[0].mac, ip_address("2001:db8::1"), "eth0", 1430),
    ),
    draining=("10.5.9.0-24",),
)
State = dict[Hashable, KernelObject]


def lease(number: int, mac: int, address: int) -> Lease:
    """Of both families; MAC and address may be another's."""
    ends = (
        Endpoint(ip_network(f"10.5.{number}.0/24"), ip_address(f"198.51.100.{address}"), _mac(mac)),
        Endpoint(
            ip_network(f"fd05:0:0:{number}::/64"), ip_address(f"2001:db8::{address}"), _mac(mac)
        ),
    )
    return Lease(f"p{number}", tuple(replace(end, vni=1) for end in ends), create_revision=mac)


def _mac(number: int) -> str:
    return f"02:00:00:00:01:{number:02x}"


def world(peers: dict[int, tuple[int, int]], near: set[int]) -> State:
    """What is wanted where those at the addresses ``near`` are on link, and who contradicts an older one is out."""
    ways = tuple(Way(ip_network(f"198.51.100.{it}/32"), "eth0") for it in near)
    me: Me = replace(BOTH, connected=OnLink(ways))
    wanted = Wanted()
    wanted.claim(NODE, age=-1, objects=desired_node(DUAL, me))
    for number, (mac, address) in peers.items():
        peer = lease(number, mac, address)
        wanted.claim(peer.key, age=peer.create_revision, objects=desired_peer(DUAL, me, peer))
    return dict(wanted.want)


small = st.integers(2, 6)
worlds = st.builds(
    world, st.dictionaries(small, st.tuples(small, small), max_size=4), st.sets(small)
)


def bent(item: KernelObject) -> KernelObject:
    """As somebody else would have it, under the same name."""
    match item:
        case Sysctl():
            return replace(item, value="7")
        case Vxlan() | Bridge():
            return replace(item, mac=_mac(99), up=False)
        case Ruleset():
            return replace(item, text="(changed)")
        case FdbEntry():
            return replace(item, underlay=ip_address("203.0.113.9"))
        case Neighbour():
            return replace(item, mac=_mac(99))
        case Route():
            return replace(item, via=None, link="eth1", protocol=3)
        case LinkAddress():
            return item


def beside(item: KernelObject) -> list[KernelObject]:
    """What the kernel may hold as well as a right one."""
    if isinstance(item, Route):
        return [replace(item, metric=77), replace(item, via=None, nth=1)]
    return [replace(item, mac=_mac(88))] if isinstance(item, FdbEntry) else []


@st.composite
def damaged(draw: st.DrawFn) -> tuple[State, State]:
    """What is wanted, and a kernel that held something of it, something else, and things of another world."""
    want, other = draw(worlds), draw(worlds)
    have: State = {}
    for item in [*other.values(), *want.values()]:
        fate = draw(st.sampled_from(("right", "right", "gone", "bent", "twice")))
        found = {"right": [item], "gone": [], "bent": [bent(item)], "twice": [item, *beside(item)]}
        have |= {it.key: it for it in found[fate]}
    return want, have


def carried_out(have: State, steps: list[Step], want: State) -> State:
    """By a kernel that accepts them, and a judge who looks after each."""
    now = dict(have)
    right = {key: item for key, item in have.items() if want.get(key) == item}
    for step in steps:
        assert step.object.key not in right, f"{step} touches what is right"
        assert (step.object.key in now) == (step.action is not Action.ADD)
        record(now, step)
        assert right.items() <= now.items()
    return now


@given(damaged(), st.data())
def test_whatever_fails_and_wherever_it_stops_the_next_plan_ends_it(
    both: tuple[State, State], data: st.DataObject
) -> None:
    """Some steps are refused, then the process dies, then all is planned anew."""
    want, have = both
    steps = plan(want, have)
    stop = data.draw(st.integers(0, len(steps)))
    done = [step for step in steps[:stop] if data.draw(st.booleans())]

    halfway = carried_out(have, done, want)

    assert carried_out(halfway, plan(want, halfway), want) == want
    assert plan(want, want) == []


@given(damaged())
def test_while_nothing_may_be_deleted_all_that_is_wanted_is_made(both: tuple[State, State]) -> None:
    """Before the first list: what nobody wants stays as it is."""
    want, have = both
    steps = [step for step in plan(want, have) if step.action is not Action.DELETE]
    assert {step.object.key for step in steps} == set(differing(want, have, additive=True))

    now = carried_out(have, steps, want)

    assert now == {**have, **want}


@given(damaged())
def test_what_differs_is_what_is_planned(both: tuple[State, State]) -> None:
    """The quick look finds what the plan would do, no more and no less."""
    want, have = both
    found = differing(want, have, additive=False)
    assert {step.object.key for step in plan(want, have)} == set(found)
    assert set(plan(want, have, found)) == set(plan(want, have))


@given(damaged())
def test_what_is_leant_on_is_there_before_and_goes_after(both: tuple[State, State]) -> None:
    """Links, addresses, FDB, neighbours, routes; all making before any removing."""
    want, have = both
    steps = plan(want, have)
    making = [step for step in steps if step.action is not Action.DELETE]
    assert steps[: len(making)] == making
    ranks = [step.object.rank for step in steps]
    assert ranks[: len(making)] == sorted(ranks[: len(making)])
    assert ranks[len(making) :] == sorted(ranks[len(making) :], reverse=True)
    assert all(step.was == have.get(step.object.key) for step in steps)
