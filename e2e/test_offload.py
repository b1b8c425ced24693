"""Checksum offload on a card that breaks it: dead without the self-test, alive with it, and it stays so."""

from collections.abc import Iterator

import pytest

from e2e.brokennic import BrokenNic, without_large_frames
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.stream import Server, carries
from overlay.errors import KernelRefused
from overlay.netlink import offload
from overlay.netlink.namespace import run_inside

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1}}'


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An etcd with a network."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", CONFIG)
        yield made


def _talk(here: Pod, there: Pod, *, within_s: float) -> bool:
    return carries(here.namespace, Server(there.namespace, there.address), within_s=within_s)


def _tx_checksum(node: Node) -> bool:
    try:
        return run_inside(node.namespace.path, lambda: offload.tx_checksum("overlay.1"))
    except KernelRefused:  # it is just being made anew
        return True


def _told(node: Node, found: str) -> None:
    """Its status comes to say that. A test that nobody answered in time is made again, after 2 s, then 10, then 30."""

    def said() -> bool:
        return bool(node.status().get("offload") == {"overlay.1": found})  # none while it starts

    wait_for(said, f"{node.name}: {found}", timeout_s=60, also=node.log_tail)


def test_a_card_that_breaks_checksums_is_found_out_and_lived_with(lab: Lab) -> None:
    """Said in log and status; kept for a device that is made anew; a restart changes nothing. The peer is fine."""
    one, two = lab.add_node("n1"), lab.add_node("n2")
    for node in (one, two):
        without_large_frames(node.namespace, "eth0")
    with BrokenNic(lab, "port1") as nic:
        one.start_agent("--checksum-test", "false")
        two.start_agent()
        lab.record()
        for node in (one, two):
            node.wait_ready(peers=1)
        here, there = lab.add_pod(one), lab.add_pod(two)
        wait_for(lambda: here.ping(there.address).ok, "a ping arrives", timeout_s=30)
        assert not _talk(here, there, within_s=0.5)  # this is what the test is there for
        assert nic.spoiled

        one.stop_agent()
        one.start_agent()
        lab.record()
        _told(one, "broken, switched off")  # a test that is under way has it off as well
        assert not _tx_checksum(one)
        assert _talk(here, there, within_s=15)
        wait_for(lambda: one.status()["verdict"] == "healthy", "healthy", timeout_s=30)
        assert [it for it in one.status()["notices"] if "tx-checksum is off" in it]
        assert one.log_text().count("checksum offload is broken below overlay.1") == 1

        one.namespace.ip("link del overlay.1")
        wait_for(lambda: "it is off again" in one.log_text(), "kept", timeout_s=30)
        wait_for(lambda: here.ping(there.address).ok, "the peers are back", timeout_s=30)
        assert _talk(there, here, within_s=15)

        run_inside(one.namespace.path, lambda: offload.set_tx_checksum("overlay.1", True))
        wait_for(lambda: not _tx_checksum(one), "off again, whoever had it on", timeout_s=10)

        one.stop_agent()
        one.start_agent()
        one.wait_ready(peers=1)
        assert one.status()["changes"] == 0
        assert not _tx_checksum(one)
        _told(two, "works")
        assert _tx_checksum(two)
