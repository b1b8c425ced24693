"""CHECK on a real kernel: silent right after ADD, and later exactly what differs, no more."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract.cni_node import OWNER, Node
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract

WITH_CHECK = ("0.4.0", "1.0.0", "1.1.0")
HOST = OWNER.host_link


def _check(node: Node, pod: Path, result: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401
    version = more.pop("cniVersion", None) or result["cniVersion"]
    return node.call("CHECK", pod, cniVersion=version, prevResult=result, **more)


def _faults(answer: dict[str, Any]) -> list[str]:
    assert answer["code"] == 101, answer
    return str(answer["msg"]).partition(": ")[2].split("; ")


@pytest.mark.row("39", "44", "46", "47")
@pytest.mark.parametrize("version", WITH_CHECK)
def test_right_after_add_nothing_differs_and_nothing_is_printed(
    dual: Node, pod: Path, version: str
) -> None:
    """For each version that has CHECK; twice, since a look must change nothing."""
    result = dual.add(pod, cniVersion=version)
    assert _check(dual, pod, result) == {}
    assert _check(dual, pod, result) == {}


@pytest.mark.row("46", "R9")
@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1"])
def test_before_0_4_0_there_is_no_check(node: Node, pod: Path, version: str) -> None:
    """Code 1, as the version is what does not fit."""
    result = node.add(pod, cniVersion=version)
    error = _check(node, pod, result)
    assert (error["code"], version in error["msg"]) == (1, True)


@pytest.mark.row("39")
def test_without_what_add_answered_there_is_nothing_to_compare_with(node: Node, pod: Path) -> None:
    """Code 7 and the key."""
    node.add(pod)
    error = node.call("CHECK", pod)
    assert (error["code"], "prevResult is missing" in error["msg"]) == (7, True)


PLANTED = {
    "link gone": (
        "pod",
        "link del eth0",  # and with it the other end
        [f"the host's end {HOST} is gone", "interface eth0 is gone from the pod"],
    ),
    "link down": (
        "pod",
        "link set eth0 down",
        ["interface eth0 is down", "the route to 0.0.0.0/0 is gone"],
    ),
    "MAC": (
        "pod",
        "link set eth0 address 0a:58:00:00:00:09",
        ["interface eth0 has MAC 0a:58:00:00:00:09 instead of 0a:58:0a:05:01:02"],
    ),
    "larger MTU": (
        "pod",
        "link set eth0 mtu 1500",
        ["interface eth0 has MTU 1500, 1450 is the most that fits"],
    ),
    "address gone": (
        "pod",
        "addr flush dev eth0",
        ["address 10.5.1.2/24 is gone from eth0", "the route to 0.0.0.0/0 is gone"],
    ),
    "route gone": ("pod", "route del default", ["the route to 0.0.0.0/0 is gone"]),
    "host end gone": (
        "host",
        f"link del {HOST}",
        [f"the host's end {HOST} is gone", "interface eth0 is gone from the pod"],
    ),
    "host end down": ("host", f"link set {HOST} down", [f"the host's end {HOST} is down"]),
    "not in the bridge": (
        "host",
        f"link set {HOST} nomaster",
        [f"the host's end {HOST} is not in bridge overlay0"],
    ),
    "another's mark": (
        "host",
        f"link set {HOST} alias somebody:else",
        [f"the host's end {HOST} bears another mark: 'somebody:else'"],
    ),
    "bridge address gone": (
        "host",
        "addr flush dev overlay0",
        ["bridge overlay0 has lost its address 10.5.1.1"],
    ),
    "nft table gone": ("nft", "delete table inet overlay", ["nft table inet overlay is gone"]),
    "bridge down": ("host", "link set overlay0 down", ["bridge overlay0 is down"]),
}


@pytest.mark.row("41", "42", "43", "R17")
@pytest.mark.parametrize("planted", PLANTED)
def test_each_difference_is_named_and_no_other(node: Node, pod: Path, planted: str) -> None:
    """One thing is bent, and that is what the operator reads."""
    result = node.add(pod)
    where, words, expected = PLANTED[planted]
    if where == "nft":
        inside(node.space, "nft", words)
    else:
        ip(pod if where == "pod" else node.space, *words.split())
    assert _faults(_check(node, pod, result)) == expected


@pytest.mark.row("41")
def test_several_differences_are_all_said(node: Node, pod: Path) -> None:
    """One call is enough to know everything."""
    result = node.add(pod)
    ip(pod, *["link", "set", "eth0", "mtu", "1500"])
    ip(node.space, *f"link set {HOST} nomaster".split())
    assert len(_faults(_check(node, pod, result))) == 2


@pytest.mark.row("42")
def test_an_allocation_that_is_gone_or_anothers_is_named(node: Node, pod: Path) -> None:
    """The kernel is all right; what keeps the address from others is not."""
    result = node.add(pod)
    held = node.run_dir / "ipam" / "10.5.1.2"
    held.unlink()
    assert _faults(_check(node, pod, result)) == ["address 10.5.1.2/24 is not reserved"]
    held.symlink_to("overlay/c9@eth0")
    assert _faults(_check(node, pod, result)) == [
        "address 10.5.1.2/24 is reserved for overlay/c9@eth0"
    ]


@pytest.mark.row("42")
@pytest.mark.parametrize("torn", [False, True])
def test_a_record_that_is_gone_is_named(node: Node, pod: Path, torn: bool) -> None:
    """Or cannot be read, which is the same."""
    result = node.add(pod)
    path = node.run_dir / "attachments" / f"{OWNER.place}.json"
    path.write_text("{") if torn else path.unlink()
    assert _faults(_check(node, pod, result)) == ["this node has no record of the attachment"]


@pytest.mark.row("39")
def test_what_another_attachment_got_is_no_answer_of_ours(
    node: Node, pod: Path, other: Path
) -> None:
    """A foreign prevResult is told from a pod that lost something."""
    node.add(pod)
    foreign = node.add(other, container="c2")
    assert _faults(_check(node, pod, foreign)) == [
        "prevResult has lost address 10.5.1.2/24",
        f"prevResult has no interface eth0 in {pod}",
    ]


@pytest.mark.row("40")
def test_what_chained_plugins_change_is_no_difference(dual: Node, pod: Path) -> None:
    """A smaller MTU, routes in another table, another MAC that prevResult knows, a further address."""
    result = dual.add(pod)
    for words in (
        "link set eth0 mtu 1400",
        "route del default",
        "route add default via 10.5.1.1 dev eth0 table 100",
        "addr add 192.0.2.9/32 dev eth0",
        "link set eth0 address 0a:58:00:00:00:09",
    ):
        ip(pod, *words.split())
    result["interfaces"][2]["mac"] = "0A:58:00:00:00:09"
    result["ips"].append({"address": "192.0.2.9/32", "interface": 2})
    assert _check(dual, pod, result) == {}


@pytest.mark.row("77")
def test_a_prev_result_of_an_older_version_is_read_by_its_own(node: Node, pod: Path) -> None:
    """And one that states none is of the configuration's."""
    older = node.add(pod, cniVersion="0.4.0")
    assert _check(node, pod, older, cniVersion="1.1.0") == {}
    del older["cniVersion"]
    assert _check(node, pod, older, cniVersion="1.0.0") == {}


@pytest.mark.row("39")
@pytest.mark.parametrize(
    "bad", [{"ips": [{"address": "x"}]}, {"ips": 1}, {"cniVersion": "9"}, {"routes": [{"dst": 5}]}]
)
def test_a_prev_result_that_is_none_is_code_7(node: Node, pod: Path, bad: dict[str, Any]) -> None:
    """With its key."""
    result = node.add(pod)
    error = node.call("CHECK", pod, prevResult={**result, **bad})
    assert (error["code"], "prevResult" in error["msg"]) == (7, True)


@pytest.mark.row("39", "47")
def test_a_namespace_that_is_gone_is_named(node: Node, pod: Path) -> None:
    """The path that the runtime gives is the one that is looked at."""
    result = node.add(pod)
    result["interfaces"][2]["sandbox"] = "/run/netns/gone"
    (fault,) = _faults(_check(node, Path("/run/netns/gone"), result))
    assert "CNI_NETNS=/run/netns/gone cannot be opened" in fault


@pytest.mark.row("44")
def test_a_pod_without_traffic_and_one_with_are_alike(node: Node, pod: Path) -> None:
    """What the kernel learns by itself is no difference."""
    result = node.add(pod)
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
    assert _check(node, pod, result) == {}
