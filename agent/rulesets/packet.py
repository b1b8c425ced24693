"""A hypothetical packet, and whether one statement of a rule matches it: yes, no, or it cannot be told. Pure."""

import ipaddress
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from overlay.family import Address, Family

Sets = Callable[[str], Sequence[Any] | None]
"""The elements of a named set or map, None where they are not known."""

_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17, "ipv6-icmp": 58, "icmpv6": 58}
_ORDER = {"<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge}
_CT_STATE = re.compile(r"\bct state (?:\{ )?([a-z]+(?:, ?[a-z]+)*)")
_PORTS = re.compile(r"\b(tcp|udp) (dport|sport) (!= )?(?:\{ ([\d, -]+) \}|(\d+(?:-\d+)?))")
MOST_ELEMENTS = 100_000


@dataclass(frozen=True, slots=True)
class Packet:
    """``layer`` is "ip", "bridge" for a frame between ports, "netdev" for one at a device.

    ``None`` and "" are "it is not said".

    ``network`` is what an accepting rule may be written for, such as the pod network; "" for the packet alone.
    """

    hook: str
    iif: str = ""
    oif: str = ""
    saddr: Address | None = None
    daddr: Address | None = None
    proto: str = "icmp"
    sport: int | None = None
    dport: int | None = None
    state: str = "new"
    layer: str = "ip"
    network: str = ""

    @property
    def family(self) -> Family:
        """By its addresses."""
        known = self.daddr or self.saddr
        return Family.of(known) if known is not None else Family.V4

    @property
    def families(self) -> tuple[str, ...]:
        """The nft families whose chains it meets."""
        if self.layer != "ip":  # the inet family has an ingress hook as well
            return (self.layer, *(["inet"] if self.layer == "netdev" else []))
        return ("inet", "ip" if self.family is Family.V4 else "ip6")

    def is_of(self, proto: object) -> bool:
        """By name or number."""
        mine = _NUMBERS.get(self.proto, self.proto)
        if self.proto == "icmp" and self.family is Family.V6:
            mine = _NUMBERS["icmpv6"]
        return mine == (_NUMBERS.get(proto, proto) if isinstance(proto, str) else proto)


def matches(packet: Packet, statement: Mapping[str, Any], text: str, sets: Sets) -> bool | None:
    """Of a rule's statement that can hold it back; True for one that cannot (a counter)."""
    if "match" in statement:
        return _match(packet, statement["match"], sets)
    if "xt" in statement:
        return _xt(packet, statement["xt"], text)
    if "limit" in statement or "quota" in statement or "ct count" in statement:
        return None
    return True


def _match(packet: Packet, match: object, sets: Sets) -> bool | None:
    if not isinstance(match, dict):
        return None
    op, right = match.get("op", "=="), match.get("right")
    value = value_of(packet, match.get("left"))
    if value is NEVER:
        return False
    if value is UNKNOWN:
        return None
    if op in _ORDER:
        if not isinstance(value, int) or not isinstance(right, int):
            return None
        return bool(_ORDER[op](value, right))
    same = is_in(value, right, sets, packet)
    if same is None or op not in ("==", "in", "!="):
        return None
    return not same if op == "!=" else same


class _Mark:
    pass


UNKNOWN, NEVER = _Mark(), _Mark()
"""What a packet may have, and what this one has not (a TCP port of a UDP packet): nothing compares with that."""


def value_of(packet: Packet, left: object) -> object:
    """What the packet has there."""
    if not isinstance(left, dict) or len(left) != 1:
        return UNKNOWN
    kind, body = next(iter(left.items()))
    match kind:
        case "meta" if isinstance(body, dict):
            return _meta(packet, str(body.get("key")))
        case "payload" if isinstance(body, dict):
            return _payload(packet, str(body.get("protocol")), str(body.get("field")))
        case "ct" if isinstance(body, dict):
            return _conntrack(packet, str(body.get("key")))
        case "concat" if isinstance(body, list):
            parts = [value_of(packet, part) for part in body]
            if any(part is NEVER for part in parts):
                return NEVER
            return UNKNOWN if any(part is UNKNOWN for part in parts) else tuple(parts)
        case "&" if isinstance(body, list) and len(body) == 2:
            if (value := value_of(packet, body[0])) is NEVER:
                return NEVER
            return value & body[1] if type(value) is type(body[1]) is int else UNKNOWN
    return UNKNOWN


def _conntrack(packet: Packet, key: str) -> object:
    """Of a connection whose addresses nobody translates."""
    called = packet.state == "new"
    known: dict[str, object] = {
        "state": packet.state,
        "status": "" if called else "seen-reply",
        "direction": "original" if called else "reply",
        "mark": 0,
    }
    return known.get(key, UNKNOWN)


def _meta(packet: Packet, key: str) -> object:
    match key:
        case "iifname" | "iif":
            return packet.iif or UNKNOWN
        case "oifname" | "oif":
            return packet.oif or UNKNOWN
        case "l4proto":
            return _Proto(packet)
        case "nfproto":
            return "ipv4" if packet.family is Family.V4 else "ipv6"
        case "protocol":
            return "ip" if packet.family is Family.V4 else "ip6"
        case "mark":
            return 0  # nobody has marked it
    return UNKNOWN


@dataclass(frozen=True, slots=True)
class _Proto:
    packet: Packet


def _payload(packet: Packet, protocol: str, name: str) -> object:
    if protocol in ("ip", "ip6"):
        if (protocol == "ip") is not (packet.family is Family.V4):
            return NEVER
        if name in ("protocol", "nexthdr"):
            return _Proto(packet)
        known = {"saddr": packet.saddr, "daddr": packet.daddr}.get(name)
        return UNKNOWN if known is None else known
    if protocol in ("tcp", "udp", "th"):
        if protocol != "th" and not packet.is_of(protocol):
            return NEVER
        port = {"dport": packet.dport, "sport": packet.sport}.get(name)
        return UNKNOWN if port is None else port
    if protocol in ("icmp", "icmpv6"):
        if not packet.is_of(protocol):
            return NEVER
        echo = "echo-request" if packet.state == "new" else "echo-reply"
        return echo if name == "type" else UNKNOWN
    if protocol == "ether" and name == "type":
        return "ip" if packet.family is Family.V4 else "ip6"
    return UNKNOWN


def is_in(value: object, right: object, sets: Sets, packet: Packet) -> bool | None:
    """Whether a value is one, or one of those, that a rule states."""
    match right:
        case str() if right.startswith("@"):
            elements = sets(right[1:])
            return None if elements is None else _any(value, elements, sets, packet)
        case {"set": list() as elements}:
            return _any(value, elements, sets, packet)
        case list():
            return _any(value, right, sets, packet)
        case {"elem": dict() as element}:
            return is_in(value, element.get("val"), sets, packet)
        case {"concat": list() as parts}:
            if not isinstance(value, tuple) or len(value) != len(parts):
                return None
            told = [is_in(one, part, sets, packet) for one, part in zip(value, parts, strict=True)]
            return False if False in told else None if None in told else True
        case {"prefix": {"addr": str() as address, "len": int() as length}}:
            return _within(value, f"{address}/{length}")
        case {"range": [first, last]}:
            return _between(value, first, last)
        case dict():
            return None
    return _same(value, right)


def _any(value: object, elements: Sequence[Any], sets: Sets, packet: Packet) -> bool | None:
    if len(elements) > MOST_ELEMENTS:
        return None
    told = None
    answer: bool | None = False
    for element in elements:
        told = is_in(value, element, sets, packet)
        if told:
            return True
        if told is None:
            answer = None
    return answer


def _same(value: object, right: object) -> bool | None:
    if isinstance(value, _Proto):
        return value.packet.is_of(right)
    if isinstance(value, str) and isinstance(right, str):
        wild = right.endswith("*") and not right.endswith("\\*")
        return value.startswith(right[:-1]) if wild else value == right
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        return _within(value, right) if isinstance(right, str) else None
    return value == right if type(value) is type(right) else None


def _within(value: object, text: str) -> bool | None:
    try:
        return value in ipaddress.ip_network(text, strict=False)
    except (ValueError, TypeError, AttributeError):
        return None


def _between(value: object, first: object, last: object) -> bool | None:
    if type(value) is type(first) is type(last) is int:
        return bool(first <= value <= last)
    if isinstance(value, ipaddress.IPv4Address | ipaddress.IPv6Address):
        try:
            low, high = ipaddress.ip_address(str(first)), ipaddress.ip_address(str(last))
        except ValueError:
            return None
        return low.version == value.version and int(low) <= int(value) <= int(high)
    return None


def _xt(packet: Packet, body: object, text: str) -> bool | None:
    """An iptables-nft match, of which the JSON has the name only; nft's translation has the rest."""
    if not isinstance(body, dict) or body.get("type") == "target":
        return True
    name = body.get("name")
    if name == "comment":
        return True
    if name in ("conntrack", "state") and (states := _CT_STATE.search(text)):
        return packet.state in re.split(r", ?", states[1])
    if name in ("multiport", "tcp", "udp") and (ports := _PORTS.search(text)):
        return _ports(packet, ports)
    return None


def _ports(packet: Packet, found: re.Match[str]) -> bool | None:
    if not packet.is_of(found[1]):
        return False
    port = packet.dport if found[2] == "dport" else packet.sport
    if port is None:
        return None
    ranges = (part.strip().partition("-") for part in (found[4] or found[5]).split(","))
    inside = any(
        int(low) <= port <= int(high or low) for low, _, high in ranges if low.strip().isdigit()
    )
    return inside is not bool(found[3])
