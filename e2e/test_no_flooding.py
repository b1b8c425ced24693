"""Nothing floods: what leaves a node's tunnel is for one peer's VTEP, and nobody is asked over it."""

import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.wire import ARP, IPV6, Inner, Wire
from overlay.family import Family
from overlay.netlink.namespace import run_inside

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG = (
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
    '"Backend":{"Type":"vxlan"}}'
)
DEVICES = ("overlay.1", "overlay-v6.1")
EVERYBODY, NOBODY = bytes.fromhex("ffffffffffff"), bytes.fromhex("02deadbeef01")
LOCAL_EXPERIMENT = 0x88B5
"""IEEE 802's ethertype for whatever one likes."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes of both families that are ready, made once."""
    with Lab(families=tuple(Family)) as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", CONFIG)
        quiet = {"checksum_test": False}  # its packets would be counted
        made.start_nodes(made.add_node("n1", **quiet), made.add_node("n2", **quiet))
        yield made


@pytest.fixture(scope="module")
def pods(lab: Lab) -> tuple[Pod, Pod]:
    """One on each node."""
    return lab.add_pod(lab.nodes["n1"]), lab.add_pod(lab.nodes["n2"])


def test_what_a_pod_sends_to_all_or_to_nobody_stays_on_its_node(
    lab: Lab, pods: tuple[Pod, Pod]
) -> None:
    """Broadcast, multicast of any scope, unknown MACs, questions for a peer's pod; pings pass meanwhile."""
    here, there = pods
    with Wire(lab.nodes["n1"].namespace) as wire:
        run_inside(here.namespace.path, lambda: shout(here, there))
        run_inside(here.namespace.path, lambda: ask_for(here, there))
        for address in there.addresses:
            assert here.ping(address, wait_s=5).ok
        sent = wire.inner()
    assert [str(frame) for frame in sent if frame.floods or frame.asks] == []
    assert len(sent) == len(there.addresses), [str(frame) for frame in sent]  # the echo requests


def shout(here: Pod, there: Pod) -> None:
    """In the pod: all that ought to stay on the node."""
    directed = ip_address(int(here.address) | 255)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        door.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        for target in ("255.255.255.255", str(directed), "224.0.0.251", "239.1.2.3"):
            door.sendto(b"to all", (target, 9))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
        raw.bind(("eth0", 0))
        mac = raw.getsockname()[4]
        for to in (EVERYBODY, NOBODY, bytes.fromhex("01005e010203")):
            raw.send(to + mac + struct.pack("!H", LOCAL_EXPERIMENT) + bytes(46))
        source, group = ip_address("fe80::1").packed, ip_address("ff02::1").packed
        datagram = struct.pack("!IHBB", 6 << 28, 14, socket.IPPROTO_UDP, 8) + source + group
        datagram += struct.pack("!HHHH", 9, 9, 14, 0) + b"to all"
        raw.send(bytes.fromhex("333300000001") + mac + struct.pack("!H", IPV6) + datagram)
        asked = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + here.address.packed
        asked += bytes(6) + there.address.packed
        raw.send(EVERYBODY + mac + struct.pack("!H", ARP) + asked + bytes(18))


def ask_for(here: Pod, there: Pod) -> None:
    """In the pod: multicast DNS, groups beyond the link, and a solicitation for a pod of another node."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as door:
        door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 64)
        for group in ("ff02::fb", "ff05::1:3", "ff08::1", "ff0e::1234"):
            door.sendto(b"to all", (group, 5353, 0, socket.if_nametoindex("eth0")))
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as raw:
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        raw.bind((str(here.addresses[1]), 0))
        wanted = there.addresses[1].packed
        group = str(ip_address(ip_address("ff02::1:ff00:0").packed[:13] + wanted[13:]))
        question = struct.pack("!BBHI", 135, 0, 0, 0) + wanted  # RFC 4861, section 4.3
        raw.sendto(question, (group, 0, 0, socket.if_nametoindex("eth0")))


def test_a_broadcast_to_a_peers_pods_goes_to_that_peer_and_no_further(
    lab: Lab, pods: tuple[Pod, Pod]
) -> None:
    """Directed at its subnet it is an ordinary packet on the way, and the peer's kernel hands it to no pod."""
    here, there = pods
    target = str(ip_address(int(there.address) | 255))

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
            door.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            door.sendto(b"to all of them", (target, 9))

    with Wire(lab.nodes["n1"].namespace) as wire, Wire(there.namespace, link="eth0") as theirs:
        run_inside(here.namespace.path, send)
        assert here.ping(there.address, wait_s=5).ok  # what was sent before has arrived by now
        sent, heard = wire.inner(), theirs.heard()
    assert {frame.to for frame in sent} <= vtep_macs(lab.nodes["n2"])
    assert len(sent) == 2
    assert len(heard) == 1, heard  # the echo request


def test_nobody_is_asked_for_a_peer_or_for_a_pod_that_is_not_there(
    lab: Lab, pods: tuple[Pod, Pod]
) -> None:
    """A packet goes to the peer's VTEP and nowhere else; the question for the pod is asked on the peer's bridge."""
    here, there = pods
    one, two = lab.nodes["n1"], lab.nodes["n2"]
    with Wire(one.namespace) as wire, Wire(two.namespace) as far:
        for address in there.addresses:
            assert not here.ping(ip_address(int(address) + 100), count=2).ok
        sent = wire.inner()
        assert [frame for frame in (*sent, *far.inner()) if frame.floods or frame.asks] == []
    assert {frame.to for frame in sent} == vtep_macs(two)


def vtep_macs(node: Node) -> set[str]:
    """Of its VXLAN devices."""
    return {node.namespace.query("link", "show", name)[0]["address"] for name in DEVICES}


def test_a_join_and_devices_that_come_up_say_nothing_on_the_wire(
    lab: Lab, pods: tuple[Pod, Pod]
) -> None:
    """No ARP while a peer is half known, no router solicitation, no listener report of the devices."""
    here, _ = pods
    one = lab.nodes["n1"]
    with Wire(one.namespace) as wire:
        new = lab.add_node("n3")
        with Wire(new.namespace) as theirs:
            new.start_agent()
            lab.record()
            wait_for(lambda: bool(new.status().get("subnets")), "it has a subnet", timeout_s=20)
            vteps = [subnet.partition("/")[0] for subnet in new.tell("status")["subnets"]]
            wait_for(lambda: all_answer(here, vteps), "it is reached", timeout_s=20)
            new.wait_ready(peers=2)
            for node in (one, new):
                for device in (*DEVICES, "overlay0"):
                    node.namespace.ip(f"link set {device} down", f"link set {device} up")
            wait_for(lambda: all_answer(here, vteps), "it is reached again", timeout_s=20)
            deadline = (
                time.monotonic() + 1.5
            )  # solicitations and reports come at random within a second
            wait_for(lambda: time.monotonic() > deadline, "time has passed", timeout_s=3)
            found = [*wire.inner(), *theirs.inner()]
    assert [str(frame) for frame in found if frame.floods or frame.asks] == []
    assert found


def all_answer(here: Pod, addresses: list[str]) -> bool:
    """To one ping each."""
    return all(here.ping(address).ok for address in addresses)


def test_the_reader_sees_what_floods() -> None:
    """A group's MAC, ARP, and a neighbour solicitation are told from a pod's packet."""
    solicitation = bytes(6) + bytes([58]) + bytes(33) + bytes([135])
    assert Inner(1, "33:33:00:00:00:01", 0x86DD, b"").floods
    assert Inner(1, "02:00:00:00:00:01", ARP, b"").asks
    assert Inner(1, "02:00:00:00:00:01", 0x86DD, solicitation).asks
    assert not Inner(1, "02:00:00:00:00:01", 0x0800, bytes(64)).asks
