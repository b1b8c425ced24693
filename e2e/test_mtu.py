"""The underlay's MTU is followed by what runs, and the pods' links are kept, both without waiting for a sweep."""

from collections.abc import Iterator
from ipaddress import ip_interface

import pytest

from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import CniFailed, Pod
from overlay.model import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG_KEY = "/coreos.com/network/config"
CONFIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":1}}'
DUAL = (
    '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
    '"Backend":{"Type":"vxlan","VNI":1}}'
)
NEVER = {"sweep_interval": "1h", "resync_interval": "1h"}
"""So that whatever is put right is put right by events."""
ASKED = 1440
SOON_S = 60
"""Patience for a machine that is busy, and once for a pause of the retry policy (30 s at most, agent/retry.py)."""


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[Lab, Node, Node]]:
    """Two nodes that are ready."""
    with Lab() as lab:
        yield _ready(lab, CONFIG)


@pytest.fixture
def pair(shared: tuple[Lab, Node, Node]) -> Iterator[tuple[Lab, Node, Node]]:
    """The same, without pods and on an underlay of 1500 before and after."""
    yield shared
    lab, *nodes = shared
    _underlay(lab, 1500)
    for node in nodes:
        lab.drain(node)


@pytest.fixture
def dual() -> Iterator[tuple[Lab, Node, Node]]:
    """The same with both families."""
    with Lab(families=(Family.V4, Family.V6)) as lab:
        yield _ready(lab, DUAL)


def _ready(lab: Lab, config: str) -> tuple[Lab, Node, Node]:
    lab.etcd.start()
    lab.etcd.ctl("put", CONFIG_KEY, config)
    one, two = lab.add_node("n1", **NEVER), lab.add_node("n2", **NEVER)
    lab.start_nodes(one, two)
    return lab, one, two


def _underlay(lab: Lab, mtu: int) -> None:
    """Everywhere; the cables have to hold it before the nodes send it."""
    cables = [f"link set {name} mtu {mtu}" for name in ("port1", "port2", "underlay0")]
    nodes = [node.namespace for node in lab.nodes.values()]
    lab.fabric.ip(*cables)
    for namespace in nodes:
        namespace.ip(f"link set eth0 mtu {mtu}")


def _mtu(pod: Pod) -> int:
    pod.mtu = pod.link_mtu()
    return pod.mtu


def _host_ends(node: Node) -> list[tuple[int, bool, bool]]:
    rows = node.namespace.query("link", "show", "type", "veth")
    ends = [row for row in rows if row["ifname"].startswith("ovl")]
    return sorted((e["mtu"], e.get("master") == "overlay0", "UP" in e["flags"]) for e in ends)


def test_running_pods_follow_the_underlay(pair: tuple[Lab, Node, Node]) -> None:
    """Jumbo, smaller, smallest and back: a full packet passes, one byte more does not; 1440 stays where it fits."""
    lab, one, two = pair
    here, there, asking = lab.add_pod(one), lab.add_pod(two), lab.add_pod(one, mtu=ASKED)

    def follows(outer: int) -> None:
        _underlay(lab, outer)
        inner = outer - 50

        def done() -> bool:  # the host's end comes last where it gets smaller
            mtus = (_mtu(here), _mtu(there), _mtu(asking))
            ends = sorted((it.mtu, True, True) for it in (here, asking))
            return mtus == (inner, inner, min(ASKED, inner)) and _host_ends(one) == ends

        wait_for(done, f"{inner} in the pods", timeout_s=SOON_S, also=one.log_tail)
        for pod in (here, asking):
            assert pod.ping(there.address, payload=pod.largest_payload, whole=True).ok
            assert pod.ping(there.address, payload=pod.largest_payload + 1, whole=True).too_long

    follows(9000)
    with pytest.raises(CniFailed, match=r"mtu 8951 does not fit: 8950"):
        lab.add_pod(one, mtu=8951)
    lab.etcd.stop()  # the underlay is nobody's business but the node's
    follows(1400)
    said = f"it asks for MTU {ASKED}, 1350 is the most that fits now"
    wait_for(
        lambda: (
            said in one.log_text() and any("pod " in who for who in one.tell("status")["trouble"])
        ),
        "it is said",
        timeout_s=SOON_S,
        also=one.log_tail,
    )
    follows(1280)
    lab.etcd.start()
    wait_for(lambda: one.tell("status")["in_sync"], "in sync", timeout_s=SOON_S)
    one.kill_agent()
    one.start_agent()
    one.wait_ready(peers=1)
    assert (one.status()["changes"], _mtu(here), _mtu(asking)) == (0, 1230, 1230)
    follows(1500)
    wait_for(lambda: one.tell("status")["verdict"] == "healthy", "healthy", timeout_s=SOON_S)


def test_an_underlay_without_room_is_said_and_changes_nothing(
    pair: tuple[Lab, Node, Node],
) -> None:
    """Both numbers, in the log and the status; gone when there is room again."""
    lab, one, two = pair
    here, there = lab.add_pod(one), lab.add_pod(two)
    one.namespace.ip("link set eth0 mtu 600")

    def trouble() -> str:
        return str(one.tell("status")["trouble"].get("mtu", ""))

    wait_for(lambda: "underlay MTU 600 of eth0 leaves 550" in trouble(), "said", timeout_s=SOON_S)
    wait_for(lambda: one.tell("status")["verdict"] == "degraded", "degraded", timeout_s=SOON_S)
    assert (_mtu(here), here.ping(there.address).ok) == (1450, True)
    one.namespace.ip("link set eth0 mtu 1500")
    wait_for(lambda: not trouble(), "gone", timeout_s=SOON_S)
    assert one.log_text().count("underlay MTU 600") == 1


def test_pods_links_are_kept_by_events_alone(pair: tuple[Lab, Node, Node]) -> None:
    """Down, out of the bridge, another MTU, no mark, and the bridge deleted under all of them."""
    lab, one, two = pair
    here, there, other = lab.add_pod(one), lab.add_pod(two), lab.add_pod(one)
    end = str(here.result["interfaces"][1]["name"])
    right = [(1450, True, True)] * 2

    def mended(*commands: str) -> None:
        before = one.tell("status")["pods"]["mended"]
        one.namespace.ip(*commands)
        wait_for(
            lambda: one.tell("status")["pods"]["mended"] > before and _host_ends(one) == right,
            f"mended: {commands}",
            timeout_s=SOON_S,
            also=one.log_tail,
        )
        assert here.ping(there.address).ok

    mended(f"link set {end} down")
    mended(f"link set {end} nomaster mtu 1300")
    mended(f"link set {end} alias x", f"link set {end} alias ''", f"link set {end} down")
    mended("link del overlay0")
    assert other.ping(there.address).ok
    assert other.ping(here.address).ok
    wait_for(lambda: "is not in bridge overlay0" in one.log_text(), "it is said", timeout_s=SOON_S)
    wait_for(lambda: one.tell("status")["pods"]["faults"] == {}, "no fault", timeout_s=SOON_S)

    def kept() -> list[str]:
        return [str(entry["object"]) for entry in one.ask("drift")["entries"]]

    wait_for(
        lambda: any("link of pod" in name or name == "links of pods" for name in kept()),
        "it is kept",
        timeout_s=SOON_S,
        also=lambda: str(kept()),
    )


def test_too_small_for_ipv6_costs_ipv4_nothing(dual: tuple[Lab, Node, Node]) -> None:
    """One error with both numbers; IPv4 follows, IPv6 has what still passes, a restart changes nothing."""
    lab, one, two = dual
    nodes = (one, two)
    here, there = lab.add_pod(one), lab.add_pod(two)
    six = next(ip_interface(it["address"]).ip for it in there.result["ips"] if ":" in it["address"])
    assert _mtu(here) == 1430
    for node in nodes:
        node.namespace.ip("link set eth0 mtu 1280")
    wait_for(lambda: (_mtu(here), _mtu(there)) == (1280, 1280), "followed", timeout_s=SOON_S)

    wait_for(lambda: "mtu" in one.tell("status")["trouble"], "it is said", timeout_s=SOON_S)
    found = one.tell("status")
    assert "underlay MTU 1280 of eth0 leaves 1210 bytes" in found["trouble"]["mtu"]
    assert "IPv6 (at least 1280)" in found["trouble"]["mtu"]
    assert (found["verdict"], found["in_sync"]) == ("degraded", True)
    wait_for(
        lambda: here.ping(there.address, payload=1230 - 28, whole=True).ok,
        "what fits passes",
        timeout_s=SOON_S,
    )
    assert "mtu = 1230" in here.ping(there.address, payload=1231 - 28, whole=True).text
    assert here.ping(six, wait_s=5).ok
    one.kill_agent()
    one.start_agent()
    one.wait_ready(peers=1)
    assert one.tell("status")["changes"] == 0
    for node in nodes:
        node.namespace.ip("link set eth0 mtu 1500")
    wait_for(lambda: (_mtu(here), _mtu(there)) == (1430, 1430), "back", timeout_s=SOON_S)
    wait_for(lambda: one.tell("status")["verdict"] == "healthy", "healthy", timeout_s=SOON_S)
    assert here.ping(six, payload=1430 - 48, whole=True, wait_s=5).ok


def test_a_pod_that_lost_its_link_is_named_at_once(pair: tuple[Lab, Node, Node]) -> None:
    """Nobody can give it back from outside; a DEL is no such thing."""
    lab, one, _two = pair
    pod, other = lab.add_pod(one), lab.add_pod(one)
    lab.remove_pod(other)
    one.namespace.ip(f"link del {pod.result['interfaces'][1]['name']}")
    wait_for(lambda: one.tell("status")["pods"]["faults"] != {}, "named", timeout_s=SOON_S)
    assert list(one.tell("status")["pods"]["faults"]) == [f"overlay/{pod.container}@eth0"]
    assert one.log_text().count("start the pod anew") == 1
