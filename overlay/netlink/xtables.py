"""iptables-legacy: the filter tables of ip_tables and ip6_tables, which nft does not list.

Read by getsockopt(2) as iptables(8) does (linux/netfilter_ipv4/ip_tables.h), and only where the kernel already has
such a table in this network namespace: asking for one makes it. The answer is said in libnftables' own JSON, so that
whoever judges rules needs to know one form only. A match that is not understood is an "xt" match there, too.
"""

import ctypes
import ipaddress
import json
import os
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_GET_INFO, _GET_ENTRIES = 64, 65
_NAME = 32
_INFO = struct.Struct("=32sI5I5III")
"""struct ipt_getinfo: name, valid hooks, entry per hook, underflow per hook, entries, size."""
_BLOB_AT = 40
"""struct ipt_get_entries: name and size, then the entries, aligned to 8."""
_MATCH = struct.Struct("=H29sB")
MOST_BYTES = 16 << 20
LEGACY = "legacy:"
"""Before a table's name: nft may have one of the same name."""
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_CHAINS = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
_DROP, _ACCEPT, _RETURN = -1, -2, -5
"""-verdict - 1 of NF_DROP, NF_ACCEPT; XT_RETURN is -NF_REPEAT - 1 (linux/netfilter/x_tables.h)."""
_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
_XT_CONNTRACK_STATE = 1


@dataclass(frozen=True, slots=True)
class _Kind:
    """What differs between the two families; ``head`` is the size of struct ipt_ip or ip6t_ip6."""

    names: Path
    program: str
    family: str
    af: int
    level: int
    length: int
    head: int
    proto_at: int
    entry: int


_KINDS = (
    _Kind(Path("/proc/thread-self/net/ip_tables_names"), "iptables-legacy", "ip", socket.AF_INET,
          socket.IPPROTO_IP, 4, 84, 80, 112),
    _Kind(Path("/proc/thread-self/net/ip6_tables_names"), "ip6tables-legacy", "ip6", socket.AF_INET6,
          socket.IPPROTO_IPV6, 16, 136, 128, 168),
)  # fmt: skip


def listings(table: str = "filter") -> list[tuple[str, str]]:
    """(JSON, no text) of each family's table, in the calling thread's network namespace."""
    found = []
    for kind in _KINDS:
        try:
            there = table in kind.names.read_text().split()
            blob = _blob(kind, table) if there else None
        except OSError:
            continue  # no such module, or none of our business
        if blob is not None:
            found.append(_said(kind, table, *blob))
    return found


def _blob(kind: _Kind, table: str) -> tuple[tuple[int, ...], bytes] | None:
    """The header's numbers and the entries."""
    with socket.socket(kind.af, socket.SOCK_RAW, socket.IPPROTO_RAW) as door:
        name = table.encode().ljust(_NAME, b"\0")
        info = _INFO.unpack(_asked(door, kind.level, _GET_INFO, name.ljust(_INFO.size, b"\0")))
        size = info[-1]
        if size > MOST_BYTES:
            return None
        request = (name + struct.pack("=I", size)).ljust(_BLOB_AT + size, b"\0")
        return info[1:], _asked(door, kind.level, _GET_ENTRIES, request)[_BLOB_AT:]


def _asked(door: socket.socket, level: int, option: int, request: bytes) -> bytes:
    """getsockopt(2) with a buffer that says what is asked for, which Python's own does not send."""
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint32(len(request))
    if _LIBC.getsockopt(door.fileno(), level, option, buffer, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return bytes(buffer.raw)


def _said(kind: _Kind, table: str, info: tuple[int, ...], blob: bytes) -> tuple[str, str]:
    """In libnftables' words: chains with their policies, rules numbered from 1 within each chain."""
    entries = list(_entries(kind, blob))
    heads = {offset: name for offset, _, name in entries if name}
    hooks, entry, underflow = info[0], info[1:6], info[6:11]
    base = {entry[at]: at for at in range(5) if hooks >> at & 1}
    ends = {underflow[at]: at for at in range(5) if hooks >> at & 1}
    after = {offset: following for (offset, _, _), (following, _, _) in pairwise(entries)}
    jumps = {after[offset]: name for offset, name in heads.items() if offset in after}
    items: list[dict[str, Any]] = []
    chain, number = "", 0
    common = {"family": kind.family, "table": f"{LEGACY}{table}"}
    for offset, rule, name in entries:
        if offset in base or name:
            chain, number = name or _CHAINS[base[offset]], 0
            more = _base(base[offset], entries, underflow) if offset in base else {}
            items.append({"chain": {**common, "name": chain, "legacy": kind.program, **more}})
        if name or (offset in ends and _CHAINS[ends[offset]] == chain):
            continue  # the chain's name, or its policy
        number += 1
        expr = [_jump(one, jumps) for one in rule]
        words = " ".join(filter(None, map(_words, expr)))
        rule_ = {**common, "chain": chain, "handle": number, "expr": expr, "words": words}
        items.append({"rule": rule_})
    return json.dumps({"nftables": items}), ""


def _base(
    hook: int, entries: list[tuple[int, list[dict[str, Any]], str]], ends: tuple[int, ...]
) -> dict[str, Any]:
    last = next((rule for offset, rule, _ in entries if offset == ends[hook]), [])
    policy = "drop" if any("drop" in one for one in last) else "accept"
    return {"type": "filter", "hook": HOOKS[hook], "prio": 0, "policy": policy}


def _jump(statement: dict[str, Any], jumps: Mapping[int, str]) -> dict[str, Any]:
    """An offset as the chain that begins there."""
    for word in ("jump", "goto"):
        if isinstance(statement.get(word), int):
            return {word: {"target": jumps.get(statement[word], "?")}}
    return statement


def _entries(kind: _Kind, blob: bytes) -> Iterator[tuple[int, list[dict[str, Any]], str]]:
    """(offset, statements, name of the chain that begins here or "") of each."""
    offset = 0
    while offset + kind.entry <= len(blob):
        target_at, following = struct.unpack_from("=HH", blob, offset + kind.head + 4)
        if following < kind.entry or offset + following > len(blob) or target_at > following:
            return
        packets, size = struct.unpack_from("=QQ", blob, offset + kind.entry - 16)
        rule = [*_header(kind, blob, offset)]
        at = offset + kind.entry
        while at + 32 <= offset + target_at:
            length, name, revision = _MATCH.unpack_from(blob, at)
            if length < 32:
                return
            rule.append(_matched(_text(name), revision, blob[at + 32 : at + length]))
            at += length
        rule.append({"counter": {"packets": packets, "bytes": size}})
        length, name, _revision = _MATCH.unpack_from(blob, offset + target_at)
        data = blob[offset + target_at + 32 : offset + target_at + length]
        goto = bool(blob[offset + kind.proto_at + (2 if kind.family == "ip" else 3)] & 2)
        chain = _text(data[:30]) if _text(name) == "ERROR" else ""
        yield (
            offset,
            [*rule, *_target(_text(name), data, goto=goto)],
            "" if chain == "ERROR" else chain,
        )
        offset += following


def _header(kind: _Kind, blob: bytes, at: int) -> Iterator[dict[str, Any]]:
    """Addresses, interfaces, protocol."""
    size = kind.length
    source, target, mask, other = (blob[at + size * i : at + size * (i + 1)] for i in range(4))
    names_at = at + 4 * size
    (proto,) = struct.unpack_from("=H", blob, at + kind.proto_at)
    inverted = blob[at + kind.proto_at + (3 if kind.family == "ip" else 4)]
    for name, value, wild, flag in (("saddr", source, mask, 0x08), ("daddr", target, other, 0x10)):
        if any(wild):
            bits = int.from_bytes(wild, "big").bit_count()
            net = ipaddress.ip_network((ipaddress.ip_address(value), bits), strict=False)
            left = {"payload": {"protocol": kind.family, "field": name}}
            right = {"prefix": {"addr": str(net.network_address), "len": net.prefixlen}}
            yield _match(left, right, inverted & flag)
    for number, (key, flag) in enumerate((("iifname", 0x01), ("oifname", 0x02))):
        name = _text(blob[names_at + 16 * number : names_at + 16 * (number + 1)])
        wild = blob[names_at + 32 + 16 * number : names_at + 32 + 16 * (number + 1)]
        if any(wild):
            whole = wild[len(name) : len(name) + 1] == b"\xff"
            yield _match(
                {"meta": {"key": key}}, name if whole else f"{name.rstrip('+')}*", inverted & flag
            )
    if proto:
        yield _match({"meta": {"key": "l4proto"}}, proto, inverted & 0x40)


def _match(left: dict[str, Any], right: object, inverted: int) -> dict[str, Any]:
    return {"match": {"op": "!=" if inverted else "==", "left": left, "right": right}}


def _matched(name: str, revision: int, data: bytes) -> dict[str, Any]:
    """One match: those that decide most rules; what else there is keeps its name only."""
    if name in ("tcp", "udp") and len(data) >= 8:
        first, last = struct.unpack_from("=HH", data, 4)
        source = struct.unpack_from("=HH", data, 0)
        plain = source == (0, 65535) and not any(data[9:11] if name == "tcp" else b"")
        inverted = data[11 if name == "tcp" else 8] & 2
        if plain:
            left = {"payload": {"protocol": name, "field": "dport"}}
            return _match(left, {"range": [first, last]}, inverted)
    if name == "state" and len(data) >= 4:
        return _states(struct.unpack_from("=I", data)[0], 0)
    if name == "conntrack" and revision >= 2 and len(data) >= 152:
        flags, inverted, mask = struct.unpack_from("=HHH", data, 146)
        if flags == _XT_CONNTRACK_STATE:
            return _states(mask, inverted & _XT_CONNTRACK_STATE)
    return {"xt": {"type": "match", "name": name}}


def _states(mask: int, inverted: int) -> dict[str, Any]:
    names = [name for bit, name in _STATES.items() if mask & bit]
    return _match({"ct": {"key": "state"}}, {"set": names}, inverted)


def _target(name: str, data: bytes, *, goto: bool) -> Iterator[dict[str, Any]]:
    if name == "ERROR":
        return
    if name:
        yield {"xt": {"type": "target", "name": name}}
        return
    (verdict,) = struct.unpack_from("=i", data)
    known = {_DROP: "drop", _ACCEPT: "accept", _RETURN: "return"}
    if verdict >= 0:
        yield {"goto" if goto else "jump": verdict}
    else:
        yield {known.get(verdict, "return"): None}


def _words(statement: Mapping[str, Any]) -> str:
    """As nft would say it."""
    for kind, body in statement.items():
        if kind == "match":
            left, right = body["left"], body["right"]
            key = left["meta"]["key"] if "meta" in left else "ct state" if "ct" in left else ""
            key = key or f"{left['payload']['protocol']} {left['payload']['field']}"
            return f"{key} {'!= ' if body['op'] == '!=' else ''}{_value(right)}"
        if kind == "xt":
            return f"-{'m' if body['type'] == 'match' else 'j'} {body['name']}"
        if kind != "counter":
            return f"{kind} {body['target']}" if isinstance(body, dict) else kind
    return ""


def _value(right: object) -> str:
    match right:
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"range": [first, last]}:
            return str(first) if first == last else f"{first}-{last}"
        case {"set": names}:
            return ",".join(names)
    return str(right)


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode(errors="replace")
