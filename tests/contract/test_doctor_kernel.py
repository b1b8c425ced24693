"""The doctor on a real kernel: each trouble planted in a namespace is found, what is mended is found no more."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from agent.ctl.doctor import mending
from tests.contract import firewalls, spaces
from tests.contract.doctor_node import DIRECT, SickNode
from tests.contract.spaces import difference, picture

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SickNode]:
    """One for all plantings, each of which is taken away again."""
    with spaces.namespace() as space:
        made = SickNode(space, tmp_path_factory.mktemp("doctor"))
        made.shell("sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=0")
        yield made


@dataclass(frozen=True, slots=True)
class Row:
    """``plant`` and ``away`` are shell lines; ``says`` has to stand in the finding; ``fix``: --fix mends it."""

    kind: str
    check: str
    plant: str
    away: str
    says: str = ""
    fix: bool = False
    network: str = ""


def nft(hook: str, *rules: str, policy: str = "accept") -> str:
    """A table of somebody's."""
    lines = "\n".join(rules)
    return (
        f"nft -f - <<'EOF'\ntable inet theirs {{\nchain c {{\ntype filter hook {hook} priority 10; policy {policy};\n"
        f"{lines}\n}}\n}}\nEOF\n"
    )


GONE = "nft delete table inet theirs"
BIG = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","MTU":9000}}'
DUAL = '{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
HOST_GW = '{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}'
PLANTED = [
    Row(
        "ip-forward",
        "forwarding",
        "sysctl -qw net.ipv4.ip_forward=0",
        "sysctl -qw net.ipv4.ip_forward=1",
        "sets it",
    ),
    Row(
        "rp-filter",
        "forwarding",
        "sysctl -qw net.ipv4.conf.eth0.rp_filter=1",
        ":",
        "rp_filter of eth0 is 1",
        fix=True,
    ),
    Row(
        "rp-filter",
        "forwarding",
        "sysctl -qw net.ipv4.conf.all.rp_filter=1",
        "sysctl -qw net.ipv4.conf.all.rp_filter=0",
        "by all",
    ),
    Row(
        "forward-drop",
        "firewall",
        nft("forward", 'iifname "overlay0" drop'),
        GONE,
        'rule "iifname \\"overlay0\\" drop"'.replace("\\", ""),
    ),
    Row("forward-drop", "firewall", nft("forward", policy="drop"), GONE, "policy drop"),
    Row(
        "forward-drop",
        "firewall",
        "iptables -P FORWARD DROP",
        "iptables -P FORWARD ACCEPT",
        "chain FORWARD: policy drop",
    ),
    Row(
        "forward-drop",
        "firewall",
        nft("forward", 'iifname "eth0" oifname "overlay0" ip saddr 10.5.0.0/16 drop'),
        GONE,
        "pod to pod, arriving",
    ),
    Row(
        "forward-drop",
        "firewall",
        "iptables-legacy -P FORWARD DROP",
        "iptables-legacy -P FORWARD ACCEPT",
        "iptables-legacy -t filter chain FORWARD: policy drop",
    ),
    Row(
        "forward-drop",
        "firewall",
        nft("forward", 'iifname "overlay-v6.1" ip6 daddr fd00:5::/48 drop'),
        GONE,
        "pod to pod, arriving",
        network=DUAL,
    ),
    Row(
        "forward-drop",
        "firewall",
        nft("forward", 'iifname "overlay0" oifname "eth0" ip daddr 10.5.0.0/16 drop'),
        GONE,
        "pod to pod, leaving",
        network=HOST_GW,
    ),
    Row(
        "udp-in-blocked",
        "firewall",
        nft("input", "udp dport 8472 drop"),
        GONE,
        "UDP 8472 from other nodes",
    ),
    Row(
        "udp-in-blocked",
        "firewall",
        nft("prerouting", "ip saddr 192.0.2.0/24 drop"),
        GONE,
        "drops it",
    ),
    Row("udp-out-blocked", "firewall", nft("output", "udp dport 8472 reject"), GONE, "rejects it"),
    Row(
        "bridge-filter",
        "firewall",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=1; iptables -A FORWARD -i overlay0 -o overlay0 -j DROP",
        "sysctl -qw net.bridge.bridge-nf-call-iptables=0; iptables -F FORWARD",
        "on this node",
    ),
    Row(
        "vxlan-taken",
        "overlap",
        "ip link add calico type vxlan id 1 dstport 8472 local 192.168.50.1 dev eth0",
        "ip link del calico",
        "device calico",
    ),
    Row(
        "pod-network-overlap",
        "overlap",
        "ip route add 10.5.77.0/24 via 192.168.50.254",
        "ip route del 10.5.77.0/24",
        "10.5.77.0/24",
    ),
    Row(
        "pod-network-overlap",
        "overlap",
        "ip link add docker0 type bridge; ip addr add 10.5.99.1/24 dev docker0",
        "ip link del docker0",
        "on docker0",
    ),
    Row(
        "underlay-none",
        "underlay",
        "ip route del default",
        "ip route add default via 192.168.50.254",
        "no default route",
    ),
    Row(
        "underlay-mtu",
        "underlay",
        "ip link set eth0 mtu 600",
        "ip link set eth0 mtu 1500",
        "MTU 600",
    ),
    Row("backend-mtu", "underlay", ":", ":", "MTU 9000, eth0 has 1500", network=BIG),
]


@pytest.mark.parametrize("row", PLANTED, ids=[f"{row.kind}-{at}" for at, row in enumerate(PLANTED)])
def test_what_is_planted_is_found_and_once_it_is_gone_no_more(node: SickNode, row: Row) -> None:
    """By the real tools; a safe one goes by --fix."""
    if row.network:
        node.remember(row.network)
    try:
        node.shell(row.plant)
        findings = [one for one in node.examine(row.check) if one.id == row.kind]
        assert findings, node.ids(row.check)
        assert row.says in findings[0].title
        if row.fix:
            done = node.inside(lambda: mending.mend(findings, dry_run=False))
            assert [one.error for one in done] == [""]
            assert row.kind not in node.ids(row.check)
    finally:
        node.shell(row.away)
        node.remember(DIRECT)
    assert row.kind not in node.ids(row.check)


def test_a_user_of_the_tunnels_port_is_named(node: SickNode) -> None:
    """With its process."""

    def bound() -> socket.socket:
        door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        door.bind(("0.0.0.0", 8472))
        return door

    with node.inside(bound):
        (finding,) = node.examine("udp-port")
    assert finding.id == "udp-port-taken"
    assert "process" in finding.title
    assert node.ids("udp-port") == []


@pytest.mark.parametrize(
    ("load", "mends"),
    [
        (
            f"nft -f - <<'EOF'\n{firewalls.FIREWALLD}\nEOF\n",
            {"forward-drop": "firewall-cmd", "udp-in-blocked": "--add-port=8472/udp"},
        ),
        (
            f"iptables-restore <<'EOF'\n{firewalls.UFW}EOF\n",
            {
                "forward-drop": "ufw route allow in on overlay0",
                "udp-in-blocked": "ufw allow 8472/udp",
            },
        ),
        (
            f"iptables-restore <<'EOF'\n{firewalls.DOCKER}EOF\n",
            {"forward-drop": "iptables -I DOCKER-USER -i overlay0"},
        ),
        (
            f"iptables-legacy-restore <<'EOF'\n{firewalls.DOCKER}EOF\n",
            {"forward-drop": "iptables-legacy -I DOCKER-USER -i overlay0"},
        ),
    ],
    ids=["firewalld", "ufw", "docker", "docker-legacy"],
)
def test_the_rules_of_known_firewalls_are_mended_in_their_own_words(
    node: SickNode, load: str, mends: dict[str, str]
) -> None:
    """What drops is named with its rule, and a mend that outlives the program's next reload."""
    try:
        node.shell(load)
        findings = node.examine("firewall")
        assert {one.id for one in findings} == set(mends)
        for one in findings:
            assert mends[one.id] in one.mend
            assert one.severity == "fault"
        if "DOCKER" in load:
            node.shell("; ".join(one.mend.partition("; look:")[0] for one in findings))
            left = [one for one in node.examine("firewall") if "overlay0" in one.title]
            assert left == []
    finally:
        for program in ("iptables", "iptables-legacy"):
            node.shell(f"{program}-restore <<'EOF'\n{firewalls.EMPTY}EOF\n")
        node.shell("nft delete table inet firewalld 2>/dev/null || :")


def test_looking_changes_nothing_of_the_node(node: SickNode) -> None:
    """All checks, the trial of the kernel included; and none fails or is late."""
    before = picture(node.space)
    found = node.ids()
    assert difference(before, picture(node.space)) == []
    assert not {"check-failed", "check-late"} & set(found)
    assert not {"kernel-link", "nft-unusable", "kernel-untried"} & set(found)
    assert "etcd-unreachable" in found
