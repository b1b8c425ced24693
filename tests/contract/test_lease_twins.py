"""Two machines that look like one, on a real etcd: a living holder keeps its record, a dead one's is taken over."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from typing import Any, cast

import pytest

from agent.claim import Identity
from agent.etcd import Etcd
from agent.registry import Registry
from overlay.errors import BadConfig, StoreUnavailable
from overlay.model import Family, Lease
from overlay.schema import format_lease
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, Living, identity, tunnels
from tests.contract.waiting import until

pytestmark = pytest.mark.contract

Node = Callable[[int], Living]


@pytest.fixture
def node(etcd_server: Server, prefix: str) -> Iterator[Node]:
    """Nodes that live until the test ends."""
    made: list[Living] = []

    def start(number: int) -> Living:
        made.append(Living(etcd_server.url, prefix, number))
        return made[-1]

    yield start
    for living in made:
        living.stop()


@pytest.fixture
def store(etcd_server: Server) -> Iterator[Etcd]:
    """A client of the test's own."""
    client = Etcd([etcd_server.url], timeout_s=20)
    yield client
    client.close()


@pytest.fixture
def other(store: Etcd, prefix: str) -> Registry:
    """Another machine, patient enough for a busy computer."""
    return Registry(store, prefix, answer_s=15)


@pytest.fixture
def hasty(store: Etcd, prefix: str) -> Registry:
    """Another machine that waits only briefly, where nobody will answer."""
    return Registry(store, prefix, answer_s=0.05)


class Stumbling:
    """An etcd that does not answer the first transaction."""

    def __init__(self, real: Etcd) -> None:
        self.real, self.failed = real, 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.real, name)

    def txn(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        if not self.failed:
            self.failed += 1
            raise StoreUnavailable("no answer within the deadline")
        return self.real.txn(*args, **more)


def record(store: Etcd, prefix: str, lease: Lease) -> bytes:
    """The stored value."""
    return store.range(f"{prefix}/subnets/{lease.key}").records[0].value


def test_a_living_node_with_our_address_refuses_us_by_name(
    node: Node, other: Registry, store: Etcd, prefix: str
) -> None:
    """Both nodes, their machine ids and the mending command are named; its record is as before."""
    first = node(1)
    before = record(store, prefix, first.claimed.lease)

    with pytest.raises(
        BadConfig, match=r"\(n2, address 198\.18\.0\.1, .*n1 .*alive.*the address"
    ) as refused:
        other.claim(identity(2), NETWORK, tunnels(1), ttl_s=60)

    assert "ip address" in refused.value.hint
    assert record(store, prefix, first.claimed.lease) == before
    assert first.lost == ""
    assert list(other.snapshot().leases) == [first.claimed.lease.key]


def test_a_cloned_machine_id_is_refused_while_the_first_one_lives(
    node: Node, other: Registry
) -> None:
    """The copy has another name and address; the hint says how to give it an id of its own."""
    first = node(1)
    copy = replace(identity(1), node="copy")

    with pytest.raises(BadConfig, match=r"copy.*n1 .*alive.*the machine id 0+1;") as refused:
        other.claim(copy, NETWORK, tunnels(7), ttl_s=60)

    assert "systemd-machine-id-setup" in refused.value.hint
    until(
        lambda: (
            first.claimed.lease.mod_revision
            == other.snapshot().leases[first.claimed.lease.key].mod_revision
        )
    )


def test_a_living_node_of_another_name_has_time_to_be_started_anew(
    node: Node, store: Etcd, prefix: str
) -> None:
    """It answers late, when its agent is back: nothing is taken from it."""
    first, other = node(1), Registry(store, prefix, answer_s=0.5)
    first.stop()
    late = threading.Timer(0.8, node, [1])
    late.start()
    try:
        with pytest.raises(BadConfig, match=r"n1 .*alive.*the address"):
            other.claim(identity(2), NETWORK, tunnels(1), ttl_s=60)
    finally:
        late.join()

    assert list(other.snapshot().leases) == [first.claimed.lease.key]


def test_an_answer_that_etcd_did_not_take_is_given_again(
    node: Node, other: Registry, store: Etcd
) -> None:
    """The holder was cut off for a moment; the question does not come a second time by itself."""
    first = node(1)
    losing = Stumbling(first.registry._etcd)
    first.registry._own._etcd = cast("Etcd", losing)

    with pytest.raises(BadConfig, match=r"n1 .*alive.*the address"):
        other.claim(identity(2), NETWORK, tunnels(1), ttl_s=60)

    assert losing.failed == 1


def test_a_dead_holder_is_followed_by_the_machine_installed_anew(
    hasty: Registry, store: Etcd, prefix: str
) -> None:
    """Same address, new machine id: same subnet, an etcd lease of its own, the old one revoked."""
    old = hasty.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease

    anew = Registry(store, prefix, answer_s=0.05)
    new = anew.claim(Identity("n1", "f" * 32, "0.1.0"), NETWORK, tunnels(1), ttl_s=60)

    assert (new.how, new.lease.key) == ("rewritten", old.key)
    assert new.lease.create_revision == old.create_revision  # never deleted
    assert hasty.snapshot().leases == {old.key: new.lease}
    assert store.time_to_live(old.etcd_lease) == -1
    assert hasty.ttl_s(new.lease) > 0


def test_a_node_that_comes_up_at_another_address_keeps_its_subnet(
    hasty: Registry, store: Etcd, prefix: str
) -> None:
    """Its machine id is known, nobody answers for the old address: one record, rewritten in place."""
    old = hasty.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease

    later = Registry(store, prefix, answer_s=0.05).claim(identity(1), NETWORK, tunnels(9), ttl_s=60)

    assert (later.lease.key, later.lease.create_revision) == (old.key, old.create_revision)
    assert later.lease.content() != old.content()


def test_a_node_that_comes_to_a_dead_machines_address_buries_its_record(
    hasty: Registry, store: Etcd, prefix: str
) -> None:
    """Being older it would win at every peer: key and etcd lease end, and the mark says how."""
    ours = hasty.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease
    dead = hasty.claim(identity(2), NETWORK, tunnels(2), ttl_s=60).lease

    later = Registry(store, prefix, answer_s=0.05).claim(identity(1), NETWORK, tunnels(2), ttl_s=60)

    assert later.lease.key == ours.key
    assert list(hasty.snapshot().leases) == [ours.key]
    assert store.time_to_live(dead.etcd_lease) == -1
    mark = store.range(f"{prefix}/overlay/used/{dead.key}").records[0].value
    assert (b'"removed"' in mark, b'"n2"' in mark) == (True, True)


def test_a_dead_machines_reservation_is_emptied_and_stays(
    hasty: Registry, store: Etcd, prefix: str
) -> None:
    """What an operator reserved is not given away because somebody has the address now."""
    key = f"{prefix}/subnets/10.5.9.0-24"
    store.put(key, b'{"Node":"n2"}')
    assert hasty.claim(identity(2), NETWORK, tunnels(2), ttl_s=60).lease.key == "10.5.9.0-24"
    hasty.claim(identity(1), NETWORK, tunnels(1), ttl_s=60)

    Registry(store, prefix, answer_s=0.05).claim(identity(1), NETWORK, tunnels(2), ttl_s=60)

    assert store.range(key).records[0].value == (
        b'{"PublicIP":"0.0.0.0","PublicIPv6":null,"Node":"n2"}'
    )


def test_a_living_twins_record_is_not_given_back_as_an_old_one_of_ours(
    node: Node, other: Registry, store: Etcd, prefix: str
) -> None:
    """Two records of one machine id: ours could not be read while the other was claimed."""
    second = ip_network("10.5.150.0/24")
    key = f"{prefix}/subnets/{second.network_address}-24"
    store.put(key, b"garbage")  # which nobody takes then
    twin = node(1)
    end = replace(
        twin.claimed.lease.endpoints[0],
        subnet=second,
        underlay=tunnels(9)[Family.V4].underlay,
    )
    store.put(key, format_lease(replace(twin.claimed.lease, endpoints=(end,))))

    ours = other.claim(identity(1), NETWORK, tunnels(9), ttl_s=60)

    assert (ours.lease.key, ours.draining) == ("10.5.150.0-24", ())
    assert {*other.snapshot().leases} == {"10.5.150.0-24", twin.claimed.lease.key}


def test_a_running_node_that_moves_to_a_living_ones_address_is_refused(
    node: Node, other: Registry
) -> None:
    """It wrote its own record itself, which is no reason not to ask the other."""
    second = node(2)
    ours = other.claim(identity(1), NETWORK, tunnels(1), ttl_s=60).lease

    with pytest.raises(BadConfig, match=r"\(n1, address 198\.18\.0\.2, .*n2 .*alive.*the address"):
        other.claim(identity(1), NETWORK, tunnels(2), ttl_s=60)

    assert other.snapshot().leases[ours.key] == ours
    assert second.lost == ""


def test_a_node_that_was_cut_off_hears_who_has_its_lease(node: Node, hasty: Registry) -> None:
    """The twin took over while it was silent: it stops holding the lease and names both."""
    first = node(1)
    first.stop()
    taken = hasty.claim(identity(2), NETWORK, tunnels(1), ttl_s=60).lease

    after = Registry(hasty._etcd, hasty.prefix)
    with pytest.raises(Exception, match=r"this node, n1 \(.*was taken over by n2 \("):
        after.own_record_changed(first.claimed, taken)


def test_what_somebody_writes_over_our_record_is_put_back(
    node: Node, store: Etcd, prefix: str
) -> None:
    """A MAC altered by hand, garbage, and a record without expiry; our lease goes on."""
    living = node(1)
    key, ours = f"{prefix}/subnets/{living.claimed.lease.key}", living.claimed.lease
    end = replace(ours.endpoints[0], mac="02:00:00:00:99:99")

    store.put(key, format_lease(replace(ours, endpoints=(end,))))
    until(lambda: record(store, prefix, ours) == format_lease(ours))
    store.put(key, b"garbage")  # the second time a pause of a second goes before
    until(lambda: record(store, prefix, ours) == format_lease(ours))

    until(lambda: store.range(key).records[0].mod_revision == living.claimed.lease.mod_revision)
    assert store.range(key).records[0].lease == ours.etcd_lease
    assert living.registry.keep(living.claimed.lease) == 60


def test_a_renewal_by_flanneld_is_accepted_and_its_lease_kept_alive(
    node: Node, store: Etcd, prefix: str
) -> None:
    """Its record has no fields of ours and an etcd lease of its own; nothing is written by us."""
    living = node(1)
    ours, grant = living.claimed.lease, store.grant(90)
    text = format_lease(replace(ours, node="", machine_id="", version=""))

    revision = store.put(f"{prefix}/subnets/{ours.key}", text, lease=grant)

    until(lambda: living.claimed.lease.mod_revision == revision)
    assert living.registry.keep(living.claimed.lease) == 90
    assert record(store, prefix, ours) == text
