"""Which etcd is asked next, on a clock and a resolver of its own."""

import random
import threading
from collections import Counter

import pytest

from agent.etcd.endpoints import RESOLVE_EVERY_S, SHUN_S, Endpoint, Endpoints
from agent.values import endpoints as parse
from overlay.errors import StoreUnavailable


class World:
    """A clock set by hand, and what names resolve to; counts questions."""

    def __init__(self, **names: list[str]) -> None:
        self.now, self.names, self.asked = 1000.0, names, 0

    def clock(self) -> float:
        """The time."""
        return self.now

    def resolve(self, name: str, port: int) -> list[str]:
        """As getaddrinfo does."""
        self.asked += 1
        if name not in self.names:
            raise OSError(-2, "Name or service not known")
        return self.names[name]

    def endpoints(self, *urls: str, seed: int = 1, secure: bool = False) -> Endpoints:
        """Made of this world."""
        return Endpoints(
            urls,
            secure=secure,
            timeout_s=2,
            resolver=self.resolve,
            rng=random.Random(seed),
            clock=self.clock,
        )


def test_a_name_is_one_endpoint_per_address_and_keeps_its_name() -> None:
    """IPv6 in brackets; an address that two URLs lead to is one endpoint."""
    world = World(etcd=["192.0.2.1", "2001:db8::1"])
    found = world.endpoints("https://etcd:2379", "https://192.0.2.1:2379").order()

    assert {(one.target, one.authority, one.secure) for one in found} == {
        ("ipv4:192.0.2.1:2379", "etcd:2379", True),
        ("ipv6:[2001:db8::1]:2379", "etcd:2379", True),
    }
    assert {str(one) for one in found} == {
        "https://etcd:2379 (192.0.2.1)",
        "https://etcd:2379 (2001:db8::1)",
    }


@pytest.mark.parametrize(
    ("url", "wants_tls", "secure"),
    [
        ("a:1", False, False),
        ("a:1", True, True),
        ("http://a:1", False, False),
        ("https://a:1/", False, True),
    ],
)
def test_the_scheme_decides_and_without_one_the_settings_do(
    url: str, wants_tls: bool, secure: bool
) -> None:
    """A CA means TLS."""
    (found,) = World(a=["192.0.2.1"]).endpoints(url, secure=wants_tls).order()
    assert found.secure is secure


def test_five_thousand_agents_spread_over_the_members_and_over_what_is_left() -> None:
    """Each of three gets a third, and the members that are left share those of one that is gone."""
    urls = [f"http://192.0.2.{n}:2379" for n in (1, 2, 3)]
    first, second = Counter[str](), Counter[str]()
    for seed in range(5000):
        made = World().endpoints(*urls, seed=seed)
        first[made.order()[0].url] += 1
        if made.order()[0].url == urls[0]:
            made.bad(made.order()[0])
            second[made.order()[0].url] += 1

    assert all(1500 < first[url] < 1850 for url in urls)
    assert abs(second[urls[1]] - second[urls[2]]) < 250


def test_one_that_failed_is_last_for_a_while_and_the_good_one_is_kept() -> None:
    """Also after the while: what works is not left for what may work."""
    world = World()
    made = world.endpoints("http://192.0.2.1:1", "http://192.0.2.2:1", "http://192.0.2.3:1")
    hung, other, _ = made.order()
    made.bad(hung)
    assert made.order()[-1] == hung
    made.good(other)
    made.bad(made.order()[1])
    assert made.order()[0] == other

    world.now += SHUN_S + 1
    assert made.order()[0] == other


def test_names_are_resolved_anew_when_all_have_failed_but_not_all_the_time() -> None:
    """The new address is the first that is tried."""
    world = World(etcd=["192.0.2.1"])
    made = world.endpoints("http://etcd:1")
    (old,) = made.order()
    world.names["etcd"] = ["192.0.2.9"]
    made.bad(old)
    assert (made.order(), world.asked) == ([old], 1)

    world.now += RESOLVE_EVERY_S
    made.bad(old)
    assert [one.address for one in made.order()] == ["192.0.2.9"]
    assert world.asked == 2


def test_members_that_all_hang_are_looked_up_anew_however_many_they_are() -> None:
    """Each costs a deadline: when the last has failed, the first is no longer shunned."""
    world = World(etcd=[f"192.0.2.{n}" for n in range(1, 6)])
    made = world.endpoints("http://etcd:1")
    old = made.order()
    world.names["etcd"] = ["192.0.2.9"]
    world.now += RESOLVE_EVERY_S
    for one in old:
        world.now += SHUN_S / 3
        made.bad(one)

    assert [one.address for one in made.order()] == ["192.0.2.9"]


def test_a_resolver_that_takes_longer_than_a_deadline_is_heard_by_the_next_call() -> None:
    """As with a dead first name server; one that hangs costs one thread, however often it is asked."""
    answer = threading.Event()
    asked: list[str] = []

    def slow(name: str, port: int) -> list[str]:
        asked.append(name)
        answer.wait(10)
        return ["192.0.2.1"]

    made = Endpoints(["http://etcd:1"], secure=False, timeout_s=0.01, resolver=slow)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match="no answer from the resolver"):
            made.order()
    answer.set()
    while not (known := _order(made)):
        pass

    assert [one.address for one in known] == ["192.0.2.1"]
    assert asked == ["etcd"]


def _order(made: Endpoints) -> list[Endpoint]:
    try:
        return made.order()
    except StoreUnavailable:
        return []


def test_a_resolver_that_fails_costs_no_address_we_know() -> None:
    """DNS is often where etcd is."""
    world = World(etcd=["192.0.2.1"])
    made = world.endpoints("http://etcd:1")
    known = made.order()
    world.names.clear()
    made.bad(known[0])
    world.now += RESOLVE_EVERY_S

    assert made.order() == known


def test_no_address_at_all_names_setting_name_and_reason() -> None:
    """And is asked again at the next call: a node often boots before its network is up."""
    world = World()
    made = world.endpoints("http://etcd:1")
    with pytest.raises(StoreUnavailable, match="etcd_endpoints: etcd: Name or service not known"):
        made.order()

    world.names["etcd"] = ["192.0.2.1"]
    assert len(made.order()) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http://a:1, https://b.c:65535/", ("http://a:1", "https://b.c:65535")),
        ("[2001:db8::1]:2379", ("[2001:db8::1]:2379",)),
        ("a:1,a:1", ("a:1",)),
    ],
)
def test_the_setting_takes_lists_names_and_both_families(text: str, found: tuple[str, ...]) -> None:
    """Twice the same is once; a slash at the end is usual."""
    assert parse(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "ftp://a:1",
        "http://a:0",
        "http://a:65536",
        "http://u@a:1",
        "http://a:1/x",
        "[zz]:1",
    ],
)
def test_the_setting_refuses_what_is_no_endpoint(text: str) -> None:
    """With the text in the reason."""
    with pytest.raises(ValueError, match=r"endpoint|is not|does not appear"):
        parse(text)
