"""Is it a rule of this very node that drops the tunnel's packets? Then nobody else need be asked."""

from collections.abc import Sequence
from contextlib import suppress

from agent.probes.course import Course
from agent.probes.targets import Target
from agent.rulesets import Drop, Packet, Ruleset, judge, read
from overlay.dataplane.filters import listings
from overlay.errors import OverlayError


def look_here(courses: Sequence[Course]) -> None:
    """Complete what was measured of those that are silent."""
    silent = [it for it in courses if not it.measured.back and it.target.port]
    if not silent:
        return
    ruleset: Ruleset | None = None
    with suppress(OverlayError):  # then it stays unknown
        ruleset = read(listings())
    for course in silent if ruleset else ():
        assert ruleset is not None
        if found := dropping(ruleset, course.target):
            drop, way = found
            course.measured.own_rule = f"{drop} (UDP port {course.target.port} {way})"
            course.measured.own_mend = f"{drop.mend}; look: {drop.look}"


def dropping(ruleset: Ruleset, target: Target) -> tuple[Drop, str] | None:
    """The first rule that surely drops the tunnel's packets, and which of them."""
    port, device = target.port, target.device
    ways = {
        f"to {target.underlay}": [
            Packet(hook, "", device, target.local, target.underlay, "udp", dport=port)
            for hook in ("output", "postrouting")
        ],
        f"from {target.underlay}": [
            Packet(hook, device, "", target.underlay, target.local, "udp", dport=port)
            for hook in ("prerouting", "input")
        ],
    }
    for way, packets in ways.items():
        for packet in packets:
            for drop in judge(ruleset, packet):
                if drop.sure:
                    return drop, way
    return None
