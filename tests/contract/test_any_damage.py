"""From any damage to what is wanted, on a real kernel: no right entry ever goes, foreign ones stay as they are.

The damage is done by iproute2, the judge reads with iproute2, and what happens meanwhile is heard on a socket of its
own, decoded by pyroute2: nothing here believes the code that is tested.
"""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.contract.blows import BLOWS, Way
from tests.contract.dual_host import Host, dual_host, right
from tests.contract.entries import LINKS, Entry, there
from tests.contract.test_dataplane_v6 import lease

pytestmark = [pytest.mark.contract, pytest.mark.timeout(300)]
"""To make a failure smaller takes a while."""

PEERS = range(2, 6)
LEASES = tuple(lease(number) for number in PEERS)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Each test leaves it at rest."""
    with dual_host(tmp_path_factory.mktemp("run"), LEASES) as made:
        yield made


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
    good = right(LEASES)
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
        return ours and len(entry) == 6 and entry[5] != "2"  # RTPROT_KERNEL
    return entry[2] in LINKS


def _behind_a_stranger(blows: list[tuple[str, int, int]]) -> bool:
    """A wrong route of our protocol behind somebody else's: to set it right takes his place (docs/repair.md)."""
    taken = {it[1:] for it in blows if BLOWS[it[0]].takes}
    return any(it[1:] in taken and _makes_a_route(it[0]) for it in blows)


def _makes_a_route(name: str) -> bool:
    return any(line.startswith(("route append", "route replace")) for line in BLOWS[name].lines)


@settings(max_examples=25)
@given(blows, st.integers(0, 9), st.booleans())
def test_any_damage_is_mended_and_no_right_entry_ever_goes(
    host: Host, blows: list[tuple[str, int, int]], cut: int, additive: bool
) -> None:
    """Whatever somebody did to whichever of our entries, in both families, several at once; and though the process
    that mends it dies at any step, and another goes on.
    """
    assume(not _behind_a_stranger(blows))
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
    assert right(LEASES) <= there(host.space)


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
    assert host.passes <= 1, "it takes more than one plan"
    undo(host, name, way)
    assert host.mended() == set()
    assert there(host.space) == calm
