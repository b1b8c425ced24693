"""A command that an operator may copy: it is made from what other nodes say, so it is checked word by word. Pure."""

import re

_IPTABLES = ("iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")
_LOOKS = ("ipam", "gc", "etcd", "leases", "why", "trace", "probe", "status")
PROGRAMS = {
    "ip": frozenset(("link", "address", "route", "rule", "neigh", "-6", "-d")),
    "bridge": frozenset(("fdb",)),
    "nft": frozenset(("delete", "insert", "list", "-a")),
    "sysctl": frozenset(("-w", "net.ipv4.ip_forward")),
    "ss": frozenset(("-ltn",)),
    "systemctl": frozenset(("restart",)),
    "overlayctl": frozenset(_LOOKS),
    **dict.fromkeys(_IPTABLES, frozenset(("-t",))),
}
"""Each with what may follow it: nothing that runs another program, reads a file or stops a machine."""
_OUTSIDE = frozenset(("systemctl", "overlayctl"))
_UNIT = re.compile(r"overlay-agent(@[a-z0-9-]+)?")
_WORD = re.compile(r"[A-Za-z0-9_./:=@,+%-]+")
INSTEAD = "overlayctl why"
"""On that node, where what it says need not be trusted."""


def harmless(commands: str) -> str:
    """The same, where it is nothing but known programs and plain words; else what to do instead."""
    if not commands:
        return ""
    parts = [part.split() for part in commands.split(";")]
    return commands if all(_is_plain(words) for words in parts) else INSTEAD


def _is_plain(words: list[str]) -> bool:
    if not all(_WORD.fullmatch(word) for word in words):
        return False
    inside = words[:1] == ["nsenter"]
    if inside and not (len(words) > 1 and words[1].startswith("--net=/")):
        return False
    words = words[2:] if inside else words
    if len(words) < 2 or (inside and words[0] in _OUTSIDE):
        return False
    if words[0] == "systemctl":
        return words[1] == "restart" and len(words) == 3 and bool(_UNIT.fullmatch(words[2]))
    return words[1] in PROGRAMS.get(words[0], ())
