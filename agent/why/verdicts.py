"""What the firewall rules of one namespace do to the packets of one path, hook by hook."""

import struct
from dataclasses import replace

from agent.rulesets import Drop, Packet, Ruleset, judge, read
from agent.why.facts import Taken, Way
from agent.why.question import Question, address
from overlay.dataplane.filters import listings
from overlay.errors import OverlayError
from overlay.family import Address, Family
from overlay.model import DEFAULT_VXLAN_PORT
from overlay.netlink import LinkInfo
from overlay.nodefile import NodePage

MOST = 16
UNREAD = "the firewall rules"
"""How such a sentence begins, in the facts' ``unread``."""


class Verdicts:
    """``read`` in the thread that is in the namespace; then each question is arithmetic."""

    def __init__(
        self, asked: Question, other: Address, own: Address | None, page: NodePage | None
    ) -> None:
        self._asked, self._other, self._address = asked, other, own
        self._rules = Ruleset()
        self.unread: list[str] = []
        families = page.families if page else ()
        same = (one for one in families if one.family is Family.of(other))
        self._cluster = next((str(one.cluster) for one in same), "")

    def read(self) -> None:
        """What cannot be read is said in ``unread``; every answer is empty then."""
        try:
            self._rules = read(listings())
        except (OverlayError, OSError, ValueError, struct.error) as error:
            self.unread.append(f"{UNREAD}: {error}")
            return
        self.unread += [f"{UNREAD}: {why}" for why in self._rules.unread]

    def forward(self, iif: str, oif: str, *, out: bool) -> list[Taken]:
        """What is routed between the bridge and the way to the other node."""
        hooks = ("prerouting", "forward", "postrouting")
        packets = (self._routed(hook, iif, oif, out) for hook in hooks)
        routed = [drop for packet in packets for drop in self._judged(packet)]
        device = oif if out else iif
        at_device = self._at_device(
            replace(self._routed("", "", "", out), iif=device, oif=device), out=out
        )
        return [*routed, *at_device][:MOST] if out else [*at_device, *routed][:MOST]

    def tunnel(self, below: Way | None, tunnel: LinkInfo | None, *, out: bool) -> list[Taken]:
        """What carries it: UDP between the nodes. Nothing where there is no tunnel."""
        vxlan = tunnel.vxlan if tunnel else None
        if vxlan is None or below is None or not below.link:
            return []
        peer = address(below.to)
        source, target = (vxlan.local, peer) if out else (peer, vxlan.local)
        hooks = ("output", "postrouting") if out else ("prerouting", "input")
        port = vxlan.port or DEFAULT_VXLAN_PORT
        packet = Packet(
            "",
            iif="" if out else below.link,
            oif=below.link if out else "",
            saddr=source,
            daddr=target,
            proto="udp",
            dport=port,
        )
        at_device = self._at_device(packet, out=out)
        routed = [it for hook in hooks for it in self._judged(replace(packet, hook=hook))]
        return [*routed, *at_device][:MOST] if out else [*at_device, *routed][:MOST]

    def bridged(self, veth: str, bridge: str, *, out: bool, beside: bool) -> list[Taken]:
        """The frame between the pod's veth and the bridge; ``beside``: the other pod is another port of it."""
        if beside:
            hooks = ("prerouting", "forward") if out else ("postrouting",)
        else:
            hooks = ("prerouting", "input") if out else ("output", "postrouting")
        found: list[Taken] = []
        for hook in hooks:
            iif, oif = (veth, "" if beside else bridge) if out else ("", veth)
            found += self._judged(replace(self._routed(hook, iif, oif, out), layer="bridge"))
        for device in (veth,) if beside else (veth, bridge):
            frame = replace(self._routed("", "", "", out), iif=device, oif=device)
            found += self._at_device(frame, out=not out)
        return found[:MOST]

    def pod(self, ifname: str, *, out: bool) -> list[Taken]:
        """In the pod's own namespace."""
        hooks = ("output", "postrouting") if out else ("prerouting", "input")
        iif, oif = ("", ifname) if out else (ifname, "")
        return [
            drop
            for hook in hooks
            for drop in self._judged(replace(self._routed(hook, iif, oif, out), network=""))
        ][:MOST]

    def _at_device(self, packet: Packet, *, out: bool) -> list[Taken]:
        """Chains of the device itself, which see a frame before and after all others."""
        return self._judged(replace(packet, hook="egress" if out else "ingress", layer="netdev"))

    def _routed(self, hook: str, iif: str, oif: str, out: bool) -> Packet:
        here, there = (self._address, self._other) if out else (self._other, self._address)
        port, calls = self._asked.port or None, out is not self._asked.answering
        return Packet(
            hook,
            iif="" if hook in ("output", "postrouting") else iif,
            oif="" if hook in ("prerouting", "input") else oif,
            saddr=here,
            daddr=there,
            proto=self._asked.proto,
            sport=None if calls else port,
            dport=port if calls else None,
            state="new" if calls else "established",
            network=self._cluster,
        )

    def _judged(self, packet: Packet) -> list[Taken]:
        return [_taken(drop) for drop in judge(self._rules, packet)[:MOST]]


def _taken(drop: Drop) -> Taken:
    return Taken(said=str(drop)[:600], sure=drop.sure, mend=drop.mend[:600], look=drop.look[:600])
