"""Whole nodes: the promises an operator buys."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import CniFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG_KEY = "/coreos.com/network/config"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An etcd and no node."""
    with Lab() as made:
        made.etcd.start()
        yield made


@pytest.fixture
def pair(lab: Lab) -> tuple[Lab, Node, Node]:
    """Two nodes that are ready."""
    lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
    one, two = lab.add_node("n1"), lab.add_node("n2")
    lab.start_nodes(one, two)
    return lab, one, two


def test_two_nodes_talk_and_only_what_fits_passes(pair: tuple[Lab, Node, Node]) -> None:
    """Small and full-MTU packets pass, one byte more is refused at once."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)

    assert here.ping(there.address).ok
    assert here.ping(there.address, payload=here.largest_payload, whole=True).ok
    assert here.ping(there.address, payload=here.largest_payload + 1, whole=True).too_long
    assert here.ping(two.vtep).ok
    assert here.mtu == 1450


def test_a_killed_agents_traffic_flows_and_a_restart_changes_nothing(
    pair: tuple[Lab, Node, Node],
) -> None:
    """The data plane outlives the agent; the same subnet, 0 changes."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    subnet = two.subnet

    two.kill_agent()
    assert here.ping(there.address, count=10).received == 10
    late = lab.add_pod(two)  # the plugin works without an agent
    assert here.ping(late.address).ok

    two.start_agent()
    two.wait_ready()
    assert two.subnet == subnet
    assert two.status()["changes"] == 0
    assert two.overlayctl("plan").out.strip() == "0 changes"


def test_sigterm_stops_within_a_second_or_two_and_keeps_the_lease(
    pair: tuple[Lab, Node, Node],
) -> None:
    """Stopping is not leaving."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)

    two.stop_agent()

    assert here.ping(there.address).ok
    assert two.subnet in [row["subnet"] for row in one.ask("leases")]


def test_routes_that_vanish_are_put_back(pair: tuple[Lab, Node, Node]) -> None:
    """By netlink events, without waiting for the next full comparison."""
    _lab, one, two = pair
    one.namespace.ip(f"route del {two.subnet}")

    wait_for(lambda: bool(one.routes_to(two.subnet)), "the route is back", timeout_s=20)
    wait_for(lambda: one.status()["mended"] >= 1, "it is counted", timeout_s=20)


def test_a_device_that_is_deleted_comes_back_with_all_its_peers(
    pair: tuple[Lab, Node, Node],
) -> None:
    """Same MAC, so that no peer has to change anything."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    assert here.ping(there.address).ok

    one.namespace.ip("link del overlay.1")

    wait_for(lambda: here.ping(there.address).ok, "traffic is back", timeout_s=30)


def test_a_node_joins_and_leaves_and_its_peers_follow(pair: tuple[Lab, Node, Node]) -> None:
    """leave revokes the lease; the others drop its route."""
    lab, one, two = pair
    three = lab.add_node("n3")
    lab.start_nodes(three)
    subnet = three.subnet
    wait_for(lambda: bool(one.routes_to(subnet) and two.routes_to(subnet)), "joined", timeout_s=20)

    assert three.overlayctl("leave").code == 0

    wait_for(lambda: not one.routes_to(subnet), "left", timeout_s=20)
    assert not list(three.conf_dir.glob("*.conflist"))


def test_leave_is_refused_while_pods_are_attached(pair: tuple[Lab, Node, Node]) -> None:
    """Unless forced."""
    lab, one, _two = pair
    lab.add_pod(one)

    said = one.overlayctl("leave")

    assert said.code != 0
    assert "1 pods are attached" in said.err


def test_etcd_lost_and_back_changes_nothing(pair: tuple[Lab, Node, Node]) -> None:
    """Pods come, talk and go while etcd is away; the kernel is not touched."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    changes = one.status()["changes"]

    lab.etcd.stop()
    wait_for(lambda: one.status()["verdict"] == "degraded", "said so", timeout_s=20)
    assert here.ping(there.address, count=5).received == 5
    late = lab.add_pod(two)
    assert here.ping(late.address).ok
    lab.remove_pod(late)

    lab.etcd.start()
    # A pause of the retry policy is 30 s at most (agent/retry.py), and a slow machine's outage is long enough for it.
    wait_for(lambda: one.status()["verdict"] == "healthy", "healthy again", timeout_s=60)
    assert one.status()["changes"] == changes


def test_without_etcd_the_agent_keeps_trying_and_cni_says_why(lab: Lab) -> None:
    """Code 11 with the cause; nothing is left behind; then it goes on by itself."""
    lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
    lab.etcd.stop()
    node = lab.add_node("n1")
    (node.conf_dir / "10-x.conflist").write_text(
        json.dumps({"cniVersion": "1.0.0", "name": "overlay", "plugins": [{"type": "overlay"}]})
    )
    node.start_agent()
    lab.record()
    wait_for(lambda: "waiting: etcd at" in node.log_text(), "the agent says so", timeout_s=30)

    pod = lab.bare_pod(node)
    with pytest.raises(CniFailed) as caught:
        node.runtime.add(pod)
    assert caught.value.code == 11
    assert "etcd at http" in caught.value.message

    (node.conf_dir / "10-x.conflist").unlink()
    lab.etcd.start()
    node.wait_ready(timeout_s=60)
    node.runtime.add(pod)


def test_a_bad_config_is_named_and_a_good_one_is_taken_up(lab: Lab) -> None:
    """Field and reason in the log; no restart needed."""
    lab.etcd.ctl(
        "put", CONFIG_KEY, '{"Network":"10.5.0.0/16","SubnetLen":99,"Backend":{"Type":"vxlan"}}'
    )
    node = lab.add_node("n1")
    node.start_agent()
    lab.record()
    wait_for(lambda: "SubnetLen = 99" in node.log_text(), "the field is named", timeout_s=30)

    lab.etcd.ctl("put", CONFIG_KEY, NETWORK)

    node.wait_ready(timeout_s=30)


def test_pods_reach_the_outside_by_masquerade(pair: tuple[Lab, Node, Node]) -> None:
    """The fabric has no route back to the pod network, so only a masqueraded ping is answered."""
    lab, one, _two = pair
    pod = lab.add_pod(one)

    assert pod.ping("192.168.50.254").ok
    one.namespace.must("nft", "flush", "chain", "inet", "overlay", "postrouting")
    wait_for(lambda: pod.ping("192.168.50.254").ok, "masqueraded again", timeout_s=30)


def test_flannels_subnet_env_is_there_once_the_node_is_ready(pair: tuple[Lab, Node, Node]) -> None:
    """In flannel's order, so that its own CNI plugin works with our agent."""
    _lab, one, _two = pair
    text = (one.run_dir / "subnet.env").read_text()

    network, length = one.subnet.rsplit("/", 1)
    gateway = network.rsplit(".", 1)[0] + ".1"
    assert text == (
        f"FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET={gateway}/{length}\n"
        "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"
    )


def test_a_node_whose_lease_was_taken_keeps_its_pods_and_refuses_new_ones(
    pair: tuple[Lab, Node, Node],
) -> None:
    """Never another subnet under running pods; it says why, and recovers by itself."""
    lab, one, two = pair
    pod = lab.add_pod(one)
    key = f"/coreos.com/network/subnets/{one.subnet.replace('/', '-')}"
    gateway = f"{one.vtep.rpartition('.')[0]}.1"
    lab.etcd.ctl("put", f"{key}&fd00:1::-64", '{"PublicIP":"192.168.50.99"}')
    lab.etcd.ctl("del", key)
    wait_for(lambda: "somebody else" in one.log_text(), "it says so", timeout_s=30)
    wait_for(lambda: not (one.run_dir / "node.json").exists(), "no new pods", timeout_s=20)

    assert pod.ping(gateway).ok
    assert one.overlayctl("status").code == 1
    refused = lab.bare_pod(one)
    with pytest.raises(
        CniFailed, match="somebody else"
    ) as caught:  # the conflist stays, by default
        one.runtime.add(refused)
    assert caught.value.code == 11

    lab.etcd.ctl("del", f"{key}&fd00:1::-64")
    one.wait_ready(timeout_s=60)
    far = lab.add_pod(two)
    wait_for(lambda: pod.ping(far.address).ok, "the other node has heard", timeout_s=20)


def test_systemd_hears_ready_only_from_a_node_that_is(lab: Lab, tmp_path: Path) -> None:
    """READY after the first clean apply, WATCHDOG from the loop, STOPPING at the end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        node = lab.add_node("n1")
        heard: list[str] = []

        def hears(word: str) -> bool:
            with suppress(BlockingIOError):
                while True:
                    heard.append(manager.recv(4096).decode())
            return any(word in message for message in heard)

        node.start_agent(environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        lab.record()
        wait_for(lambda: hears("STATUS=waiting: no network config"), "waiting", timeout_s=30)
        assert "WATCHDOG=1" in heard
        assert "READY=1" not in heard

        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        wait_for(lambda: hears("READY=1"), "ready", timeout_s=20)
        wait_for(lambda: hears("STATUS=in sync"), "status", timeout_s=30)
        node.stop_agent()
        assert hears("STOPPING=1")
