"""A command that an operator may copy: it is made from what other nodes say, so it is checked word by word. Pure."""

import re

_IPTABLES = ("iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy")
PROGRAMS = frozenset(
    ("ip", "bridge", "nft", "sysctl", "nsenter", "systemctl", "overlayctl", *_IPTABLES)
)
_INSIDE = frozenset(("ip", "nft", "ss", "sysctl", *_IPTABLES))
_WORD = re.compile(r"[A-Za-z0-9_./:=@,+%-]+")
INSTEAD = "overlayctl why, on that node"


def harmless(commands: str) -> str:
    """The same, where it is nothing but known programs and plain words; else what to do instead."""
    if not commands:
        return ""
    parts = [part.split() for part in commands.split(";")]
    return commands if all(_is_plain(words) for words in parts) else INSTEAD


def _is_plain(words: list[str]) -> bool:
    if not words or not all(_WORD.fullmatch(word) for word in words):
        return False
    program = words[0]
    if program == "nsenter":
        rest = words[2:]
        return (
            words[1:2] != [] and words[1].startswith("--net=") and bool(rest) and rest[0] in _INSIDE
        )
    return program in PROGRAMS
