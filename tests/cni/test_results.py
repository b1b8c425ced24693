"""A result has the shape of the version it is asked in, and errors the shape of all."""

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest

from cni.protocol import VERSIONS
from cni.results import Interface, PodAddress, PodRoute, Result, encode_error, encode_result
from overlay.errors import BadConfig

OLDEST = ("0.1.0", "0.2.0")
V4 = PodAddress(ip_interface("10.5.1.2/24"), ip_address("10.5.1.1"), interface=2)
V6 = PodAddress(ip_interface("fd00:1::2/64"), ip_address("fd00:1::1"), interface=2)
ROUTE_4 = PodRoute(ip_network("0.0.0.0/0"), ip_address("10.5.1.1"))
ROUTE_6 = PodRoute(ip_network("::/0"), ip_address("fd00:1::1"))
RESULT = Result(
    interfaces=(
        Interface("overlay0", "0a:58:0a:05:01:01", 1450),
        Interface("ovl0123456789ab", "0e:00:00:00:00:01", 1440),
        Interface("eth0", "0a:58:0a:05:01:02", 1440, sandbox="/run/netns/x"),
    ),
    addresses=(V4, V6),
    routes=(ROUTE_4, ROUTE_6),
    dns={"nameservers": ["10.96.0.10"]},
)


def _encoded(version: str, result: Result = RESULT) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(encode_result(result, version))
    return decoded


@pytest.mark.row("4", "27", "30")
@pytest.mark.parametrize("version", VERSIONS)
def test_a_result_states_its_version_and_passes_dns_on(version: str) -> None:
    """Both are the same in every version."""
    body = _encoded(version)
    assert (body["cniVersion"], body["dns"]) == (version, {"nameservers": ["10.96.0.10"]})


@pytest.mark.row("30", "R26")
@pytest.mark.parametrize("version", OLDEST)
def test_the_oldest_versions_have_one_address_per_family(version: str) -> None:
    """``ip4`` and ``ip6``, each with its default route, and nothing later versions brought."""
    body = _encoded(version)
    assert body.keys() == {"cniVersion", "ip4", "ip6", "dns"}
    assert body["ip4"] == {
        "ip": "10.5.1.2/24",
        "gateway": "10.5.1.1",
        "routes": [{"dst": "0.0.0.0/0", "gw": "10.5.1.1"}],
    }
    assert body["ip6"]["routes"] == [{"dst": "::/0", "gw": "fd00:1::1"}]


@pytest.mark.row("25", "26", "30", "R26")
@pytest.mark.parametrize("version", [item for item in VERSIONS if item not in OLDEST])
def test_later_versions_have_interfaces_addresses_and_routes(version: str) -> None:
    """``version`` in addresses until 0.4.0, ``mtu`` in interfaces from 1.1.0 on."""
    body = _encoded(version)

    assert [item["name"] for item in body["interfaces"]] == ["overlay0", "ovl0123456789ab", "eth0"]
    assert [item["sandbox"] for item in body["interfaces"]] == ["", "", "/run/netns/x"]
    assert all(("mtu" in item) == (version == "1.1.0") for item in body["interfaces"])
    assert [item.get("version") for item in body["ips"]] == (
        ["4", "6"] if version.startswith("0.") else [None, None]
    )
    assert all(body["interfaces"][item["interface"]]["name"] == "eth0" for item in body["ips"])
    assert body["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.5.1.1"},
        {"dst": "::/0", "gw": "fd00:1::1"},
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_one_family_alone_is_complete(version: str) -> None:
    """Nothing of the family that is off appears."""
    body = encode_result(Result(RESULT.interfaces, (V6,), (ROUTE_6,)), version)
    assert b"10.5.1" not in body
    assert b"fd00:1::2/64" in body


@pytest.mark.row("3", "R23")
def test_an_error_has_code_message_and_hint() -> None:
    """Runtimes print ``msg; details``."""
    body = json.loads(encode_error(BadConfig("mtu is 9", hint="set mtu"), "0.4.0"))
    assert body == {"cniVersion": "0.4.0", "code": 7, "msg": "mtu is 9", "details": "set mtu"}
