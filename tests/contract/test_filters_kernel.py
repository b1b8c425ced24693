"""The firewall rules of real tools, read from a real kernel and judged."""

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent.rulesets import Drop, Packet, judge, read
from overlay.dataplane.filters import listings
from overlay.netlink.namespace import run_inside
from tests.contract.spaces import inside

pytestmark = pytest.mark.contract
PACKET = Packet("forward", "overlay0", "overlay.1", ip_address("10.5.1.2"), ip_address("10.5.2.3"))
RULES = """
table inet fw {
    set peers { type ipv4_addr; flags interval; elements = { 10.5.1.0/24 } }
    map where { type ifname : verdict; elements = { "overlay0" : jump sub } }
    chain ways {
        type filter hook forward priority 10; policy accept;
        ct state established,related accept
        ip protocol tcp reject with tcp reset
        iifname vmap @where
    }
    chain sub { ip saddr @peers icmp type echo-request counter drop
    }
    chain masq { type nat hook postrouting priority srcnat; policy accept;
    }
}
"""


def told(space: Path, packet: Packet = PACKET) -> list[str]:
    """The drops in words."""
    return [str(drop) for drop in judge(read(run_inside(space, listings)), packet)]


def test_nft_rules_are_read_with_their_words_and_the_command_removes_them(space: Path) -> None:
    """Sets, maps, jumps; no rules, no drops."""
    assert told(space) == []
    inside(space, "nft", RULES)
    name = "table inet fw chain ways > sub"
    rule = 'rule "ip saddr @peers icmp type echo-request drop"'
    assert told(space) == [f"{name}: {rule} (0 packets so far) drops it"]
    assert told(space, replace(PACKET, state="established")) == []
    tcp = replace(PACKET, proto="tcp", dport=80)
    assert [text.rpartition('" ')[2] for text in told(space, tcp)] == ["rejects it"]
    drops = judge(read(run_inside(space, listings)), PACKET)
    inside(space, "sh", "-ec", drops[0].mend)
    assert told(space) == []


def test_iptables_rules_are_read_as_nft_translates_them(space: Path) -> None:
    """A policy, conntrack and multiport matches, a comment, REJECT; a match that nobody translates."""
    if "nf_tables" not in inside(space, "iptables", "--version"):
        pytest.skip("iptables is the legacy one here")
    inside(space, "iptables", "-P", "FORWARD", "DROP")
    for rule in (
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-p tcp -m multiport --dports 80,443 -j REJECT",
        "-p udp -m physdev --physdev-in x -j DROP",
    ):
        inside(space, "iptables", "-A", "FORWARD", *rule.split())
    where = "table ip filter chain FORWARD"
    assert told(space) == [f"{where}: policy drop drops it"]
    assert told(space, replace(PACKET, state="established")) == []
    assert [it.effect for it in _drops(space, "tcp", 443)] == ["rejects"]
    assert [(it.sure, it.rule) for it in _drops(space, "udp", 53)] == [
        (False, 'rule "meta l4proto udp xt match physdev drop"'),
        (True, "policy drop"),
    ]
    assert _drops(space, "tcp", 22)[0].rule == "policy drop"
    drops = judge(read(run_inside(space, listings)), replace(PACKET, network="10.5.0.0/16"))
    inside(space, "sh", "-ec", drops[0].mend)
    assert told(space) == []


def _drops(space: Path, proto: str, port: int) -> list[Drop]:
    packet = replace(PACKET, proto=proto, dport=port)
    return judge(read(run_inside(space, listings)), packet)


@pytest.mark.parametrize("v6", [False, True])
def test_rules_of_iptables_legacy_are_read_from_the_kernel(space: Path, v6: bool) -> None:
    """Both families: addresses, interfaces, ports, states, jumps, a policy; what is not understood is unsure."""
    program = "ip6tables-legacy" if v6 else "iptables-legacy"
    net, here, there = (
        ("fd00:5::/48", "fd00:5:0:1::2", "fd00:5:0:2::3")
        if v6
        else ("10.5.0.0/16", "10.5.1.2", "10.5.2.3")
    )
    packet = replace(PACKET, saddr=ip_address(here), daddr=ip_address(there))
    assert told(space, packet) == []
    for rule in (
        "-N SUB",
        "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-A FORWARD -i eth+ -j DROP",
        "-A FORWARD -o docker0 -j DROP",
        f"-A FORWARD ! -s {net} -j DROP",
        "-A FORWARD -p udp --dport 8472 -m comment --comment x -j DROP",
        "-A FORWARD -p tcp -j SUB",
        f"-A SUB -s {net} -i overlay+ -p tcp --dport 80:90 -j REJECT",
        "-A SUB -m recent --name x --rcheck -j DROP",
        "-P FORWARD DROP",
    ):
        inside(space, program, *rule.split())
    chain = f"{program} -t filter chain FORWARD"
    assert told(space, packet) == [f"{chain}: policy drop drops it"]
    assert told(space, replace(packet, state="established")) == []
    udp = told(space, replace(packet, proto="udp", dport=8472))
    assert udp[0].startswith(
        f'{chain}: rule "l4proto 17 udp dport 8472 -m comment drop" (0 packets'
    )
    web = told(space, replace(packet, proto="tcp", dport=81))
    assert [text.rpartition(" ")[0].rpartition(" ")[2] for text in web] == ["rejects"]
    assert "-t filter chain FORWARD > SUB" in web[0]
    ssh = judge(read(run_inside(space, listings)), replace(packet, proto="tcp", dport=22))
    assert [(drop.sure, "recent" in drop.rule) for drop in ssh] == [(False, True), (True, False)]
    drops = judge(read(run_inside(space, listings)), replace(packet, network=net))
    inside(space, "sh", "-ec", drops[0].mend)
    assert told(space, packet) == []
