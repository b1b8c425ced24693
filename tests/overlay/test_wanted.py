"""wanted: of two contradicting leases the older one stands, whole, and comes back when it may."""

from ipaddress import ip_address, ip_network

from overlay.conflicts import contradicting
from overlay.model import Endpoint, FdbEntry, KernelObject, Lease, Neighbour, Route
from overlay.wanted import Wanted


def objects(subnet: int, mac: str, underlay: str) -> tuple[KernelObject, ...]:
    """The three objects of one peer."""
    via = ip_address(f"10.5.{subnet}.0")
    return (
        FdbEntry("overlay.1", mac, ip_address(underlay)),
        Neighbour("overlay.1", via, mac),
        Route(ip_network(f"10.5.{subnet}.0/24"), via, "overlay.1"),
    )


A, B, C = "02:00:00:00:00:0a", "02:00:00:00:00:0b", "02:00:00:00:00:0c"


def test_the_older_of_two_leases_with_one_mac_stands_whole() -> None:
    """The younger one gets no object at all, not even those nobody else claims."""
    wanted = Wanted()
    wanted.claim("old", age=1, objects=objects(1, A, "192.0.2.1"))
    wanted.claim("young", age=2, objects=objects(2, A, "192.0.2.2"))

    assert set(wanted.want.values()) == set(objects(1, A, "192.0.2.1"))
    assert wanted.losers == {"young": "old"}


def test_an_older_lease_that_arrives_later_displaces_the_younger() -> None:
    """Order of arrival decides nothing."""
    wanted = Wanted()
    wanted.claim("young", age=2, objects=objects(2, A, "192.0.2.2"))
    touched = wanted.claim("old", age=1, objects=objects(1, A, "192.0.2.1"))

    assert set(wanted.want.values()) == set(objects(1, A, "192.0.2.1"))
    assert {item.key for item in objects(2, A, "192.0.2.2")} <= touched


def test_the_loser_is_programmed_once_the_winner_is_gone() -> None:
    """Nothing is remembered against it."""
    wanted = Wanted()
    wanted.claim("old", age=1, objects=objects(1, A, "192.0.2.1"))
    wanted.claim("young", age=2, objects=objects(2, A, "192.0.2.2"))
    wanted.claim("old", age=1, objects=())

    assert set(wanted.want.values()) == set(objects(2, A, "192.0.2.2"))
    assert wanted.losers == {}


def test_two_records_of_one_node_share_what_is_equal() -> None:
    """A node that changed its subnet: one MAC, one underlay address, two subnets; no conflict."""
    wanted = Wanted()
    wanted.claim("first", age=1, objects=objects(1, A, "192.0.2.1"))
    wanted.claim("second", age=2, objects=objects(2, A, "192.0.2.1"))
    wanted.claim("first", age=1, objects=())

    assert set(wanted.want.values()) == set(objects(2, A, "192.0.2.1"))


def test_no_peer_may_claim_this_nodes_own_subnet() -> None:
    """A hostile or mistaken record never routes our own pods away."""
    wanted = Wanted()
    wanted.reserve(objects(1, A, "192.0.2.1"))
    wanted.claim("thief", age=0, objects=objects(1, B, "192.0.2.9"))

    assert wanted.want == {}
    assert wanted.losers == {"thief": "this node"}


def test_two_vteps_at_one_address_cannot_both_be_true() -> None:
    """The kernel would take both; the older lease stands, and the younger when it is gone."""
    wanted = Wanted()
    wanted.claim("old", age=1, objects=objects(1, A, "192.0.2.1"))
    touched = wanted.claim("young", age=2, objects=objects(2, B, "192.0.2.1"))
    assert set(wanted.want.values()) == set(objects(1, A, "192.0.2.1"))
    assert wanted.losers == {"young": "old"}
    assert {item.key for item in objects(2, B, "192.0.2.1")} <= touched

    wanted.claim("old", age=1, objects=())
    assert set(wanted.want.values()) == set(objects(2, B, "192.0.2.1"))


def test_no_peer_may_claim_this_nodes_own_address_with_another_mac() -> None:
    """A clone of this node, or a record that is mistaken."""
    wanted = Wanted()
    wanted.reserve(objects(1, A, "192.0.2.1"))
    wanted.claim("twin", age=0, objects=objects(2, B, "192.0.2.1"))

    assert wanted.losers == {"twin": "this node"}


def test_a_list_tells_which_records_contradict_an_older_one() -> None:
    """As overlayctl leases shows it, without a node: same subnet, MAC or address, of either family."""

    def lease(key: str, subnet: str, mac: str, underlay: str, *, created: int) -> Lease:
        end = Endpoint(ip_network(subnet), ip_address(underlay), mac, 1)
        return Lease(key, (end,), create_revision=created)

    leases = [
        lease("a", "10.5.1.0/24", A, "192.0.2.1", created=1),
        lease("moved", "10.5.2.0/24", A, "192.0.2.1", created=2),
        lease("subnet", "10.5.1.0/24", B, "192.0.2.9", created=3),
        lease("address", "10.5.3.0/24", C, "192.0.2.1", created=4),
        lease("mac", "10.5.4.0/24", A, "192.0.2.8", created=5),
    ]

    assert contradicting(leases) == {"subnet": "a", "address": "a", "mac": "a"}
