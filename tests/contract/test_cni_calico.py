"""A Calico-style conflist as clusters have it: taken as it is, and no contradiction is passed over."""

import copy
from pathlib import Path
from typing import Any

import pytest

from tests.contract.cni_node import NOTHING, Node, shown
from tests.contract.executable import Exec
from tests.contract.spaces import inside, ip

pytestmark = pytest.mark.contract

ENDPOINTS = "https://192.0.2.1:2379,https://192.0.2.2:2379"
CONFLIST: dict[str, Any] = {
    "name": "k8s-pod-network",
    "cniVersion": "0.3.1",
    "plugins": [
        {
            "type": "overlay",
            "log_level": "info",
            "log_file_path": "/var/log/calico/cni/cni.log",
            "etcd_endpoints": ENDPOINTS,
            "etcd_key_file": "/etc/cni/net.d/calico-tls/etcd-key",
            "etcd_cert_file": "/etc/cni/net.d/calico-tls/etcd-cert",
            "etcd_ca_cert_file": "/etc/cni/net.d/calico-tls/etcd-ca",
            "mtu": 1440,
            "ipam": {"type": "calico-ipam", "assign_ipv4": "true"},
            "policy": {"type": "k8s"},
            "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
        },
        {"type": "portmap", "snat": True, "capabilities": {"portMappings": True}},
    ],
}
AGENT = {
    "nodename": "n1",
    "etcd_endpoints": "https://192.0.2.2:2379, https://192.0.2.1:2379/",
    "etcd_key_file": "/etc/cni/net.d/calico-tls/etcd-key",
    "etcd_cert_file": "/etc/cni/net.d/calico-tls/etcd-cert",
    "etcd_ca_cert_file": "/etc/cni/net.d/calico-tls/etcd-ca",
}


def _plugin(place: int, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """One plugin's configuration as libcni derives it."""
    given = copy.deepcopy(CONFLIST["plugins"][place])
    return {"name": CONFLIST["name"], "cniVersion": CONFLIST["cniVersion"], **given, **more}


@pytest.fixture
def calico(node: Node) -> Node:
    """The agent uses the same etcd."""
    node.publish(mtu=1450, agent_wide=AGENT)
    return node


@pytest.mark.row("13", "15", "75", "76")
def test_the_whole_chain_attaches_a_pod_and_takes_it_down(
    calico: Node, pod: Path, tmp_path: Path
) -> None:
    """Our executable, then Debian's portmap with a port; MTU 1440 as asked; DEL in reverse order."""
    programs = Exec.install(calico, tmp_path / "bin")
    ports = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    ours = programs.run("ADD", pod, **_plugin(0))
    assert ours.code == 0, ours.stdout
    assert ours.answer["ips"][0]["version"] == "4"
    chained = programs.run("ADD", pod, **_plugin(1, runtimeConfig=ports, prevResult=ours.answer))
    assert chained.code == 0, chained.stdout
    names = [[item["name"] for item in said.answer["interfaces"]] for said in (ours, chained)]
    assert names[0] == names[1]
    assert shown(pod, "link show dev eth0")[0]["mtu"] == 1440
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
    for place in (1, 0):
        gone = programs.run("DEL", pod, **_plugin(place, runtimeConfig=ports))
        assert (gone.code, gone.stdout) == (0, "")
    assert calico.left() == NOTHING


@pytest.mark.row("75")
def test_a_plugin_before_us_in_the_chain(calico: Node, pod: Path, tmp_path: Path) -> None:
    """Debian's ptp makes another interface first; both are in the answer, and both go."""
    programs = Exec.install(calico, tmp_path / "bin")
    ipam = {"type": "static", "addresses": [{"address": "192.0.2.9/24", "gateway": "192.0.2.1"}]}
    first = _plugin(0, type="ptp", ipam=ipam)
    before = programs.run("ADD", pod, environ={"CNI_IFNAME": "net1"}, **first)
    assert before.code == 0, before.stdout
    both = programs.run("ADD", pod, **_plugin(0, prevResult=before.answer))
    assert [item["name"] for item in both.answer["interfaces"]][1::3] == ["net1", "eth0"]
    assert programs.run("DEL", pod, **_plugin(0)).code == 0
    assert "net1" in ip(pod, "link")
    assert programs.run("DEL", pod, environ={"CNI_IFNAME": "net1"}, **first).code == 0


CONTRADICTIONS = {
    "mtu": (1500, "1450"),
    "etcd_endpoints": ("https://192.0.2.9:2379", AGENT["etcd_endpoints"]),
    "etcd_key_file": ("/other", AGENT["etcd_key_file"]),
    "etcd_cert_file": ("/other", AGENT["etcd_cert_file"]),
    "etcd_ca_cert_file": ("/other", AGENT["etcd_ca_cert_file"]),
    "nodename": ("n2", "n1"),
    "bridge": ("cni0", "overlay0"),
    "policy": ({"type": "network-policies"}, "k8s"),
    "datastore_type": ("kubernetes", "etcdv3"),
    "log_level": ("loud", "debug, info"),
}


@pytest.mark.row("70", "8", "15")
@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_a_contradiction_is_code_7_and_names_both(calico: Node, pod: Path, key: str) -> None:
    """What the conflist says, and what the agent does."""
    value, agents = CONTRADICTIONS[key]
    error = calico.call("ADD", pod, **_plugin(0, **{key: value}))
    said = value["type"] if isinstance(value, dict) else str(value)
    assert (error["code"], key in error["msg"]) == (7, True), error
    assert said in error["msg"]
    assert agents in error["msg"]
    assert calico.left() == NOTHING


@pytest.mark.row("70")
def test_an_agent_that_has_no_such_setting_says_so(node: Node, pod: Path) -> None:
    """A conflist with certificates beside an agent without any."""
    error = node.call("ADD", pod, **_plugin(0))
    assert (error["code"], "not set in the agent's" in error["msg"]) == (7, True)


@pytest.mark.row("R5", "36")
def test_del_minds_no_contradiction(calico: Node, pod: Path) -> None:
    """The agent's settings have changed since the ADD."""
    calico.add(pod, **_plugin(0))
    calico.publish(mtu=1450)
    assert calico.call("DEL", pod, **_plugin(0)) == {}
    assert calico.left() == NOTHING
