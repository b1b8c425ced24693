"""Policy rules that lead pods' packets past our routes: the kernel is asked for the way of one such packet.

Rules may be many and of any kind (marks, ports, users), so none is judged by what it says; they are read only where the
way is another one, to name the rule.
"""

from dataclasses import dataclass

from overlay.errors import KernelRefused
from overlay.model import Address, Family, Subnet
from overlay.netlink import Netlink, parse, policy

RT_TABLE_MAIN = 254
"""linux/rtnetlink.h."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One of a pod (``source``, it comes by the bridge ``iif``) to one of the peer that has ``subnet``."""

    source: Address
    iif: int
    subnet: Subnet


def diverted(netlink: Netlink, packet: Packet) -> tuple[str, str] | None:
    """What leads it elsewhere, and why that is in the way; None if it is looked up in the main table."""
    target = packet.subnet.network_address + 1
    try:
        answers = netlink.get(policy.way_ask(target, source=packet.source, iif=packet.iif))
    except KernelRefused:
        return _by_rule(netlink, packet, table=0)  # or forwarding is off, which others tell
    table = next((parse.parse_route(body).table for _, body in answers), RT_TABLE_MAIN)
    return None if table == RT_TABLE_MAIN else _by_rule(netlink, packet, table=table)


def _by_rule(netlink: Netlink, packet: Packet, *, table: int) -> tuple[str, str] | None:
    """The rule that looks into ``table``; where nothing is said of a table (0) one that may refuse the packet."""
    family = Family.of(packet.subnet)
    rules = (policy.parse_rule(body) for _, body in netlink.dump(policy.rule_dump(family)))
    for rule in sorted(rules, key=lambda rule: rule.priority):
        if rule.dst is not None and not rule.dst.overlaps(packet.subnet):
            continue
        if not table and not rule.action and rule.table == RT_TABLE_MAIN:
            return None  # it got as far as our routes
        # where nothing is said of a table: of rules for marks and the like only those that say where to
        suspect = rule.dst is not None or rule.action
        if (rule.table == table and not rule.action) if table else suspect:
            return _named(rule, packet.subnet)
    return None


def _named(rule: policy.PolicyRule, subnet: Subnet) -> tuple[str, str]:
    flag = "-6 " if Family.of(subnet) is Family.V6 else ""
    leads = rule.action or f"lookup {rule.table}"
    more = "" if rule.action else f"; ip {flag}route show table {rule.table}"
    why = f"packets of pods to those of {subnet} go by it, and not by our routes"
    return f"policy rule {rule.priority} {leads}", f"{why}; look: ip {flag}rule{more}"
