"""Records that are known again by their bytes say what they would say if they were taken apart anew."""

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from overlay.dataplane.read import Links
from overlay.dataplane.recognised import Known, Recognised
from overlay.marks import ONLY
from overlay.model import FdbEntry, KernelObject, Neighbour
from overlay.netlink import LinkInfo
from overlay.netlink import constants as c
from overlay.netlink.attributes import attribute
from overlay.plan import differing

DEVICE = LinkInfo(
    7, "overlay.1", "vxlan", "02:00:00:00:00:01", 1450, True, True, "overlay:vtep", 0, 0, 0, None
)
HEAD = bytes(12)
KNOWN: Known = ("key", FdbEntry("overlay.1", "02:00:00:00:00:02", ip_address("192.0.2.2")))


def links(*items: LinkInfo) -> Links:
    """A host's links."""
    return Links.of(items, {}, ONLY)


def entry(said: bytes, used: int, *more: bytes) -> bytes:
    """A neighbour message: what it says, when it was used, and what else."""
    times = attribute(c.NDA_CACHEINFO, used.to_bytes(16, "little"))
    return HEAD + attribute(c.NDA_DST, said) + b"".join(more) + times


WANT: dict[object, KernelObject] = {}


def looks(recognised: Recognised, seen: Links, bodies: list[bytes]) -> list[bool]:
    """One look; which of the records were known."""
    recognised.begin(seen, WANT)
    found = []
    for body in bodies:
        found.append(recognised.find(body) is not None)
        recognised.learn(body, KNOWN)
    recognised.end()
    return found


def test_times_of_use_change_nothing_and_everything_else_does() -> None:
    """A port of its own, for example, makes an FDB entry another one."""
    recognised, seen = Recognised(), links(DEVICE)
    plain, used = entry(b"\xc0\0\2\2", 1), entry(b"\xc0\0\2\2", 99)
    others = [entry(b"\xc0\0\2\3", 1), entry(b"\xc0\0\2\2", 1, attribute(c.NDA_PORT, b"\0\1"))]
    assert looks(recognised, seen, [plain]) == [False]
    assert looks(recognised, seen, [used, *others]) == [True, False, False]


def test_a_link_with_another_name_or_without_its_mark_makes_all_unknown() -> None:
    """The same bytes name the link by its number only."""
    for after in (replace(DEVICE, name="x"), replace(DEVICE, alias=""), replace(DEVICE, index=8)):
        recognised = Recognised()
        looks(recognised, links(DEVICE), [HEAD])
        assert looks(recognised, links(after), [HEAD]) == [False]
        assert looks(recognised, links(after), [HEAD]) == [True]


def test_pods_that_come_and_go_change_nothing() -> None:
    """Else a busy node would read everything anew all the time."""
    pod = replace(DEVICE, index=9, name="ovl0123456789", kind="veth", alias="overlay:net/c/eth0")
    recognised = Recognised()
    looks(recognised, links(DEVICE), [HEAD])
    assert looks(recognised, links(DEVICE, pod), [HEAD]) == [True]


def test_what_a_look_has_twice_it_has_once() -> None:
    """A list that changes while it is read may repeat a route; the second is no other route beside the first."""
    recognised, seen = Recognised(), links(DEVICE)
    for known in (None, KNOWN):
        recognised.begin(seen, WANT)
        assert recognised.find(HEAD) == known
        assert known or recognised.learn(HEAD, KNOWN) == KNOWN
        assert recognised.find(HEAD) is None
        assert recognised.learn(HEAD, KNOWN) is None
        recognised.end()


def test_what_was_not_seen_is_forgotten() -> None:
    """It costs memory as long as it is there, not longer."""
    recognised, seen = Recognised(), links(DEVICE)
    looks(recognised, seen, [HEAD])
    looks(recognised, seen, [])
    assert looks(recognised, seen, [HEAD]) == [False]


KEYS = st.integers(0, 8)
STATES = st.dictionaries(KEYS, st.integers(0, 2))


@given(want=STATES, have=STATES, additive=st.booleans())
def test_what_differs_is_found_whatever_is_missing_or_too_many(
    want: dict[int, int], have: dict[int, int], additive: bool
) -> None:
    """Against the plain sentence."""

    def state(numbers: dict[int, int]) -> dict[object, KernelObject]:
        return {
            key: Neighbour("overlay.1", ip_address(value), "02:00:00:00:00:02")
            for key, value in numbers.items()
        }

    found = differing(state(want), state(have), additive=additive)
    looked_at = want.keys() if additive else want.keys() | have.keys()
    assert sorted(map(int, map(str, found))) == sorted(
        key for key in looked_at if want.get(key) != have.get(key)
    )


def test_a_key_is_the_one_that_is_wanted_by_and_not_its_equal() -> None:
    """Thousands of them would be held twice; what nobody wants has its own."""
    entries = [
        FdbEntry("overlay.1", f"02:00:00:00:00:0{n}", ip_address("192.0.2.2")) for n in (1, 2)
    ]
    wanted, unwanted = entries
    key = wanted.key
    recognised, want = Recognised(), {key: wanted}
    for _ in range(2):  # learnt, then found
        recognised.begin(links(DEVICE), want)
        for number, item in enumerate((wanted, unwanted)):
            body = entry(bytes([number]), 1)
            known = recognised.find(body) or recognised.learn(body, (item.key, item))
            assert known == (item.key, item)
            assert (known[0] is key) == (item is wanted)
        recognised.end()
