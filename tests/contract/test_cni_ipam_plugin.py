"""Our allocator under Debian's own plugins: bridge, macvlan and ptp name us in ``ipam.type``."""

from pathlib import Path
from typing import Any

import pytest

from cni.ipam import LINKLESS
from tests.contract.cni_node import NOTHING, Node, shown
from tests.contract.executable import Exec
from tests.contract.spaces import ip

pytestmark = pytest.mark.contract

ROUTES = [{"dst": "0.0.0.0/0"}]
KINDS: dict[str, dict[str, Any]] = {
    "bridge": {"bridge": "theirs0", "isGateway": False},
    "macvlan": {"master": "under0", "mode": "bridge"},
    "ptp": {"mtu": 1400},
}


@pytest.fixture
def programs(node: Node, tmp_path: Path) -> Exec:
    """With a link for macvlan to sit on."""
    ip(node.space, "link", "add", "under0", "type", "veth", "peer", "name", "under1")
    ip(node.space, "link", "set", "under0", "up")
    return Exec.install(node, tmp_path / "bin")


def _conf(kind: str, **ipam: object) -> dict[str, Any]:
    given = {"type": "overlay", "routes": ROUTES, **ipam}
    return {"type": kind, "name": "other", **KINDS[kind], "ipam": given}


@pytest.mark.row("69", "68", "31")
@pytest.mark.parametrize("kind", KINDS)
def test_their_pods_get_our_addresses_and_give_them_back(
    programs: Exec, pod: Path, kind: str
) -> None:
    """ADD, CHECK and DEL of the real plugin; the address is in our allocator meanwhile."""
    conf, node = _conf(kind), programs.node
    added = programs.run("ADD", pod, **conf)
    assert added.code == 0, added.stdout
    assert [item["address"] for item in added.answer["ips"]] == ["10.5.1.2/24"]
    assert node.addresses() == {"10.5.1.2": f"other/c1@eth0{LINKLESS}"}
    assert [link["ifname"] for link in shown(pod, "link show")] == ["lo", "eth0"]
    assert shown(pod, "route show default")[0]["gateway"] == "10.5.1.1"
    checked = programs.run("CHECK", pod, **conf, prevResult=added.answer)
    assert (checked.code, checked.stdout) == (0, "")
    for _ in range(2):
        gone = programs.run("DEL", pod, **conf)
        assert (gone.code, gone.stdout) == (0, "")
    assert node.left() == NOTHING


@pytest.mark.row("68", "21")
def test_the_answer_is_abbreviated(node: Node, pod: Path) -> None:
    """No interfaces, no index into them, and nothing of what the asking plugin's chain did before."""
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "eth0", "sandbox": str(pod)}],
        "ips": [{"address": "192.0.2.9/24", "interface": 0}],
    }
    result = node.add(
        pod,
        cniVersion="1.0.0",
        type="bridge",
        ipam={"type": "overlay", "routes": ROUTES},
        prevResult=before,
    )
    assert result == {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.5.1.2/24", "gateway": "10.5.1.1"}],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dns": {},
    }
    assert node.links() == []


@pytest.mark.row("30", "68")
def test_the_oldest_version_as_well(node: Node, pod: Path) -> None:
    """ip4 with its routes."""
    result = node.add(
        pod, cniVersion="0.2.0", type="bridge", ipam={"type": "overlay", "routes": ROUTES}
    )
    assert result["ip4"]["routes"] == ROUTES


@pytest.mark.row("42", "45")
def test_check_as_ipam_looks_at_the_reservation_alone(node: Node, pod: Path) -> None:
    """The links are the asking plugin's."""
    conf: dict[str, Any] = {"cniVersion": "1.0.0", "type": "bridge", "ipam": {"type": "overlay"}}
    result = node.add(pod, **conf)
    assert node.call("CHECK", pod, **conf, prevResult=result) == {}
    (node.run_dir / "ipam" / "10.5.1.2").unlink()
    error = node.call("CHECK", pod, **conf, prevResult=result)
    assert "address 10.5.1.2/24 is not reserved" in error["msg"]


@pytest.mark.row("56", "61")
def test_gc_and_status_as_ipam(node: Node, pod: Path, other: Path) -> None:
    """The asking plugin forwards them; its network's, and no link of anybody."""
    conf: dict[str, Any] = {"type": "bridge", "name": "theirs", "ipam": {"type": "overlay"}}
    node.add(pod, **conf)
    node.add(other, container="c2", **conf)
    ours = node.add(other, container="c2")["ips"][0]["address"].partition("/")[0]
    assert node.call("STATUS", **conf) == {}
    valid = [{"containerID": "c1", "ifname": "eth0"}]
    assert node.call("GC", **{**conf, "cni.dev/valid-attachments": valid}) == {}
    kept = f"theirs/c1@eth0{LINKLESS}"
    assert node.addresses() == {"10.5.1.2": kept, ours: "overlay/c2@eth0"}
    assert len(node.links()) == 1


@pytest.mark.row("29", "67")
def test_a_plugin_that_fails_after_us_gives_the_address_back(programs: Exec, pod: Path) -> None:
    """bridge finds its interface in the way, after it has asked us, and sends the DEL itself."""
    ip(pod, "link", "add", "eth0", "type", "veth", "peer", "name", "x0")
    said = programs.run("ADD", pod, **_conf("bridge"))
    assert said.code != 0
    programs.run("DEL", pod, **_conf("bridge"))
    assert programs.node.left() == NOTHING
