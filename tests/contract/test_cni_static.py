"""Wishes of a pod on a real kernel: the address and the MAC it asks for, or the reason why not."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.cni_node import ARGS, NOTHING, Node, shown

pytestmark = pytest.mark.contract


def _runtime(key: str, value: object) -> dict[str, Any]:
    return {"runtimeConfig": {key: value}}


def _has(pod: Path) -> tuple[list[str], str]:
    (link,) = shown(pod, "address show dev eth0")
    addresses = [f"{item['local']}/{item['prefixlen']}" for item in link["addr_info"]]
    return [text for text in addresses if not text.startswith("fe80")], link["address"]


@pytest.mark.row("71", "74", "R21", "14")
@pytest.mark.parametrize("key", ["ips", "IPs", "Ips"])
@pytest.mark.parametrize("text", ["10.5.1.77", "10.5.1.77/24", "10.5.1.77/32"])
def test_a_static_address_is_what_the_pod_gets(node: Node, pod: Path, key: str, text: str) -> None:
    """With a prefix length or without, in any spelling of the key; the MAC follows from it."""
    result = node.add(pod, **_runtime(key, [text]))
    assert [item["address"] for item in result["ips"]] == ["10.5.1.77/24"]
    assert _has(pod) == (["10.5.1.77/24"], "0a:58:0a:05:01:4d")


@pytest.mark.row("71")
def test_a_static_mac_is_what_the_pod_gets(node: Node, pod: Path) -> None:
    """And what the result says; CHECK agrees."""
    result = node.add(pod, **_runtime("Mac", "0A-58-00-00-00-2A"))
    assert _has(pod)[1] == result["interfaces"][2]["mac"] == "0a:58:00:00:00:2a"
    assert node.call("CHECK", pod, prevResult=result) == {}


@pytest.mark.row("71", "74")
def test_one_address_of_each_family(dual: Node, pod: Path) -> None:
    """Both are honoured."""
    wanted = ["fd00:5:0:1::77", "10.5.1.77"]
    dual.add(pod, **_runtime("ips", wanted))
    assert _has(pod)[0] == ["10.5.1.77/24", "fd00:5:0:1::77/64"]


@pytest.mark.row("72", "R20")
@pytest.mark.parametrize(
    ("runtime", "args", "expected"),
    [
        (["10.5.1.50"], ["10.5.1.60"], "10.5.1.50/24"),
        (None, ["10.5.1.60"], "10.5.1.60/24"),
        (None, None, "10.5.1.70/24"),
    ],
)
def test_the_more_specific_wish_wins(
    node: Node,
    pod: Path,
    runtime: list[str] | None,
    args: list[str] | None,
    expected: str,
) -> None:
    """runtimeConfig over args.cni over CNI_ARGS, on the kernel."""
    config: dict[str, Any] = _runtime("ips", runtime) if runtime else {}
    if args:
        config["args"] = {"cni": {"ips": args, "unknown": {}}, "other": 5}
    node.add(pod, environ={"CNI_ARGS": f"{ARGS};IP=10.5.1.70"}, **config)
    assert _has(pod)[0] == [expected]


REFUSED = {
    "outside": ("ips", ["10.9.1.5"], 7, "outside of this node's subnet 10.5.1.0/24"),
    "gateway": ("ips", ["10.5.1.1"], 100, "10.5.1.1 cannot be a pod's"),
    "network": ("ips", ["10.5.1.0"], 100, "10.5.1.0 cannot be a pod's"),
    "broadcast": ("ips", ["10.5.1.255"], 100, "10.5.1.255 cannot be a pod's"),
    "two": ("ips", ["10.5.1.7", "10.5.1.8"], 7, "asks for 10.5.1.7 and 10.5.1.8: one per family"),
    "malformed": ("ips", ["10.5.1"], 7, "'10.5.1' is not an address"),
    "no list": ("ips", "10.5.1.7", 7, "runtimeConfig.ips is '10.5.1.7'"),
    "length": ("ips", ["10.5.1.7/16"], 7, "the subnet is 10.5.1.0/24"),
    "family": ("ips", ["fd00::5"], 7, "this node has no IPv6 subnet"),
    "multicast MAC": ("mac", "01:00:5e:00:00:01", 7, "is no address of one interface"),
    "zero MAC": ("mac", "00:00:00:00:00:00", 7, "is no address of one interface"),
    "bad MAC": ("mac", "0a:58:0a", 7, "'0a:58:0a' is not a MAC"),
    "ranges": ("ipRanges", [[{"subnet": "10.9.0.0/24"}]], 7, "10.9.0.0/24"),
    "bad ranges": ("ipRanges", [{"subnet": 5}], 7, "must be lists of subnets"),
    "device": ("deviceID", "0000:3b:00.1", 2, "runtimeConfig.deviceid = '0000:3b:00.1'"),
    "guid": ("infinibandGUID", "c2:11", 2, "runtimeConfig.infinibandguid = 'c2:11'"),
    "dns": ("dns", {"Servers": "10.96.0.10"}, 7, "runtimeConfig.dns.servers"),
    "ports": ("portMappings", {"hostPort": 80}, 7, "runtimeConfig.portmappings"),
}


@pytest.mark.row("6", "70", "71")
@pytest.mark.parametrize("case", REFUSED)
def test_a_wish_that_cannot_be_met_is_refused_with_the_reason(
    node: Node, pod: Path, case: str
) -> None:
    """Never dropped: and nothing is left behind."""
    key, value, code, words = REFUSED[case]
    error = node.call("ADD", pod, **_runtime(key, value))
    assert error["code"] == code, error
    assert words in error["msg"]
    assert node.left() == NOTHING


@pytest.mark.row("70")
def test_an_address_that_is_held_is_refused_with_its_holder(
    node: Node, pod: Path, other: Path
) -> None:
    """The first pod keeps it; after its DEL the other may have it."""
    node.add(pod, **_runtime("ips", ["10.5.1.9"]))
    error = node.call("ADD", other, container="c2", **_runtime("ips", ["10.5.1.9"]))
    assert "10.5.1.9 is held by overlay/c1@eth0" in error["msg"]
    node.call("DEL", pod)
    node.add(other, container="c2", **_runtime("ips", ["10.5.1.9"]))


@pytest.mark.row("7", "72")
@pytest.mark.parametrize("args", ["IP=10.9.9.9", "IP=x", "MAC=x", "MAC=01:00:00:00:00:00"])
def test_a_wish_by_cni_args_that_cannot_be_met_is_code_4(node: Node, pod: Path, args: str) -> None:
    """It is a variable that is wrong."""
    error = node.call("ADD", pod, environ={"CNI_ARGS": f"IgnoreUnknown=1;{args}"})
    assert (error["code"], "CNI_ARGS" in error["msg"]) == (4, True)
    assert node.left() == NOTHING


@pytest.mark.row("71", "R21", "R22")
def test_what_chained_plugins_serve_is_no_error(node: Node, pod: Path) -> None:
    """Capabilities declared on our own plugin, in containerd's spelling and in the conventions'."""
    names = (
        "portMappings",
        "bandwidth",
        "aliases",
        "cgroupPath",
        "io.kubernetes.cri.pod-annotations",
    )
    node.add(
        pod,
        capabilities=dict.fromkeys([*names, "dns", "ips", "mac", "ipRanges", "deviceID"], True),
        runtimeConfig={
            "portMappings": [
                {"HostPort": 8080, "ContainerPort": 80, "Protocol": "tcp", "HostIP": ""}
            ],
            "PortMappings": None,
            "bandwidth": {"IngressRate": 1 << 20, "IngressBurst": (1 << 32) - 1},
            "aliases": {"overlay": ["web"]},
            "cgroupPath": "/kubepods/x",
            "io.kubernetes.cri.pod-annotations": {"a": "x" * 200_000},
            "ips": [],
            "mac": "",
            "ipRanges": [[{"Subnet": "10.5.1.0/24"}]],
            "deviceID": "",
            "dns": {},
        },
    )


@pytest.mark.row("15", "27", "R21")
def test_dns_of_the_runtime_goes_before_that_of_the_configuration(node: Node, pod: Path) -> None:
    """Key by key, in containerd's spelling."""
    result = node.add(
        pod,
        dns={"nameservers": ["10.0.0.1"], "domain": "x.example", "search": ["a.example"]},
        runtimeConfig={
            "DNS": {"Servers": ["10.96.0.10"], "Searches": None, "Options": ["ndots:5"]}
        },
    )
    assert result["dns"] == {
        "nameservers": ["10.96.0.10"],
        "domain": "x.example",
        "search": ["a.example"],
        "options": ["ndots:5"],
    }
