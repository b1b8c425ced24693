"""From any set of peers to any other, on a real kernel: a packet for who is here before and after always has a way.

What the kernel says while the steps are carried out is played back entry by entry, by pyroute2's account of it.
"""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overlay.model import Endpoint, Lease
from tests.contract.dual_host import Host, dual_host, right, wanted
from tests.contract.entries import LINKS, Entry, there
from tests.contract.test_dataplane_v6 import lease

pytestmark = [pytest.mark.contract, pytest.mark.timeout(300)]
"""To make a failure smaller takes a while."""

versions = st.integers(1, 3)
worlds = st.dictionaries(st.integers(2, 6), st.tuples(versions, versions), max_size=4)
"""By peer: which of its MACs, which of its addresses; nobody has one of another's."""
World = dict[int, tuple[int, int]]


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Of a node without peers."""
    with dual_host(tmp_path_factory.mktemp("run"), ()) as made:
        yield made


def leases(world: World) -> list[Lease]:
    """The peers' records."""
    return [
        replace(it, endpoints=tuple(_end(end, *world[number]) for end in it.endpoints))
        for number in world
        for it in [lease(number)]
    ]


def _end(end: Endpoint, mac: int, address: int) -> Endpoint:
    assert end.underlay is not None
    underlay = ip_address(int(end.underlay) + 16 * address)
    return replace(end, mac=f"{str(end.mac)[:9]}{mac:02x}{str(end.mac)[11:]}", underlay=underlay)


def ways(state: set[Entry]) -> dict[str, tuple[str, str]]:
    """The MAC and underlay address that each subnet's packets are sent to, where there is a way."""
    hops = {(it[1], it[2]): it[3] for it in state if it[0] == "neighbour"}
    entries = {(it[1], it[2]): it[3] for it in state if it[0] == "fdb"}
    found = {}
    for _, dst, _, via, link, *_ in (it for it in state if it[0] == "route" and it[4] in LINKS):
        mac = hops.get((via, link), "")
        if underlay := entries.get((mac, link)):
            found[dst] = (mac, underlay)
    return found


def name(entry: Entry) -> Entry:
    """What the kernel holds once."""
    return entry[:3]


@settings(max_examples=25)
@example({2: (1, 1), 3: (1, 1), 4: (1, 1)}, {2: (1, 2), 3: (2, 1), 5: (1, 1)})
@given(worlds, worlds)
def test_who_is_here_before_and_after_is_reached_all_the_time(
    host: Host, old: World, new: World
) -> None:
    """Others come, go and change; it changes itself: at every moment its packets go to it, as it was or as it is."""
    host.want = wanted(*leases(old))
    assert host.mended() == set()
    now = there(host.space)
    before, after = ways(right(leases(old))), ways(right(leases(new)))
    assert before.items() <= ways(now).items()
    host.ear.heard()

    host.want = wanted(*leases(new))
    assert host.mended() == set()

    for gone, entry in host.ear.heard():
        now = {it for it in now if name(it) != name(entry)}
        now |= set() if gone else {entry}
        for dst in before.keys() & after.keys():
            good = {
                before[dst],
                after[dst],
                (after[dst][0], before[dst][1]),
                (before[dst][0], after[dst][1]),
            }
            assert ways(now).get(dst) in good, f"{dst}: {entry}"
    assert {it for it in there(host.space) if it[0] == "fdb" and it[2] in LINKS} == {
        it for it in right(leases(new)) if it[0] == "fdb"
    }
