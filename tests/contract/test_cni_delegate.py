"""Other IPAM plugins under ours: Debian's host-local and static, as runtimes have them, and some that misbehave."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from cni import collect, delegate, main
from cni.netconf import VERSIONS
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.cni_node import ARGS, NOTHING, PLUGINS, Node
from tests.contract.plugins import asked, plugin, verbs
from tests.contract.spaces import inside

pytestmark = pytest.mark.contract

V = "1.0.0"
"""The newest that Debian 12's plugins speak."""
GOOD = {
    "cniVersion": V,
    "ips": [{"address": "10.5.1.40/24", "gateway": "10.5.1.1"}],
    "routes": [{"dst": "0.0.0.0/0"}],
    "dns": {"nameservers": ["10.96.0.10"]},
}


def _host_local(tmp_path: Path, **more: object) -> dict[str, Any]:
    return {"type": "host-local", "dataDir": str(tmp_path / "data"), **more}


def _theirs(tmp_path: Path) -> list[str]:
    room = tmp_path / "data" / "overlay"
    return sorted(path.name for path in room.glob("10.*"))


def _path(*directories: Path | str) -> dict[str, str]:
    return {"CNI_PATH": ":".join(str(item) for item in directories)}


@pytest.mark.row("15", "65", "31", "37")
@pytest.mark.parametrize("version", [item for item in VERSIONS if item != "1.1.0"])
def test_host_local_gives_addresses_of_the_nodes_subnet(
    node: Node, pod: Path, tmp_path: Path, version: str
) -> None:
    """usePodCidr is Calico's word for it; both allocators know of the address, and of its end."""
    ipam = _host_local(tmp_path, subnet="usePodCidr")
    node.add(pod, cniVersion=version, ipam=ipam)
    assert _theirs(tmp_path) == list(node.addresses()) == ["10.5.1.2"]
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
    assert node.call("DEL", pod, cniVersion=version, ipam=ipam) == {}
    assert (node.left(), _theirs(tmp_path)) == (NOTHING, [])


@pytest.mark.row("44", "45")
def test_check_asks_it_too(node: Node, pod: Path, tmp_path: Path) -> None:
    """And its error comes through: host-local has lost the address."""
    ipam = _host_local(tmp_path, ranges=[[{"subnet": "usePodCidr"}]])
    result = node.add(pod, cniVersion=V, ipam=ipam)
    assert node.call("CHECK", pod, cniVersion=V, ipam=ipam, prevResult=result) == {}
    (tmp_path / "data" / "overlay" / "10.5.1.2").unlink()
    error = node.call("CHECK", pod, cniVersion=V, ipam=ipam, prevResult=result)
    assert "ipam plugin host-local" in error["msg"]


@pytest.mark.row("72", "15")
def test_static_gives_what_it_is_told(node: Node, pod: Path) -> None:
    """By the configuration, with its routes and DNS."""
    ipam = {
        "type": "static",
        "addresses": [{"address": "10.5.1.33/24", "gateway": "10.5.1.1"}],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.5.1.9"}],
        "dns": {"nameservers": ["10.96.0.10"]},
    }
    result = node.add(pod, cniVersion=V, ipam=ipam)
    assert result["ips"] == [{"address": "10.5.1.33/24", "gateway": "10.5.1.1", "interface": 2}]
    assert {"dst": "192.0.2.0/24", "gw": "10.5.1.9"} in result["routes"]
    assert result["dns"] == {"nameservers": ["10.96.0.10"]}
    assert node.call("DEL", pod, cniVersion=V, ipam=ipam) == {}
    assert node.left() == NOTHING


@pytest.mark.row("37", "R5")
def test_ranges_of_the_runtime_are_there_at_a_del_by_the_journal(
    node: Node, tmp_path: Path
) -> None:
    """The configuration has changed, the namespace and the interface are gone, CNI_PATH is empty."""
    ranges = [[{"subnet": "10.5.1.0/24", "rangeStart": "10.5.1.100"}]]
    with spaces.namespace() as pod:
        node.add(pod, cniVersion=V, ipam=_host_local(tmp_path), runtimeConfig={"ipRanges": ranges})
    assert _theirs(tmp_path) == ["10.5.1.100"]
    node.settle(0)
    assert node.call("DEL", "", environ={"CNI_PATH": ""}) == {}
    assert (node.left(), _theirs(tmp_path)) == (NOTHING, [])


@pytest.mark.row("37", "34", "R10")
@pytest.mark.parametrize("page", [True, False])
def test_without_a_record_the_configuration_says_whom_to_tell(
    node: Node, pod: Path, tmp_path: Path, page: bool
) -> None:
    """After a reboot the run directory is empty, and host-local's own files are not."""
    ipam = _host_local(tmp_path, subnet="usePodCidr")
    node.add(pod, cniVersion=V, ipam=ipam)
    shutil.rmtree(node.run_dir)
    if page:
        node.publish(mtu=1450)
    assert node.call("DEL", pod, cniVersion=V, ipam=ipam) == {}
    assert (node.left(), _theirs(tmp_path)) == (NOTHING, [])


USELESS: dict[str, tuple[object, int, str]] = {
    "elsewhere": (
        {**GOOD, "ips": [{"address": "10.9.0.7/24"}]},
        7,
        "which no other node could reach",
    ),
    "none": ({**GOOD, "ips": []}, 7, "gave no address"),
    "gateway": ({**GOOD, "ips": [{"address": "10.5.1.1/24"}]}, 100, "10.5.1.1 cannot be a pod's"),
    "no list": ({**GOOD, "ips": 5}, 7, "ipam plugin odd.ips is 5"),
    "version": ({**GOOD, "cniVersion": "8"}, 7, "ipam plugin odd.cniVersion"),
    "text": ("no JSON", 100, "printed what is no JSON object"),
    "array": ("[1]", 100, "printed what is no JSON object"),
    "silence": ("", 7, "gave no address"),
}


@pytest.mark.row("29", "67")
@pytest.mark.parametrize("case", USELESS)
def test_an_answer_of_no_use_is_given_back(
    node: Node, pod: Path, tmp_path: Path, case: str
) -> None:
    """Refused with the reason, the plugin is told by a DEL, and nothing of ours is left."""
    answer, code, words = USELESS[case]
    odd = plugin(tmp_path / "bin", "odd", answer=answer)
    error = node.call(
        "ADD", pod, cniVersion=V, ipam={"type": "odd"}, environ=_path(odd.parent, PLUGINS)
    )
    assert (error["code"], words in error["msg"]) == (code, True), error
    assert verbs(odd) == ["ADD", "DEL"]
    assert node.left() == NOTHING


@pytest.mark.row("67", "29", "R23")
def test_a_refusal_is_passed_on_in_its_own_words(node: Node, pod: Path, tmp_path: Path) -> None:
    """Code and text; then a DEL, even though its ADD failed."""
    fussy = plugin(tmp_path, "fussy", fails={"ADD": (123, "pool is empty"), "DEL": (5, "worse")})
    error = node.call("ADD", pod, ipam={"type": "fussy"}, environ=_path(tmp_path))
    assert (error["code"], error["msg"]) == (123, "ipam plugin fussy: pool is empty")
    assert verbs(fussy) == ["ADD", "DEL"]
    assert node.left() == NOTHING


@pytest.mark.row("42", "29")
def test_an_address_that_is_ours_already_is_refused(
    node: Node, pod: Path, other: Path, tmp_path: Path
) -> None:
    """Two allocators, one subnet: the second claim loses, whoever makes it."""
    node.add(other, container="c2", runtimeConfig={"ips": ["10.5.1.40"]})
    good = plugin(tmp_path, "good", answer=GOOD)
    error = node.call("ADD", pod, ipam={"type": "good"}, environ=_path(tmp_path))
    assert "10.5.1.40 is held by overlay/c2@eth0" in error["msg"]
    assert verbs(good) == ["ADD", "DEL"]
    node.call("DEL", other, container="c2")
    node.add(pod, ipam={"type": "good"}, environ=_path(tmp_path))
    wanted: dict[str, Any] = {"runtimeConfig": {"ips": ["10.5.1.40"]}}
    assert "held by overlay/c1@eth0" in node.call("ADD", other, container="c2", **wanted)["msg"]


@pytest.mark.row("65", "66", "R27")
def test_it_gets_our_environment_and_the_whole_configuration(
    node: Node,
    pod: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Variables of ours that may hold secrets excepted; its stderr is ours."""
    monkeypatch.setenv("NOTICE", "seen")
    monkeypatch.setenv("OVERLAY_ETCD_PASSWORD", "secret")
    good = plugin(tmp_path / "second", "good", answer=GOOD)
    (tmp_path / "first" / "good").mkdir(parents=True)  # a directory is no program
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    environ = {**_path("relative", tmp_path / "first", good.parent), "TRACEPARENT": trace}
    node.add(pod, ipam={"type": "good", "x": [1]}, vendor={"a": 1}, environ=environ)
    (call,) = asked(good)
    expected = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": str(pod),
        "CNI_ARGS": ARGS,
        "CNI_PATH": environ["CNI_PATH"],
        "TRACEPARENT": trace,
        "NOTICE": "seen",
    }
    assert {key: call["environ"].get(key) for key in expected} == expected
    assert not [key for key in call["environ"] if key.startswith("OVERLAY_")]
    assert call["stdin"]["vendor"] == {"a": 1}
    assert call["stdin"]["ipam"] == {"type": "good", "x": [1]}
    assert "good was asked for ADD" in capfd.readouterr().err


@pytest.mark.row("70", "72")
def test_a_wish_that_another_plugin_does_not_meet_is_refused(
    node: Node, pod: Path, tmp_path: Path
) -> None:
    """It may not even have looked; host-local has, and gives it."""
    good = plugin(tmp_path / "bin", "good", answer=GOOD)
    wish: dict[str, Any] = {"runtimeConfig": {"ips": ["10.5.1.50"]}, "cniVersion": V}
    error = node.call("ADD", pod, ipam={"type": "good"}, environ=_path(good.parent), **wish)
    assert "asks for 10.5.1.50, the ipam plugin gave 10.5.1.40" in error["msg"]
    assert (verbs(good), node.left()) == (["ADD", "DEL"], NOTHING)
    result = node.add(pod, ipam=_host_local(tmp_path, subnet="usePodCidr"), **wish)
    assert result["ips"][0]["address"] == "10.5.1.50/24"


@pytest.mark.row("11", "65")
def test_a_program_that_is_not_there_says_where_it_was_looked_for(
    node: Node, pod: Path, tmp_path: Path
) -> None:
    """Code 11: somebody may be about to install it. A path in its name is refused outright."""
    error = node.call("ADD", pod, ipam={"type": "absent"}, environ=_path(tmp_path))
    assert (error["code"], str(tmp_path) in error["msg"]) == (11, True)
    error = node.call("ADD", pod, ipam={"type": "../absent"}, environ=_path(tmp_path))
    assert (error["code"], "ipam.type" in error["msg"]) == (7, True)
    assert node.left() == NOTHING


@pytest.mark.row("55", "R14")
def test_one_that_hangs_is_ended_and_named(node: Node, pod: Path, tmp_path: Path) -> None:
    """The request's own deadline counts; the DEL of the undo is tried, and nothing is left."""
    plugin(tmp_path, "slow", hangs=("ADD",))
    error = node.call(
        "ADD", pod, ipam={"type": "slow"}, environ=_path(tmp_path), steps=Steps(limit_s=2.0)
    )
    assert (error["code"], "ipam plugin slow has not answered ADD" in error["msg"]) == (11, True)
    assert node.left() == NOTHING
    assert delegate.LONGEST_STATUS_S < 10


@pytest.mark.row("59", "58", "60")
def test_gc_is_forwarded_whatever_happened_before(node: Node, pod: Path, tmp_path: Path) -> None:
    """With the list as it came, and without one; its error does not hide ours."""
    good = plugin(tmp_path, "good", answer=GOOD)
    conf: dict[str, Any] = {"ipam": {"type": "good"}, "environ": _path(tmp_path)}
    node.add(pod, **conf)
    assert node.call("GC", **conf) == {}
    assert node.call("GC", **{**conf, "cni.dev/valid-attachments": []}) == {}
    assert verbs(good) == ["ADD", "GC", "GC"]
    assert asked(good)[-1]["stdin"]["cni.dev/valid-attachments"] == []
    spaces.ip(node.space, "link", "set", node.links()[0], "alias", "somebody:else")
    valid = [{"containerID": "zz", "ifname": "eth0"}]
    error = node.call("GC", **{**conf, "cni.dev/attachments": valid})
    assert "1 leftovers stay" in error["msg"]
    assert verbs(good)[-1] == "GC"


@pytest.mark.row("56", "37")
def test_the_addresses_of_the_dead_are_given_back_to_whoever_gave_them(
    node: Node, tmp_path: Path
) -> None:
    """By GC, long after the configuration named another plugin."""
    ipam = _host_local(tmp_path, subnet="usePodCidr")
    with spaces.namespace() as pod:
        node.add(pod, cniVersion=V, ipam=ipam)
    none: dict[str, Any] = {"cni.dev/valid-attachments": None}
    assert node.call("GC", **none) == {}
    assert (_theirs(tmp_path), node.left()[1]) == ([], [])


@pytest.mark.row("65")
def test_the_agent_hands_back_what_means_to_start_a_program(
    node: Node, pod: Path, tmp_path: Path
) -> None:
    """Each verb of such an attachment, by the configuration or by the record; others are served."""
    ipam = _host_local(tmp_path, subnet="usePodCidr")
    node.add(pod, cniVersion=V, ipam=ipam)

    def code(verb: str, **config: object) -> int:
        environ = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_IFNAME": "eth0",
            "CNI_NETNS": str(pod),
        }
        stdin = json.dumps({"cniVersion": V, "name": "overlay", "type": "overlay", **config})
        return main.run(environ, stdin.encode(), node.run_dir, alone=False)[0]

    def codes() -> list[int]:
        foreign = [code(verb, ipam=ipam) for verb in ("ADD", "DEL", "CHECK", "STATUS", "GC")]
        return [*foreign, code("DEL"), code("GC"), code("VERSION"), code("VERSION", ipam=ipam)]

    assert run_inside(node.space, codes) == [main.FULL] * 7 + [0, 0]
    assert _theirs(tmp_path) == ["10.5.1.2"]
    assert run_inside(node.space, lambda: collect.survey(node.run_dir)) == []
