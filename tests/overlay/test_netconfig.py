"""netconfig: flannel's rules and defaults, and one clear reason for everything else."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay import netconfig
from overlay.errors import BadConfig
from overlay.model import Family
from overlay.netconfig import count, fits, format_network, index, nth, parse_network


def config(**fields: object) -> bytes:
    """A config with a vxlan backend unless said otherwise."""
    return json.dumps({"Backend": {"Type": "vxlan"}, **fields}).encode()


@pytest.mark.parametrize(
    ("network", "length", "first", "last"),
    [
        ("10.3.0.0/16", 24, "10.3.1.0/24", "10.3.255.0/24"),
        ("10.3.0.0/23", 25, "10.3.0.128/25", "10.3.1.128/25"),
        ("10.3.0.0/28", 30, "10.3.0.4/30", "10.3.0.12/30"),
        ("10.3.7.9/16", 24, "10.3.1.0/24", "10.3.255.0/24"),
    ],
)
def test_flannels_defaults(network: str, length: int, first: str, last: str) -> None:
    """Recorded from flanneld; the first subnet is skipped, host bits are masked."""
    pool = parse_network(config(Network=network)).pools[0]

    assert (pool.subnet_len, str(pool.first), str(pool.last)) == (length, first, last)


def test_keys_are_read_in_any_case_and_the_backend_has_its_defaults() -> None:
    """As Go's decoder does."""
    network = parse_network(b'{"NETWORK":"10.5.0.0/16","subnetLEN":25,"backend":{"TYPE":"VXLAN"}}')

    assert network.pools[0].subnet_len == 25
    assert (network.backend.vni, network.backend.port, network.backend.mtu) == (1, 8472, 0)


def test_both_families_are_pools() -> None:
    """IPv4 first; IPv6 alone works too."""
    dual = config(Network="10.5.0.0/16", EnableIPv6=True, IPv6Network="fd00::/48")
    alone = config(EnableIPv4=False, EnableIPv6=True, IPv6Network="fd00::/48")

    assert [pool.subnet_len for pool in parse_network(dual).pools] == [24, 64]
    assert str(parse_network(alone).pools[0].first) == "fd00:0:0:1::/64"


def test_host_gw_is_read_in_any_case_and_has_no_tunnel() -> None:
    """What else is said is about one, and ignored as flannel does; the MTU is the interface's or less."""
    network = parse_network(
        config(Network="10.5.0.0/16", Backend={"Type": "Host-GW", "VNI": "x", "MTU": 1400})
    )

    assert (network.backend.kind, network.backend.mtu) == ("host-gw", 1400)
    assert (network.backend.tunnels, network.backend.direct) == (False, True)
    assert [network.backend.overhead(family) for family in Family] == [0, 0]


@pytest.mark.parametrize(
    ("words", "direct"),
    [({}, False), ({"direct_routing": True}, True), ({"kind": "host-gw"}, True)],
)
def test_what_init_writes_is_read_back(words: dict[str, Any], direct: bool) -> None:
    """overlayctl init --backend and --direct-routing."""
    network = parse_network(format_network({Family.V4: "10.5.0.0/16"}, {}, **words).encode())

    assert network.backend.direct is direct
    assert network.backend.kind == words.get("kind", "vxlan")


@pytest.mark.parametrize(
    ("kinds", "use"),
    [
        ("udp extension", "vxlan"),
        (
            "wireguard ipsec",
            "vxlan with iface naming an encrypted link, such as wg0, that joins the nodes",
        ),
        (
            "ipip alloc aws-vpc gce ali-vpc tencent-vpc",
            'vxlan, with "DirectRouting":true where nodes share a link',
        ),
        ("hostgw host_gw vxlan6 geneve", "vxlan or host-gw"),
    ],
)
def test_each_type_of_flannels_that_is_not_served_is_refused_with_what_to_use(
    kinds: str, use: str
) -> None:
    """By its name as it was written, in any case of letters; a misspelt one as well."""
    for kind in (*kinds.split(), *kinds.upper().split()):
        with pytest.raises(BadConfig) as caught:
            parse_network(config(Network="10.5.0.0/16", Backend={"Type": kind}))
        assert str(caught.value) == f"Backend.Type = {kind!r} is not served; use {use}"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b'{"Network":"10.5.0.0/16"}', "Backend is missing"),
        (b'{"Network":"10.5.0.0/16","Backend":{}}', "Backend.Type = ''"),
        (
            config(Backend={"Type": "wireguard"}, Network="10.5.0.0/16"),
            "'wireguard' is not served; use vxlan with iface naming an encrypted link",
        ),
        (
            config(Backend={"Type": "IPIP"}, Network="10.5.0.0/16"),
            "'IPIP' is not served; use vxlan, with \"DirectRouting\"",
        ),
        (
            config(Backend={"Type": "geneve"}, Network="10.5.0.0/16"),
            "'geneve' is not served; use vxlan or host-gw",
        ),
        (config(), "Network is missing"),
        (config(Network="10.5.0.0"), r"Network = '10\.5\.0\.0'"),
        (config(Network="10.3.0.0/29"), "no room for subnets"),
        (config(Network="10.5.0.0/16", SubnetLen=31), "SubnetLen = 31"),
        (config(Network="10.5.0.0/16", SubnetLen=17), "fewer than four"),
        (
            config(Network="10.5.0.0/16", SubnetMin="10.6.0.0"),
            r"SubnetMin = '10\.6\.0\.0': outside",
        ),
        (config(Network="10.5.0.0/16", SubnetMin="10.5.1.7"), "not at the start"),
        (
            config(Network="10.5.0.0/16", SubnetMin="10.5.9.0", SubnetMax="10.5.3.0"),
            "above SubnetMax",
        ),
        (config(Network="fd00::/48"), "not an IPv4 network"),
        *(
            (
                config(EnableIPv4=False, EnableIPv6=True, IPv6Network=it),
                "pods can have addresses of",
            )
            for it in ("::/0", "fe80::/48", "ff00::/48")
        ),
        (config(Network="127.0.0.0/16"), "pods can have addresses of"),
        (config(Network="10.5.0.0/16", EnableIPv6="yes"), "enableipv6"),
        (config(Network="10.5.0.0/16", EnableIPv4=False), "no addresses"),
        (config(Network="10.5.0.0/16", Backend={"Type": "vxlan", "VNI": 1 << 24}), "Backend.VNI"),
        (config(Network="10.5.0.0/16", Backend={"Type": "vxlan", "Port": -1}), "Backend.Port"),
        (b" " * 70_000, "bytes"),
    ],
)
def test_a_bad_config_names_field_value_and_reason(raw: bytes, said: str) -> None:
    """An operator sees what to mend."""
    with pytest.raises(BadConfig, match=said):
        parse_network(raw)


@given(st.integers(8, 26), st.integers(0, 8), st.integers(0, 1 << 16))
def test_subnets_are_counted_and_found_by_arithmetic(prefix: int, more: int, number: int) -> None:
    """nth and index are inverse, all inside the network, none twice; a /8 costs nothing."""
    length = min(prefix + 2 + more, 30)
    pool = parse_network(config(Network=f"10.0.0.0/{prefix}", SubnetLen=length)).pools[0]
    number %= count(pool)

    subnet = nth(pool, number)

    assert index(pool, subnet) == number
    assert fits(pool, subnet)
    assert subnet.subnet_of(pool.network)  # type: ignore[arg-type]
    assert subnet.network_address != pool.network.network_address


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("10.5.0.0/16"),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        "Network",
                        "SubnetLen",
                        "SubnetMin",
                        "Backend",
                        "Type",
                        "VNI",
                        "EnableIPv6",
                        "IPv6Network",
                    ]
                ),
                inner,
            )
            | st.lists(inner, max_size=2)
        ),
        max_leaves=8,
    )
)
def test_hostile_configs_give_a_network_or_a_reason(value: object) -> None:
    """Nothing but BadConfig ever comes out."""
    with contextlib.suppress(BadConfig):
        assert parse_network(json.dumps(value).encode()).pools


def test_what_init_writes_is_what_an_agent_reads() -> None:
    """And it is as short as the operator's words."""
    text = format_network({Family.V4: "10.5.0.0/16"}, {})

    assert text == netconfig.EXAMPLE
    parse_network(text.encode())
    other = format_network({Family.V4: "10.5.0.0/16"}, {Family.V4: 25}, vni=7, port=4789)
    network = parse_network(other.encode())
    assert (network.backend.vni, network.backend.port) == (7, 4789)
    assert network.pools[0].subnet_len == 25


def test_init_writes_both_families_or_either() -> None:
    """What is on by default is not said; flannel's spelling."""
    both = {Family.V4: "10.5.0.0/16", Family.V6: "fd00:5::/48"}

    text = format_network(both, {Family.V6: 80})
    assert text == (
        '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","IPv6SubnetLen":80,'
        '"Backend":{"Type":"vxlan"}}'
    )
    assert [pool.subnet_len for pool in parse_network(text.encode()).pools] == [24, 80]

    alone = format_network({Family.V6: "fd00:5::/48"}, {})
    assert alone.startswith('{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":')
    assert [pool.family for pool in parse_network(alone.encode()).pools] == [Family.V6]
