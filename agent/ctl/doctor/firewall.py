"""Do the rules of other programs let pods' packets and the tunnel's through? Which one does not, with the command.

Packets are made up and walked through the rules (agent.rulesets), the tunnel's in and out, pods' in every direction.
A rule of a program that writes its rules anew is mended in that program's own words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address

from agent.ctl.doctor.finding import Finding, Severity, found
from agent.ctl.doctor.look import Look
from agent.ctl.doctor.tunnel import Tunnel, tunnel
from agent.rulesets import Drop, Packet, Ruleset
from agent.rulesets import judge as walk
from agent.rulesets import read as understand
from overlay.dataplane.filters import listings
from overlay.model import Address, Family

BRIDGE_FILTER = "net/bridge/bridge-nf-call-iptables"
_OUTSIDE: dict[Family, Address] = {
    Family.V4: ip_address("192.0.2.1"),
    Family.V6: ip_address("2001:db8::1"),
}
"""Documentation's (RFC 5737, RFC 3849): whoever is not in the pod network."""
_TCP = 8080
_IPTABLES = re.compile(r"(table ip6? filter|ip6?tables-legacy -t filter) chain")


@dataclass(frozen=True, slots=True)
class Facts:
    """``tunnel`` names devices, port and pod network, as they are or will be."""

    ruleset: Ruleset
    tunnel: Tunnel
    bridge_filter: bool = False


def check(look: Look) -> list[Finding]:
    """All rules of the node's namespace."""
    ruleset = understand(listings())
    return judge(Facts(ruleset, tunnel(look), look.switch(BRIDGE_FILTER) == "1"))


def judge(facts: Facts) -> list[Finding]:
    """Pure."""
    findings: dict[tuple[str, str], Finding] = {}
    for kind, what, packet in _packets(facts.tunnel, facts.bridge_filter):
        hooks = {"input": ("prerouting", "input"), "output": ("output", "postrouting")}
        for hook in hooks.get(packet.hook, ("prerouting", "forward", "postrouting")):
            for drop in walk(facts.ruleset, _at(packet, hook)):
                if kind == "bridge-filter" and ("forward-drop", drop.where + drop.rule) in findings:
                    continue
                findings.setdefault(
                    (kind, drop.where + drop.rule), _finding(kind, what, drop, facts)
                )
    return [*findings.values(), *_unread(facts.ruleset)]


def _unread(ruleset: Ruleset) -> list[Finding]:
    return [
        found(
            "rules-unread", "note", f"not judged: {text}", "nft list ruleset; iptables-legacy -vnL"
        )
        for text in ruleset.unread
    ]


def _at(packet: Packet, hook: str) -> Packet:
    """The same where only one of the interfaces is known yet, or still."""
    iif = "" if hook == "postrouting" and packet.hook == "output" else packet.iif
    oif = "" if hook == "prerouting" else packet.oif
    return replace(packet, hook=hook, iif=iif, oif=oif)


def _packets(it: Tunnel, bridge_filter: bool) -> Iterator[tuple[str, str, Packet]]:
    """(kind of finding, words, packet)."""
    for pool in it.pools:
        first, last = pool.first.network_address + 2, pool.last.network_address + 2
        outside, below = _OUTSIDE[pool.family], it.below(pool.family)
        far = [name for name in (it.devices.get(pool.family), below if it.direct else "") if name]
        ways: list[tuple[str, str, str, Address, Address]] = [
            *(("pod to pod, leaving", it.bridge, name, first, last) for name in far),
            *(("pod to pod, arriving", name, it.bridge, last, first) for name in far),
            ("pods to the outside", it.bridge, below, first, outside),
        ]
        for what, iif, oif, saddr, daddr in ways:
            yield "forward-drop", what, _forwarded(iif, oif, saddr, daddr, str(pool.network))
        if bridge_filter:
            packet = _forwarded(it.bridge, it.bridge, first, first + 1, str(pool.network))
            yield "bridge-filter", "pod to pod on this node", packet
    for family in it.families if it.port else ():
        near, below = it.local(family) or _OUTSIDE[family], it.below(family)
        far_end = _OUTSIDE[family]
        arriving = Packet(
            "input", below, "", far_end, near, proto="udp", dport=it.port, sport=40000
        )
        leaving = Packet(
            "output", "", below, near, far_end, proto="udp", dport=it.port, sport=40000
        )
        yield "udp-in-blocked", f"UDP {it.port} from other nodes", arriving
        yield "udp-out-blocked", f"UDP {it.port} to other nodes", leaving


def _forwarded(iif: str, oif: str, saddr: Address, daddr: Address, network: str) -> Packet:
    return Packet(
        "forward", iif, oif, saddr, daddr, proto="tcp", sport=40000, dport=_TCP, network=network
    )


def _finding(kind: str, what: str, drop: Drop, facts: Facts) -> Finding:
    severity: Severity = "fault" if drop.sure and kind != "bridge-filter" else "warning"
    if (
        drop.narrow
    ):  # a limit, an address check: what it is for is rarely us, and it is not to be deleted unseen
        severity = "note"
    mend = mend_of(kind, drop, facts)
    return found(kind, severity, f"{what}: {drop}", f"{mend}; look: {drop.look}")


def culprit(drop: Drop, ruleset: Ruleset) -> str:
    """The program that a rule is of, where it is one that would write it again. Pure."""
    place = drop.where + " " + drop.rule
    if "firewalld" in place:
        return "firewalld"
    if "ufw" in place:
        return "ufw"
    chains = [name for _, table, name in ruleset.rules if table.endswith("filter")]
    if _IPTABLES.match(drop.where) and "policy" in drop.rule:
        if any(name.startswith("ufw") for name in chains):
            return "ufw"
        if any(name.startswith("DOCKER") for name in chains):
            return "docker"
    return "docker" if "DOCKER" in place else ""


def mend_of(kind: str, drop: Drop, facts: Facts) -> str:
    """The command in the words of the program whose rule it is. Pure."""
    it, who = facts.tunnel, culprit(drop, facts.ruleset)
    is_port = kind.startswith("udp")
    if kind == "bridge-filter":
        return (
            f"sysctl -w net.bridge.bridge-nf-call-iptables=0 (not with kube-proxy), or: {drop.mend}"
        )
    if who == "firewalld":
        if is_port:
            return f"firewall-cmd --permanent --add-port={it.port}/udp; firewall-cmd --reload"
        names = " ".join(f"--add-interface={name}" for name in it.own)
        return f"firewall-cmd --permanent --zone=trusted {names}; firewall-cmd --reload"
    if who == "ufw":
        if is_port:
            return (
                f"ufw allow {it.port}/udp"
                if kind == "udp-in-blocked"
                else f"ufw allow out {it.port}/udp"
            )
        return f"ufw route allow in on {it.bridge}; ufw route allow out on {it.bridge}"
    if who == "docker" and not is_port:
        program = drop.look.partition(" ")[0] if "legacy" in drop.where else "iptables"
        both = [f"{program} -I DOCKER-USER -{side} {it.bridge} -j ACCEPT" for side in ("i", "o")]
        return "; ".join(both)
    return drop.mend
