"""The network config changes under running nodes: old pods live on, new pods are new, nothing is left behind."""

from collections.abc import Iterator

import pytest

from e2e.lab import Lab
from e2e.node import Node, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = "/coreos.com/network/config"
FIRST = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
SECOND = '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}'
LONGER = '{"Network":"10.6.0.0/16","SubnetLen":26,"Backend":{"Type":"vxlan"}}'


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Two nodes of the first config."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", CONFIG, FIRST)
        made.start_nodes(made.add_node("n1"), made.add_node("n2"))
        yield made


def _keys(lab: Lab) -> list[str]:
    said = lab.etcd.ctl("get", "--prefix", "--keys-only", "/coreos.com/network/subnets/")
    return sorted(line.rpartition("/")[2] for line in said.split())


def _restart(lab: Lab, node: Node) -> None:
    node.stop_agent()
    node.start_agent("--sweep-interval", "1s")
    lab.record()
    node.wait_ready()


def _at_rest(node: Node) -> bool:
    return bool(node.ask("plan")["steps"] == [])


def test_another_network_is_taken_at_the_restart_and_the_old_subnet_drained(lab: Lab) -> None:
    """Old and new pods talk all the while; the last old pod takes the old subnet with it."""
    one, two = lab.nodes["n1"], lab.nodes["n2"]
    old, far = lab.add_pod(one), lab.add_pod(two)
    old_key = one.subnet.replace("/", "-")

    lab.etcd.ctl("put", CONFIG, SECOND)
    wait_for(
        lambda: "10.6.0.0/16" in one.overlayctl("status").out, "the change is said", timeout_s=30
    )
    assert old.ping(far.address).ok
    _restart(lab, one)

    new = lab.add_pod(one)
    assert one.subnet.startswith("10.6.")
    wait_for(lambda: bool(two.routes_to(one.subnet)), "n2 has heard", timeout_s=20)
    assert old_key in _keys(lab)
    assert str(new.address).startswith("10.6.")
    for here, there in ((old, far), (far, old), (new, far), (far, new), (old, new)):
        assert here.ping(there.address).ok, (here, there)
    assert old_key in one.overlayctl("status").out
    for node in (one, two):
        wait_for(lambda it=node: it.status()["verdict"] == "healthy", "healthy", timeout_s=20)  # type: ignore[misc]
    _restart(lab, one)  # a second start finds both records, and takes neither for a peer's
    assert old_key in _keys(lab)
    assert old.ping(far.address).ok
    assert _at_rest(one)

    lab.etcd.ctl("del", f"/coreos.com/network/subnets/{old_key}")
    wait_for(lambda: old_key in _keys(lab), "its record is written again", timeout_s=30)
    wait_for(lambda: far.ping(old.address).ok, "n2 has it again", timeout_s=20)
    assert old.ping(new.address).ok

    lab.etcd.kill()  # started without it, the node still knows what it drains
    _restart(lab, one)
    assert one.status()["changes"] == 0, one.log_tail()
    assert old_key in one.overlayctl("status").out
    lab.etcd.start()
    wait_for(lambda: one.status()["verdict"] == "healthy", "etcd is back", timeout_s=60)
    assert one.status()["changes"] == 0, one.log_tail()

    lab.remove_pod(old)
    wait_for(lambda: old_key not in _keys(lab), "the old subnet is given back", timeout_s=40)
    for node in (one, two):
        wait_for(
            lambda it=node: not it.routes_to(old_key.replace("-", "/")) and _at_rest(it),  # type: ignore[misc]
            "the kernel follows",
            timeout_s=20,
        )
    assert new.ping(far.address).ok


def test_without_pods_the_old_subnet_goes_at_once(lab: Lab) -> None:
    """Nothing to drain: one record before, one after."""
    one = lab.nodes["n1"]
    lab.etcd.ctl("put", CONFIG, SECOND)
    _restart(lab, one)

    assert len(_keys(lab)) == 2
    assert one.subnet.startswith("10.6.")
    lab.etcd.ctl("put", CONFIG, LONGER)
    _restart(lab, one)

    assert one.subnet.endswith("/26")
    assert len(_keys(lab)) == 2
