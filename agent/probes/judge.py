"""What a course has shown, in one word, one sentence, and the command that mends it. Pure.

Nothing is called broken that was not asked for again, and no size is named that did not come back.
"""

from agent.probes.course import Measured
from agent.probes.result import Result, State
from agent.probes.targets import Target
from overlay.model import LEAST_V6_MTU, Family

LEAST = {Family.V4: 576, Family.V6: LEAST_V6_MTU}
"""Below this no MTU is proposed: what every host has to take (RFC 791, RFC 8200)."""
MOST_CHANCE = 0.001
Loss = tuple[int, int]
"""Packets that ought to pass: sent, lost."""


def may_be_set(target: Target, outer: int) -> bool:
    """Is there room on an underlay of that MTU for the least packet, of IPv6 where the peer has that as well?"""
    family = Family.V6 if "&" in target.key else target.family
    return outer >= LEAST[family] + (family.overhead if target.overhead else 0)


def loss(measured: Measured) -> Loss:
    """Large packets count where at least one has passed: a hole for all of them is no loss."""
    sent, back = measured.sent, measured.back
    if measured.large_back:
        sent, back = sent + measured.large_sent, back + measured.large_back
    return sent, sent - back


def judge(
    target: Target,
    measured: Measured,
    *,
    at: float,
    window: Loss | None = None,
    tolerated: float = 0.0,
    prefix: str = "",
) -> Result:
    """``window`` is the loss over more than this course, ``tolerated`` the share of it that is nothing to speak of:
    where there is one, a single packet is none either.
    """
    sent, lost = window or loss(measured)
    rtts = sorted(measured.rtts_s) or [0.0]
    allowed = max(1.0, tolerated * sent) if tolerated else 0.0
    state, why, mend = _words(target, measured, prefix)
    if state == "ok" and lost > allowed:
        state = "lossy"
        why = f"{lost} of {sent} packets to {target.name} were lost"
        mend = f"overlayctl probe {target.name}; ip -s link show dev {target.device or 'DEVICE'}, here and there"
    underlay = "answers" if measured.underlay_answers else "silent" if not measured.back else ""
    return Result(
        key=target.key,
        node=target.node,
        family=target.family.value,
        address=str(target.address),
        sent=sent,
        lost=lost,
        rtt_ms=_ms(rtts[len(rtts) // 2]),
        largest=measured.largest,
        full=target.full,
        state=state,
        at=at,
        rtt_min_ms=_ms(rtts[0]),
        rtt_max_ms=_ms(rtts[-1]),
        underlay=underlay if measured.underlay_asked else "",
        heard=measured.heard,
        why=why,
        next=mend,
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _words(target: Target, measured: Measured, prefix: str) -> tuple[State, str, str]:
    if not measured.back:
        return "silent", *_silence(target, measured)
    if measured.large_sent and not measured.large_back:
        if _by_chance(measured):
            lost = measured.sent - measured.back
            why = (
                f"{lost} of {measured.sent} small packets to {target.name} were lost, and all {measured.large_sent} "
                "large ones: too many of any size to tell a black hole; the node is busy, or limits ICMP"
            )
            return (
                "lossy",
                why,
                f"overlayctl probe {target.name}; on {target.name}: nft list ruleset | grep -n icmp",
            )
        return "black hole", *_hole(target, measured, prefix)
    return "ok", "", ""


def _by_chance(measured: Measured) -> bool:
    """Would the loss of small packets explain that no large one came back?"""
    share = (measured.sent - measured.back) / measured.sent
    return bool(share**measured.large_sent > MOST_CHANCE)


def _hole(target: Target, measured: Measured, prefix: str) -> tuple[str, str]:
    fits, full, name = measured.largest, target.full, target.name
    if measured.too_long_here:
        why = f"packets above {fits} bytes do not leave this node for {name}; pods have {full}"
        return why, "overlayctl plan; overlayctl status"
    why = f"packets above {fits} bytes vanish on the way to {name} ({target.subnet}); pods have {full}"
    mend = (
        f"mend the link between {target.local} and {target.underlay}: it has to carry packets of "
        f"{full + target.added} bytes and carries {fits + target.added}"
    )
    if target.underlay.version == 6:  # routers' words about it are remembered for ten minutes
        mend += " (if it does by now: ip -6 route flush cache, on both)"
    outer = fits + target.overhead
    if not may_be_set(target, outer):
        family = target.family.value if fits < LEAST[target.family] else 6
        return why, f"{mend}, too few for IPv{family}"
    return why, (
        f'{mend}; or let all nodes use what it carries: "MTU": {outer} in "Backend" of {prefix or "P"}/config, then '
        "systemctl restart overlay-agent on each; or those two only, at once: "
        f"ip link set dev {target.device or 'DEVICE'} mtu {outer} on both"
    )


def _silence(target: Target, measured: Measured) -> tuple[str, str]:
    if measured.refused:
        why = f"this node's own kernel does not send: {measured.refused}"
        return why, f"ip route get {target.address}; overlayctl plan"
    if measured.own_rule:
        return f"silent: here, {measured.own_rule}", measured.own_mend
    name, underlay = target.name, target.underlay
    if target.port:
        return _silent_tunnel(target, measured)
    if measured.underlay_answers:
        return (
            f"silent, underlay {underlay} answers: packets of pods are dropped on {name} or on the way to it",
            f"on {name}: overlayctl status, nft list ruleset, ip route get {target.source}",
        )
    return _gone(target, measured)


def _silent_tunnel(target: Target, measured: Measured) -> tuple[str, str]:
    name, underlay, port = target.name, target.underlay, target.port
    firewalls = (
        f"nft list ruleset | grep -n {port}, on {name} and here; then security groups between"
    )
    said = measured.unreachable
    if said == "port unreachable":
        return (
            f"silent, and {underlay} says that nothing listens on its UDP port {port}: the VXLAN device of {name} is "
            "gone, or a firewall there rejects it",
            f"on {name}: ip -d link show type vxlan; overlayctl status; nft list ruleset | grep -n {port}",
        )
    if said and not said.startswith("host unreachable"):
        return f"silent: UDP port {port} of {underlay} is refused ({said})", firewalls
    if not measured.underlay_answers:
        return _gone(target, measured)
    return _blocked(target, measured)


def _blocked(target: Target, measured: Measured) -> tuple[str, str]:
    """By which side's requests arrive at the other."""
    name, port = target.name, target.port
    here, there = measured.heard, measured.heard_there
    said = f"; {measured.far_said}" if measured.far_said else ""
    begin = f"silent, underlay {target.underlay} answers"
    look = f"nft list ruleset | grep -n {port}"
    if here and there:
        return (
            f"{begin}, and packets arrive in both directions: ICMP echo is dropped on {name}",
            f"on {name}: nft list ruleset | grep -n icmp",
        )
    if here:
        return (
            f"{begin}, and packets of {name} arrive here: UDP port {port} is blocked from here to {name}",
            f"on {name}: {look}; then security groups between",
        )
    if there:
        return (
            f"{begin}, and our packets arrive at {name}: UDP port {port} is blocked from {name} to here",
            f"here: {look}; then security groups between",
        )
    ways = " in both directions" if there is False else ""
    return (
        f"{begin}: UDP port {port} is blocked{ways}{said}",
        f"{look}, on {name} and here; then security groups between",
    )


def _gone(target: Target, measured: Measured) -> tuple[str, str]:
    name, underlay = target.name, target.underlay
    said = f" ({measured.unreachable})" if measured.unreachable else ""
    if measured.far_answers:
        return (
            f"silent, and so is its underlay address {underlay}{said}, but the agent of {name} answers by way of etcd: "
            "the way between is down, or ICMP is dropped on it",
            f"ip route get {underlay}; nft list ruleset | grep -n icmp, on {name} and here",
        )
    return (
        f"silent, and so is its underlay address {underlay}{said}: {name} is gone, or the way to it is down",
        f"ping {underlay}; if it is gone for good: overlayctl node remove {target.node or target.underlay}",
    )
