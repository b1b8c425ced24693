"""A node taken over from flanneld, handed back, and one that began with us: no ping is lost.

Without --flanneld (FLANNELD=) a replay of what flanneld does stands in for the program.
"""

import pytest

from e2e import flannel
from e2e.flannel import HandMade
from e2e.flannelnode import GONE, PEER, Left, Maker, none_lost
from e2e.flannelpods import BridgedPods, Steady
from e2e.flannelreplay import DEVICE, flannels_subnet
from e2e.lab import Lab
from e2e.node import wait_for
from e2e.process import CommandFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

OLDER_KERNEL = """link set {old} down
link set {old} name {new}
link set {new} up"""
"""As docs/flannel.md has it."""


def test_a_take_over_loses_no_ping_and_gives_no_address_twice(left: Left) -> None:
    """Device, MACs, lease and pods stay; what is stale goes; new pods get other addresses."""
    lab, node, macs = left.lab, left.node, left.macs()
    second = left.bridged.add()
    pings = left.steady()

    node.start_agent()
    lab.record()
    node.wait_ready()

    assert node.subnet == left.subnet
    assert left.macs() == macs
    assert not node.routes_to(GONE)
    assert "c6:d2:00:00:00:9" not in node.namespace.must("ip", "neigh", "show", "dev", DEVICE)
    assert "c6:d2:00:00:00:99" not in node.namespace.must("bridge", "fdb", "show", "dev", DEVICE)
    fresh = [lab.add_pod(node) for _ in range(3)]
    assert not {pod.address for pod in fresh} & {left.old.address, second.address}
    assert fresh[0].ping(left.old.address).ok
    assert fresh[0].ping(left.far.address).ok
    assert left.far.ping(fresh[0].address, payload=1422, whole=True).ok
    none_lost(pings)
    print(f"changes: {node.status()['changes']}")
    assert node.overlayctl("plan").out.strip() == "0 changes"
    assert node.overlayctl("ipam", "check").code == 0
    shown = {row["address"]: row for row in node.ask("ipam", "show")}
    assert shown[str(left.old.address)]["container"] == left.old.container
    assert shown[str(left.old.address)]["state"] == "in use, attached by another plugin"

    node.runtime.delete(second)
    assert not (left.bridged.network_dir / str(second.address)).exists()
    assert str(second.address) not in {row["address"] for row in node.ask("ipam", "show")}
    assert left.old.ping(left.far.address).ok


def test_a_hand_back_loses_no_ping_and_the_node_can_be_taken_over_again(left: Left) -> None:
    """Stopping is all it takes; flannel's plugin learns which addresses our pods have."""
    lab, node, macs = left.lab, left.node, left.macs()
    node.start_agent()
    lab.record()
    node.wait_ready()
    ours = lab.add_pod(node)
    pings = [*left.steady(), Steady(lab, ours.namespace, left.far.address)]

    said = node.overlayctl("ipam", "export", str(left.bridged.network_dir))
    assert said.code == 0, said.err
    node.stop_agent()
    left.flanneld.start()
    left.flanneld.learn(PEER)

    assert left.macs() == macs
    assert flannels_subnet(left.flanneld.env) == left.subnet
    assert flannel.value_of(lab.etcd, left.subnet) == flannel.record(node.address, macs[0])
    later = [left.bridged.add() for _ in range(3)]
    assert ours.address not in {pod.address for pod in later}
    assert later[0].ping(ours.address).ok
    none_lost(pings)

    pings = left.steady()
    left.flanneld.stop()
    node.start_agent()
    lab.record()
    node.wait_ready()
    none_lost(pings)
    assert left.macs() == macs
    assert later[0].ping(left.far.address).ok


def test_a_node_that_began_with_us_goes_to_flanneld(flannel_lab: Lab, flanneld: Maker) -> None:
    """Device and bridge have our names: renamed while they are up (Linux 6.2), and no ping is lost."""
    lab = flannel_lab
    node, peer = lab.add_node("n1"), HandMade.make(lab, "peer", PEER)
    flannel.put(lab.etcd, PEER, peer.value)
    lab.start_nodes(node)
    peer.knows(lab.etcd)
    ours, far, subnet = lab.add_pod(node), peer.pod(lab, "far"), node.subnet
    pings = [Steady(lab, ours.namespace, far.address), Steady(lab, far.namespace, ours.address)]
    node.stop_agent()
    theirs = flanneld(node)
    with pytest.raises(CommandFailed):  # one device per VNI and port: it cannot make its own
        theirs.start()

    bridged = BridgedPods(lab, node, theirs.env)
    assert node.overlayctl("ipam", "export", str(bridged.network_dir)).code == 0
    node.namespace.ip("link set overlay.1 name flannel.1", "link set overlay0 name cni0")
    theirs.start()
    theirs.learn(PEER)
    assert flannels_subnet(theirs.env) == subnet
    new = bridged.add()
    assert new.address != ours.address
    assert new.ping(far.address).ok
    assert new.ping(ours.address).ok
    none_lost(pings)

    theirs.stop()
    for line in OLDER_KERNEL.splitlines():
        node.namespace.ip(line.format(old="flannel.1", new="overlay.1"))
    for line in OLDER_KERNEL.splitlines():
        node.namespace.ip(line.format(old="overlay.1", new="flannel.1"))
    theirs.start()  # the routes are gone until flanneld makes them again
    theirs.learn(PEER)
    wait_for(lambda: ours.ping(far.address).ok, "traffic is back", timeout_s=20)
