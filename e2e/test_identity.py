"""Who a node is, and which subnet is its: twins, the dead, wishes, an operator's acts, and a lease that ended."""

import json
import shutil
import time
import tomllib
from collections.abc import Iterator

import pytest

from agent.twins import ANSWER_WITHIN_S, PATIENCE
from e2e.cluster import CLIENT_PORT
from e2e.cut import cut_off
from e2e.etcdserver import NETWORK
from e2e.flannelnode import none_lost
from e2e.flannelpods import Steady
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import CniFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NO_NEW_PODS = 50
"""STATUS: the plugin cannot service ADD requests (CNI 1.1)."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes that are ready: n1, whose fate this is about, and n2, its peer."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        first, peer = made.add_node("n1"), made.add_node("n2")
        first.configure(lease_ttl="20s")  # a twin of another name has to wait for a quarter of it
        made.start_nodes(first, peer)
        yield made


def _begin(lab: Lab, name: str, *flags: str) -> Node:
    """A node that may or may not become ready."""
    node = lab.add_node(name)
    node.start_agent(*flags)
    lab.record()
    return node


def _free(lab: Lab) -> str:
    """A subnet that nobody holds, however the nodes before have drawn theirs."""
    held = {row["subnet"] for row in lab.nodes["n2"].ask("leases")}
    return next(it for it in (f"10.5.{n}.0/24" for n in range(77, 200)) if it not in held)


def _says(node: Node, *words: str) -> None:
    """Its `overlayctl status` comes to name all of these as what it waits for, or why it refuses pods."""

    def said() -> bool:
        status = node.status()
        refused = status.get("trouble", {}).get("new pods are refused", "")
        text = f"{status.get('waiting_for', '')} {refused}"
        return all(word in text for word in words)

    wait_for(said, f"{node.name} says {words}", timeout_s=60, also=node.log_tail)


def _machine_id(node: Node) -> str:
    return str(tomllib.loads(node.config_file.read_text())["machine_id"])


def _key(node: Node) -> str:
    return f"/coreos.com/network/subnets/{node.subnet.replace('/', '-')}"


def _etcd_lease(lab: Lab, key: str) -> str:
    """The id of the etcd lease that a key hangs on, as etcdctl takes it."""
    found = json.loads(lab.etcd.ctl("get", key, "--write-out=json"))
    return f"{found['kvs'][0]['lease']:x}"


def test_a_twin_is_refused_while_the_first_one_lives_and_follows_it_once_it_is_dead(
    lab: Lab,
) -> None:
    """A cloned machine id and a doubled address: both nodes are named, no ping is lost; then the heir serves."""
    first, peer = lab.nodes["n1"], lab.nodes["n2"]
    near, far, subnet = lab.add_pod(first), lab.add_pod(peer), first.subnet
    pings, changes = [Steady(lab, far.namespace, near.address)], peer.status()["changes"]

    clone = _begin(lab, "clone", "--machine-id", _machine_id(first))
    double = _begin(lab, "double", "--public-ip", first.address)
    _says(clone, "this node (clone,", "and n1 (", "is alive", _machine_id(first))
    _says(double, "this node (double,", "and n1 (", "is alive", f"the address {first.address}")

    none_lost(pings)
    double.kill_agent()
    assert (first.subnet, first.status()["verdict"]) == (subnet, "healthy")
    assert (peer.status()["changes"], peer.ask("plan")["steps"]) == (changes, [])

    first.kill_agent()
    first.namespace.ip("link set eth0 down")
    clone.stop_agent()
    clone.start_agent("--machine-id", _machine_id(first))
    lab.record()
    clone.wait_ready()
    assert clone.subnet == subnet
    heir = lab.add_pod(clone)
    wait_for(lambda: far.ping(heir.address).ok, "they talk", timeout_s=30, also=peer.log_tail)
    assert [row["node"] for row in peer.ask("peers")] == ["clone"]


def test_a_clone_with_the_state_of_a_node_that_is_cut_off_waits_until_that_one_answers(
    lab: Lab,
) -> None:
    """Name, machine id and state directory are the same; the network card is not."""
    first = _begin(lab, "original")
    first.wait_ready()
    subnet, copy = first.subnet, lab.add_node("copy")
    first.stop_agent()
    shutil.copytree(first.work / "state", copy.work / "state", dirs_exist_ok=True)
    first.start_agent()
    first.wait_ready()
    with cut_off(first.namespace, CLIENT_PORT, silent=True):
        copy.start_agent("--machine-id", _machine_id(first), "--node-name", "original")
        lab.record()
        wait_for(
            lambda: "asking whether that one lives" in copy.log_text(), "it asks", timeout_s=20
        )
        time.sleep(2 * ANSWER_WITHIN_S)  # as long as that it was not waited for
    _says(copy, f"address {copy.address}", f"address {first.address}", "is alive")
    copy.kill_agent()
    assert (first.subnet, first.status()["verdict"]) == (subnet, "healthy")

    first.stop_agent()
    first.namespace.ip("addr add 192.168.50.77/24 dev eth0")
    asked = time.monotonic()
    first.start_agent("--iface", "192.168.50.77")
    first.wait_ready()
    assert time.monotonic() - asked < PATIENCE * ANSWER_WITHIN_S / 2
    assert first.subnet == subnet
    first.kill_agent()


def test_a_node_gets_exactly_the_subnet_it_asks_for_or_hears_who_has_it(lab: Lab) -> None:
    """`subnet` is the node's share of kubelet's --pod-cidr."""
    wish = _free(lab)
    asking, late = _begin(lab, "asking", "--subnet", wish), lab.add_node("late")
    asking.wait_ready()
    assert asking.subnet == wish

    late.start_agent("--subnet", wish)
    lab.record()
    _says(late, f"subnet = {wish}: it is taken", f"held by asking (address {asking.address}")
    late.kill_agent()


def test_an_operator_reserves_removes_and_releases(lab: Lab) -> None:
    """A reserved subnet goes to its node; removed, the peers drop it; released, it is anybody's."""
    peer, subnet = lab.nodes["n2"], _free(lab)
    assert peer.overlayctl("reserve", subnet, "--node", "guest").code == 0
    guest = _begin(lab, "guest")
    guest.wait_ready()
    assert guest.subnet == subnet
    wait_for(lambda: bool(peer.routes_to(subnet)), "the way there", timeout_s=30)

    refused = peer.overlayctl("node", "remove", "guest")
    assert (refused.code, "guest" in refused.err, "is alive" in refused.err) == (2, True, True)

    guest.kill_agent()
    removed = peer.overlayctl("node", "remove", "guest")
    assert (removed.code, "stays reserved" in removed.out) == (0, True), removed.err
    wait_for(lambda: not peer.routes_to(subnet), "no way there", timeout_s=30)
    assert "guest" not in [row["node"] for row in peer.ask("peers") if row["state"] == "ok"]
    assert peer.overlayctl("release", subnet).code == 0
    assert subnet not in [row["subnet"] for row in peer.ask("leases")]
    wait_for(lambda: peer.ask("plan")["steps"] == [], "nothing of it is left", timeout_s=30)


def test_a_leave_that_fails_changes_nothing(lab: Lab) -> None:
    """etcd is away: the reason, and the runtime goes on to find the network."""
    node = lab.nodes["n2"]
    lab.etcd.stop()
    said = node.overlayctl("leave", "--force")
    assert (said.code, "connection refused" in said.err) == (1, True)
    assert (node.conf_dir / "10-overlay.conflist").exists()
    lab.etcd.start()
    assert lab.etcd.ctl("get", _key(node))


def test_a_lease_that_ended_while_the_agent_was_stopped_is_claimed_again_or_missed(
    lab: Lab,
) -> None:
    """Free: the same subnet, with its pods. Taken meanwhile: no new pods and the reason, the old ones talk on."""
    node = _begin(lab, "sleeper", "--lease-ttl", "8s")
    node.wait_ready()
    here, there, subnet = lab.add_pod(node), lab.add_pod(node), node.subnet
    far = lab.add_pod(lab.nodes["n2"])
    key = _key(node)

    node.stop_agent()
    wait_for(lambda: not lab.etcd.ctl("get", key), "it ends by itself", timeout_s=30)
    node.start_agent()  # with a TTL that outlives what follows, however slow the machine is
    lab.record()
    node.wait_ready()
    assert node.subnet == subnet
    wait_for(lambda: here.ping(far.address).ok, "they talk", timeout_s=30, also=node.log_tail)

    node.stop_agent()
    lab.etcd.ctl("lease", "revoke", _etcd_lease(lab, key))
    thief = _begin(lab, "thief", "--subnet", subnet)
    thief.wait_ready()
    node.start_agent()
    lab.record()
    _says(node, "the pods of this node have addresses of", subnet, "somebody else: thief (")

    late = lab.bare_pod(node)
    settings = node.runtime.config(node.runtime.conflist(), {})
    with pytest.raises(CniFailed, match=r"somebody else: thief \("):
        node.runtime.call("ADD", late, stdin=settings)
    with pytest.raises(CniFailed, match=r"somebody else: thief \(") as refused:
        node.runtime.call("STATUS", late, stdin=settings)
    assert refused.value.code == NO_NEW_PODS
    assert here.ping(there.address, count=3).ok
    assert node.overlayctl("status").code == 1  # degraded, not down: peers are followed as before
    assert [row["state"] for row in node.ask("peers") if row["node"] == "n2"] == ["ok"]
