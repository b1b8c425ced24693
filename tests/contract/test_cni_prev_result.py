"""A chain on a real kernel: what plugins before us answered comes out again, whole, in every version."""

import copy
from pathlib import Path
from typing import Any

import pytest

from cni.netconf import VERSIONS
from tests.contract.cni_node import NOTHING, Node

pytestmark = pytest.mark.contract

WITH_INTERFACES = [version for version in VERSIONS if version not in ("0.1.0", "0.2.0")]
SINCE_1_1 = ("mtu", "socketPath", "pciID")
LATER_ROUTE = ("mtu", "advmss", "priority", "table", "scope")


def _before(version: str) -> dict[str, Any]:
    """What a plugin for another interface answered, unknown keys included."""
    numbered = {"version": "4"} if version.startswith("0.") else {}
    interface = {"name": "net1", "mac": "02:00:00:00:00:09", "sandbox": "/run/netns/x", "vendor": 1}
    route: dict[str, Any] = {"dst": "192.0.2.0/24", "gw": "192.0.2.1", "vendor": [1]}
    if version == "1.1.0":
        interface |= {"mtu": 1400, "socketPath": "/x", "pciID": "0000:3b:00.1"}
        route |= {"mtu": 1300, "advmss": 1200, "priority": 5, "table": 100, "scope": 0}
    return {
        "cniVersion": version,
        "interfaces": [{"name": "br7", "mac": "02:00:00:00:00:07"}, interface],
        "ips": [
            {**numbered, "address": "192.0.2.7/24", "gateway": "192.0.2.1", "interface": 1, "v": {}}
        ],
        "routes": [route],
        "dns": {"nameservers": ["192.0.2.53"], "vendor": True},
        "vendor": {"anything": [1, 12345678901234567890123]},
    }


def _without(items: list[dict[str, Any]], keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{key: item[key] for key in item if key not in keys} for item in items]


@pytest.mark.row("22", "75", "13")
@pytest.mark.parametrize("version", WITH_INTERFACES)
def test_what_came_before_stands_first_and_unchanged(node: Node, pod: Path, version: str) -> None:
    """Ours follows, and its indexes still point at the pod's interface."""
    before = _before(version)
    result = node.add(pod, cniVersion=version, prevResult=copy.deepcopy(before))

    assert result["interfaces"][:2] == before["interfaces"]
    assert result["ips"][:1] == before["ips"]
    assert result["routes"][:1] == before["routes"]
    assert (result["dns"], result["vendor"]) == (before["dns"], before["vendor"])
    ours = result["ips"][1]
    assert (ours["address"], ours["interface"]) == ("10.5.1.2/24", 4)
    assert result["interfaces"][4]["name"] == "eth0"


@pytest.mark.row("77", "30", "26")
@pytest.mark.parametrize("stated", WITH_INTERFACES)
def test_an_older_or_newer_result_is_converted(node: Node, pod: Path, stated: str) -> None:
    """Read by the version that it states, answered in the one that is asked in."""
    before = _before(stated)
    for wanted in WITH_INTERFACES:
        result = node.add(pod, cniVersion=wanted, prevResult=copy.deepcopy(before))
        node.call("DEL", pod)
        newest = wanted == "1.1.0"
        expected = _without(before["interfaces"], () if newest else SINCE_1_1)
        assert result["interfaces"][:2] == expected
        expected = _without(before["routes"], () if newest else LATER_ROUTE)
        assert result["routes"][:1] == expected
        assert ("version" in result["ips"][0]) == wanted.startswith("0.")
        assert result["ips"][0]["address"] == "192.0.2.7/24"


@pytest.mark.row("77", "30")
@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_the_oldest_form_is_read_and_written(node: Node, pod: Path, version: str) -> None:
    """ip4 and ip6 become addresses; asked in that form, the first of a family is what fits."""
    before = {
        "cniVersion": version,
        "ip6": {"ip": "2001:db8::7/64", "routes": [{"dst": "2001:db8:1::/48"}]},
        "dns": {"nameservers": ["2001:db8::53"]},
    }
    newer = node.add(pod, cniVersion="1.0.0", prevResult=before)
    assert [ip["address"] for ip in newer["ips"]] == ["2001:db8::7/64", "10.5.1.2/24"]
    assert newer["routes"][0] == {"dst": "2001:db8:1::/48"}
    node.call("DEL", pod)
    older = node.add(pod, cniVersion=version, prevResult=before)
    assert older["ip6"] == before["ip6"]
    assert older["ip4"]["ip"] == "10.5.1.3/24"


@pytest.mark.row("77")
def test_a_result_without_a_version_is_of_the_configurations(node: Node, pod: Path) -> None:
    """As in the specification's own example."""
    before = _before("1.0.0")
    del before["cniVersion"]
    result = node.add(pod, cniVersion="1.0.0", prevResult=before)
    assert result["interfaces"][:2] == before["interfaces"]


@pytest.mark.row("22", "30")
def test_a_destination_with_host_bits_does_not_break_the_answer(node: Node, pod: Path) -> None:
    """It is another plugin's business; the pod that is attached by then must be answered for."""
    before = {"cniVersion": "1.0.0", "routes": [{"dst": "192.0.2.7/24"}]}
    result = node.add(pod, cniVersion="0.2.0", prevResult=before)
    assert {"dst": "192.0.2.7/24"} in result["ip4"]["routes"]


@pytest.mark.row("20")
def test_an_interface_of_that_name_in_the_pod_is_refused(node: Node, pod: Path) -> None:
    """The same name on the host, which Go writes without a sandbox, is no contradiction."""
    before = {"cniVersion": "1.0.0", "interfaces": [{"name": "eth0", "sandbox": str(pod)}]}
    error = node.call("ADD", pod, prevResult=before)
    assert "prevResult already has an interface eth0" in error["msg"]
    assert node.left() == NOTHING
    node.add(pod, prevResult={"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}]})


@pytest.mark.row("70")
@pytest.mark.parametrize(
    "before",
    [
        {"cniVersion": "7"},
        {"cniVersion": 5},
        {"cniVersion": "1.0.0", "ips": [{"address": "10.5.1.300/24"}]},
        {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.1/24", "interface": 3}]},
        {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.1/24", "gateway": []}]},
        {"cniVersion": "1.0.0", "interfaces": ["eth0"]},
        {"cniVersion": "1.0.0", "routes": [{"dst": None}]},
        {"cniVersion": "0.2.0", "ip4": "192.0.2.1"},
        {"cniVersion": "1.0.0", "dns": "192.0.2.53"},
    ],
)
def test_a_result_that_is_none_is_code_7_and_nothing_is_made(
    node: Node, pod: Path, before: dict[str, Any]
) -> None:
    """Better than to lose what it should have said."""
    error = node.call("ADD", pod, prevResult=before)
    assert (error["code"], "prevResult" in error["msg"]) == (7, True)
    assert node.left() == NOTHING


@pytest.mark.row("33", "R9")
@pytest.mark.parametrize("version", VERSIONS)
def test_del_needs_no_prev_result_and_minds_none(node: Node, pod: Path, version: str) -> None:
    """Before 0.4.0 there is none; later ones may be anything."""
    for given in ({}, {"prevResult": {"cniVersion": "9", "ips": 5}}, {"prevResult": "lost"}):
        node.add(pod, cniVersion=version)
        assert node.call("DEL", pod, cniVersion=version, **given) == {}
        assert node.left() == NOTHING
