"""Two healthy nodes as facts, for the tests of the judgement to break."""

from typing import Any

import msgspec

from agent.why.facts import Answered, Facts, Link, Neighbour, Pod, Way
from agent.why.judge import End
from agent.why.records import Net, Record, Store

NET = Net()


def record(number: int) -> Record:
    """Of node ``number``."""
    return Record(
        key=f"10.5.{number}.0-24",
        node=f"n{number}",
        subnet=f"10.5.{number}.0/24",
        underlay=f"192.168.50.{number}",
        mac=f"02:00:00:00:00:0{number}",
        vni=1,
        left_s=86000.0,
    )


def address(number: int) -> str:
    """Of the pod of a node."""
    return f"10.5.{number}.2"


def facts(number: int, other: int, **change: Any) -> Facts:  # noqa: ANN401
    """Of node ``number`` about its pod and that of ``other``."""
    own, there = record(number), record(other)
    gateway = f"10.5.{number}.1"
    pod = Pod(
        name=f"default/pod{number}",
        container="c" * 64,
        ifname="eth0",
        address=f"{address(number)}/24",
        bridge="overlay0",
        host_link=f"ovl{number}",
        given_mtu=1450,
        enter=f"nsenter --net=/run/netns/pod{number}",
        link=Link(
            "eth0",
            "veth",
            f"0a:58:0a:05:0{number}:02",
            1450,
            True,
            True,
            "",
            "",
            [f"{address(number)}/24"],
        ),
        way=Way(address(other), "eth0", gateway, "unicast", 254),
        neighbour=Neighbour(gateway, "0a:58:00:00:00:01", "REACHABLE"),
    )
    found = Facts(
        node=own.node,
        subnets=[own.subnet],
        mtu=1450,
        pod=pod,
        bridge=Link(
            "overlay0", "bridge", "0a:58:00:00:00:01", 1450, True, True, "", "", [f"{gateway}/24"]
        ),
        gateway=f"{gateway}/24",
        veth=Link(f"ovl{number}", "veth", "0e:00:00:00:00:01", 1450, True, True, "", "overlay0"),
        vxlan=Link(
            "overlay.1", "vxlan", own.mac, 1450, True, True, vni=1, port=8472, local=own.underlay
        ),
        vxlan_name="overlay.1",
        switches={"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "0"},
        out=Way(address(other), "overlay.1", f"10.5.{other}.0", "unicast", 254),
        neighbour=Neighbour(f"10.5.{other}.0", there.mac, "PERMANENT"),
        fdb=[there.underlay],
        tunnel=Way(there.underlay, "eth0", "", "unicast", 254),
        tunnel_link=Link(
            "eth0", "veth", "02:11:00:00:00:01", 1500, True, True, "", "", [f"{own.underlay}/24"]
        ),
        tunnel_neighbour=Neighbour(there.underlay, "02:11:00:00:00:02", "REACHABLE"),
        into=Way(address(number), "overlay0", "", "unicast", 254),
        pod_neighbour=Neighbour(address(number), pod.link.mac if pod.link else "", "STALE"),
    )
    return msgspec.structs.replace(found, **change)


def passed(**change: Any) -> Answered:  # noqa: ANN401
    """A test that came through."""
    told = Answered(True, 84, True, 1450, 1450, 0.2)
    return msgspec.structs.replace(told, **change)


def end(number: int, found: Facts | None, **change: Any) -> End:  # noqa: ANN401
    """As overlayctl puts it."""
    return End(f"pod{number}", address(number), f"n{number}", found, **change)


def store(**change: Any) -> Store:  # noqa: ANN401
    """etcd with both records."""
    return Store(**{"net": NET, "near": record(1), "far": record(2), **change})
