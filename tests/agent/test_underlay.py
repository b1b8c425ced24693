"""underlay: the interface is chosen by what the operator said, else by the default route."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from agent.underlay import Hosts, choose, dark
from overlay.errors import BadConfig, NotReady
from overlay.model import Family
from overlay.netlink import AddressInfo, LinkInfo, RouteInfo


def link(index: int, name: str) -> LinkInfo:
    """An ordinary interface."""
    return LinkInfo(
        index, name, "", f"02:00:00:00:00:{index:02x}", 1500, True, True, "", 0, 0, 0, None
    )


def default_route(index: int, metric: int) -> RouteInfo:
    """0.0.0.0/0 over an interface."""
    return RouteInfo(
        ip_network("0.0.0.0/0"), ip_address("192.0.2.254"), index, 254, 4, 1, metric, False, None
    )


HOSTS = Hosts(
    links=(link(1, "lo"), link(2, "eth0"), link(3, "eth1")),
    addresses=(
        AddressInfo(1, ip_interface("127.0.0.1/8"), 254, 0),
        AddressInfo(2, ip_interface("169.254.3.4/16"), 253, 0),
        AddressInfo(2, ip_interface("192.0.2.7/24"), 0, 0),
        AddressInfo(2, ip_interface("192.0.2.8/24"), 0, 1),
        AddressInfo(3, ip_interface("198.51.100.7/24"), 0, 0),
    ),
    routes=(default_route(3, 200), default_route(2, 100)),
)


def test_the_default_route_with_the_lowest_metric_decides() -> None:
    """And the primary global address of its interface is taken."""
    found = choose(HOSTS, Family.V4)

    assert (found.link, str(found.address), found.mtu) == ("eth0", "192.0.2.7", 1500)


@pytest.mark.parametrize(
    ("wanted", "address"),
    [
        ("eth1", "198.51.100.7"),
        ("192.0.2.8", "192.0.2.8"),
        (r"^198\.51\.", "198.51.100.7"),
        ("eth[1-9]", "198.51.100.7"),
    ],
)
def test_iface_takes_a_name_an_address_or_a_regular_expression(wanted: str, address: str) -> None:
    """One setting, three ways to say it."""
    assert str(choose(HOSTS, Family.V4, iface=(wanted,)).address) == address


def test_the_first_iface_entry_that_fits_is_taken() -> None:
    """One file can serve different machines."""
    assert choose(HOSTS, Family.V4, iface=("bond0", "eth1")).link == "eth1"


SPLIT = replace(
    HOSTS,
    addresses=(
        *HOSTS.addresses[:4],
        AddressInfo(3, ip_interface("2001:db8::7/64"), 0, 0x80),
        AddressInfo(3, ip_interface("2001:db8::8/64"), 0, 0x80),
    ),
)
"""IPv4 on eth0, IPv6 on eth1."""


@pytest.mark.parametrize(
    ("iface", "four", "six"),
    [
        ("192.0.2.8,2001:db8::8", "192.0.2.8", "2001:db8::8"),
        ("2001:db8::8,192.0.2.8", "192.0.2.8", "2001:db8::8"),
        ("eth0,eth1", "192.0.2.7", "2001:db8::7"),
        ("eth1,eth0", "192.0.2.7", "2001:db8::7"),
        ("192.0.2.8,eth1", "192.0.2.8", "2001:db8::7"),
        ("eth.*", "192.0.2.7", "2001:db8::7"),
    ],
)
def test_each_family_has_an_interface_of_its_own(iface: str, four: str, six: str) -> None:
    """An entry that has nothing of a family leaves it to the next; an address is never told for the other family's."""
    entries = tuple(iface.split(","))
    chosen = [str(choose(SPLIT, family, iface=entries).address) for family in Family]
    assert chosen == [four, six]


def test_an_address_names_its_interface_for_the_other_family() -> None:
    """And while that has none there, it is waited for: never is an IPv4 address told as PublicIPv6."""
    six = AddressInfo(2, ip_interface("2001:db8::7/64"), 0, 0x80)
    both = replace(HOSTS, addresses=(*HOSTS.addresses, six))
    assert str(choose(both, Family.V6, iface=("192.0.2.8",)).address) == "2001:db8::7"
    assert str(choose(both, Family.V4, iface=("2001:db8::7",)).address) == "192.0.2.7"
    with pytest.raises(NotReady, match="eth0 has no V6 address yet"):
        choose(HOSTS, Family.V6, iface=("wlan9", "192.0.2.8"))


SIX_BY_DEFAULT = replace(
    default_route(3, 1024), dst=ip_network("::/0"), via=ip_address("2001:db8::fe")
)
TARGETS = {4: ip_address("192.0.2.254"), 6: ip_address("2001:db8:9::1")}


def test_a_target_decides_for_its_own_family() -> None:
    """The other one goes where its own target, this interface, or its default route leads, in this order."""
    four = {TARGETS[4]: 2}
    assert choose(SPLIT, Family.V4, reached_by=four).link == "eth0"

    split = replace(SPLIT, routes=(*SPLIT.routes, SIX_BY_DEFAULT))
    assert str(choose(split, Family.V6, reached_by=four).address) == "2001:db8::7"
    assert choose(SPLIT, Family.V6, reached_by=four | {TARGETS[6]: 3}).link == "eth1"
    assert choose(SPLIT, Family.V4, reached_by={TARGETS[6]: 3}).link == "eth0"  # by default

    six = AddressInfo(2, ip_interface("2001:db8:2::7/64"), 0, 0x80)
    both = replace(split, addresses=(*split.addresses, six))
    assert choose(both, Family.V6, reached_by=four).link == "eth0"
    named = ip_address("2001:db8::8")
    assert choose(both, Family.V6, reached_by=four, public=named).address == named


def test_a_target_that_leads_to_no_address_is_named_with_what_to_do() -> None:
    """The value, where it leads, and what there is."""
    with pytest.raises(NotReady, match="no default route for V6") as caught:
        choose(SPLIT, Family.V6, reached_by={TARGETS[4]: 2})
    assert "iface_can_reach = 192.0.2.254 is reached by eth0, which has no V6" in str(caught.value)
    assert "a target of each family" in caught.value.hint
    assert "eth1 2001:db8::7" in caught.value.hint
    said = (
        "iface_can_reach = 2001:db8:9::1 is reached by eth0: interface eth0 has no V6 address yet"
    )
    with pytest.raises(NotReady, match=said):
        choose(SPLIT, Family.V6, reached_by={TARGETS[6]: 2})


def test_an_iface_that_fits_nothing_is_refused_with_what_there_is() -> None:
    """The operator sees the choices."""
    with pytest.raises(BadConfig, match=r"wlan9.*eth0 192\.0\.2\.7.*eth1"):
        choose(HOSTS, Family.V4, iface=("wlan9",))


def test_our_own_devices_are_no_underlay() -> None:
    """Their addresses fit the pattern as well, and the interface that is meant may have none for a moment."""
    bridge = replace(link(4, "overlay0"), kind="bridge", alias="overlay:bridge")
    pods = AddressInfo(4, ip_interface("192.0.9.1/24"), 0, 0)
    one = replace(HOSTS, links=(bridge, *HOSTS.links), addresses=(pods, *HOSTS.addresses))

    assert choose(one, Family.V4, iface=(r"^192\.0\.",)).link == "eth0"
    with pytest.raises(BadConfig, match="no interface fits"):
        choose(replace(one, addresses=(pods,)), Family.V4, iface=(r"^192\.0\.",))


def test_a_public_address_of_this_host_names_its_interface() -> None:
    """As in flannel; one behind NAT falls back to the default route."""
    assert choose(HOSTS, Family.V4, public=ip_address("198.51.100.7")).link == "eth1"
    assert choose(HOSTS, Family.V4, public=ip_address("203.0.113.5")).link == "eth0"


def test_no_default_route_is_waited_for_not_fatal() -> None:
    """A node may boot before its network is up."""
    with pytest.raises(NotReady, match="no default route for V6"):
        choose(HOSTS, Family.V6)


def test_a_tunnel_that_stands_does_not_need_the_default_route() -> None:
    """A router that advertises itself no more; a restart meanwhile comes up as it was."""
    hosts = Hosts(HOSTS.links, HOSTS.addresses, ())
    held = [ip_address("198.51.100.7"), ip_address("203.0.113.5")]

    assert choose(hosts, Family.V4, held=held).link == "eth1"
    assert choose(HOSTS, Family.V4, held=held).link == "eth0"
    with pytest.raises(NotReady, match="no default route for V4"):
        choose(hosts, Family.V4, held=held[1:])


def test_an_ipv6_underlay_is_never_link_local_and_lasts_where_it_can() -> None:
    """fe80 means nothing to peers; a temporary address is gone tomorrow, one that is being checked may be another's."""
    permanent, tentative, temporary = 0x80, 0x40, 0x01

    def hosts(*addresses: tuple[str, int, int]) -> Hosts:
        found = [AddressInfo(2, ip_interface(text), scope, bits) for text, scope, bits in addresses]
        return Hosts(HOSTS.links, tuple(found), ())

    fe80 = ("fe80::1/64", 253, permanent)
    with pytest.raises(NotReady, match="eth0 has no V6 address yet"):
        choose(
            hosts(fe80, ("2001:db8::7/64", 0, permanent | tentative)), Family.V6, iface=("eth0",)
        )
    failed = ("2001:db8::7/64", 0, permanent | tentative | 0x08)
    with pytest.raises(NotReady, match="2001:db8::7 is a duplicate: another machine has it"):
        choose(hosts(fe80, failed), Family.V6, iface=("eth0",))
    advertised = [("2001:db8::9/64", 0, temporary), ("2001:db8::8/64", 0, 0)]
    assert (
        str(choose(hosts(fe80, *advertised), Family.V6, iface=("eth0",)).address) == "2001:db8::8"
    )
    fixed = ("2001:db8::7/64", 0, permanent)
    found = choose(hosts(fe80, *advertised, fixed), Family.V6, iface=("eth0",))
    assert str(found.address) == "2001:db8::7"


def test_an_address_that_is_added_moves_no_tunnel() -> None:
    """A virtual address that fails over, say, is added like any other, and IPv6 lists the newest first."""
    permanent, deprecated = 0x80, 0x20

    def chosen(*addresses: tuple[str, int], iface: str = "eth0") -> str:
        found = [AddressInfo(2, ip_interface(text), 0, bits) for text, bits in addresses]
        hosts = Hosts(HOSTS.links, tuple(found), ())
        held = {ip_address("2001:db8::7")}
        return str(choose(hosts, Family.V6, iface=(iface,), held=held).address)

    ours, other = ("2001:db8::7/64", 0), ("2001:db8::99/128", permanent)
    for iface in ("eth0", "^2001:", "eth[0-9]"):
        assert chosen(other, ours, iface=iface) == "2001:db8::7"
    assert chosen(other) == "2001:db8::99"
    running_out = ("2001:db8::7/64", deprecated)
    assert chosen(running_out) == "2001:db8::7"  # better than no underlay at all
    assert chosen(running_out, ("2001:db8:2::7/64", 0)) == "2001:db8:2::7"  # renumbered


def test_an_interface_that_carries_nothing_is_named_though_its_address_stays() -> None:
    """Set down, without a carrier, or gone."""
    down, loose = replace(link(2, "eth0"), up=False), replace(link(3, "eth1"), running=False)
    hosts = replace(HOSTS, links=(down, loose))

    assert dark(HOSTS, ["eth0", "eth0", "eth1"]) == ""
    assert dark(hosts, ["eth0"]) == "eth0 is down; next: ip link set eth0 up"
    assert "eth1 has no carrier" in dark(hosts, ["eth1"])
    assert dark(hosts, ["eth9"]) == "eth9 is gone"
