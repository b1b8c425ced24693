"""What a pod asks for: precedence, spelling, and a refusal by name. Pure."""

import json
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni import protocol, wishes
from cni.wishes import Wishes
from overlay.errors import BadConfig, OverlayError, Unsupported
from overlay.model import Family
from overlay.nodefile import NodeFamily

V4 = NodeFamily(ip_interface("10.5.1.1/24"), ip_network("10.5.0.0/16"))
V6 = NodeFamily(ip_interface("fd00:5::1/64"), ip_network("fd00:5::/48"))
ENVIRON = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/x",
}


def _read(cni_args: str = "", **config: Any) -> Wishes:  # noqa: ANN401 - any JSON
    body = json.dumps({"cniVersion": "1.0.0", "name": "overlay", **config}).encode()
    request = protocol.parse({**ENVIRON, "CNI_ARGS": f"IgnoreUnknown=1;{cni_args}"}, body)
    return wishes.read(request, (V4, V6))


@pytest.mark.row("72")
@pytest.mark.parametrize("kind", ["ips", "mac"])
def test_runtime_config_over_args_over_cni_args(kind: str) -> None:
    """The more specific one; where it is empty the next."""
    values: list[Any] = ["10.5.1.7", "10.5.1.8", "10.5.1.9"]
    if kind == "mac":
        values = [f"02:00:00:00:00:0{last}" for last in (7, 8, 9)]
    listed = [[value] if kind == "ips" else value for value in values]
    given = f"{'IP' if kind == 'ips' else 'MAC'}={values[2]}"
    empty: Any = [] if kind == "ips" else ""

    def got(runtime: Any, arg: Any) -> str:  # noqa: ANN401 - any JSON
        found = _read(given, runtimeConfig={kind: runtime}, args={"cni": {kind: arg}})
        return str(found.addresses[Family.V4]) if kind == "ips" else found.mac

    assert got(listed[0], listed[1]) == values[0]
    assert got(empty, listed[1]) == values[1]
    assert got(None, empty) == values[2]


@pytest.mark.row("R21")
@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"IPs": ["10.5.1.7"], "ips": None}, "10.5.1.7"),
        ({"ips": ["10.5.1.7"], "IPS": None}, "10.5.1.7"),
        ({"ips": ["10.5.1.7", "10.5.1.7/24", "10.5.1.7"]}, "10.5.1.7"),
    ],
)
def test_a_key_that_comes_twice_is_one(config: dict[str, Any], expected: str) -> None:
    """In any case; a value goes before null, and the same address said twice is one."""
    assert str(_read(runtimeConfig=config).addresses[Family.V4]) == expected


@pytest.mark.row("R20")
def test_cni_args_may_name_one_of_each_family() -> None:
    """Separated by a comma."""
    found = _read("IP=10.5.1.7,fd00:5::7")
    assert [str(found.addresses[family]) for family in Family] == ["10.5.1.7", "fd00:5::7"]


@pytest.mark.row("6")
@pytest.mark.parametrize("key", ["deviceID", "DeviceID", "infinibandGUID"])
def test_hardware_is_code_2_with_key_and_value(key: str) -> None:
    """A pod gets a veth here."""
    with pytest.raises(
        Unsupported, match=f"runtimeConfig.{key.lower()} = '0000:3b:00.1'"
    ) as caught:
        _read(runtimeConfig={key: "0000:3b:00.1"})
    assert caught.value.cni_code == 2


@pytest.mark.row("R22", "71")
def test_what_is_left_to_chained_plugins_is_known() -> None:
    """For the log; empty lists ask for nothing."""
    ports = [{"hostPort": 80}]
    assert _read(runtimeConfig={"portMappings": ports, "bandwidth": {}}).left == ("portmappings",)
    assert _read(runtimeConfig={"portMappings": []}).left == ()
    assert _read() == Wishes()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("10.5.1.7"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["ips", "IPs", "mac", "Mac", "dns", "DNS", "portMappings", "bandwidth", "ipRanges", "deviceID"]
)


@pytest.mark.row("13", "70")
@settings(deadline=None)
@given(runtime=st.dictionaries(KEYS, JSON), args=st.dictionaries(KEYS, JSON))
def test_any_wish_is_met_or_refused_with_a_code(
    runtime: dict[str, Any], args: dict[str, Any]
) -> None:
    """Nothing else comes out, and what is met lies in the node's subnet."""
    found = Wishes()
    code = 0
    try:
        found = _read(runtimeConfig=runtime, args={"cni": args})
    except OverlayError as error:
        code = error.cni_code
    assert code in (0, 2, 4, 7)
    for family, address in found.addresses.items():
        assert address in {Family.V4: V4, Family.V6: V6}[family].subnet


@pytest.mark.row("70")
def test_ranges_that_are_not_this_nodes_are_refused() -> None:
    """We give any address of the subnet; host-local, if the configuration names it, goes by them itself."""
    _read(runtimeConfig={"IPRanges": [[{"Subnet": "10.5.0.0/16"}], [{"subnet": "fd00:5::/64"}]]})
    for subnet in ("10.6.0.0/16", "10.5.1.0/25"):
        narrow = {"ipRanges": [[{"subnet": subnet}]]}
        with pytest.raises(
            BadConfig, match=rf"{subnet}, this node gives .* of all of 10\.5\.1\.0/24"
        ):
            _read(runtimeConfig=narrow)
        _read(runtimeConfig=narrow, ipam={"type": "host-local"})
