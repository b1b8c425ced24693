"""How a setting's text becomes a value; each raises ValueError with the reason. Pure but for the defaults."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

from agent.machine import read_machine_id, read_node_name
from overlay.marks import INSTANCE, LONGEST_INSTANCE
from overlay.model import Address, Family, Subnet

Given = TypeVar("Given", Address, Subnet)


LONGEST_S = 366 * 24 * 3600.0
"""Whoever waits can, and etcd can grant it: neither takes any number."""


def duration(text: str) -> float:
    """Seconds, from 30, 30s, 5m or 24h."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not match:
        raise ValueError("not a duration such as 30s, 5m or 24h")
    seconds = float(match[1]) * {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600}[match[2]]
    if seconds > LONGEST_S:
        raise ValueError("longer than a year")
    return seconds


@dataclass(frozen=True, slots=True)
class Listen:
    """Where to listen."""

    host: Address
    port: int

    def __str__(self) -> str:
        return (
            f"[{self.host}]:{self.port}" if self.host.version == 6 else f"{self.host}:{self.port}"
        )


def listen(text: str) -> Listen | None:
    """ADDRESS:PORT, or None for nothing."""
    if not text:
        return None
    match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})", text)
    if not match or not 1 <= int(match[3]) <= 65535:
        raise ValueError("not ADDRESS:PORT, such as 127.0.0.1:10158 or [::1]:10158; empty: off")
    return Listen(ip_address(match[1] or match[2]), int(match[3]))


_TOP = (
    "bin boot dev efi etc home lib lib32 lib64 media mnt opt proc root run sbin srv sys tmp usr var"
)
_BELOW = (
    "etc/cni etc/cni/net.d etc/overlay etc/systemd opt/cni opt/cni/bin run/netns run/user usr/bin usr/sbin "
    "var/cache var/lib var/log var/run var/tmp"
)
_EVERYBODYS = frozenset(f"/{name}" for name in ("", *_TOP.split(), *_BELOW.split()))
"""Others keep their things there: file-hierarchy(7)."""


def directory(text: str) -> Path:
    """An absolute path, without detours."""
    path = Path(text)
    if not path.is_absolute() or ".." in path.parts:
        raise ValueError("not an absolute path (without ..)")
    return path


def own_directory(text: str) -> Path:
    """One for nobody but us: what is in it under names of ours is taken for ours, and goes at uninstall."""
    path = directory(text)
    if str(path) in _EVERYBODYS:
        raise ValueError("others keep their files there; name a directory below it for this alone")
    return path


def boolean(text: str) -> bool:
    """true/false, yes/no, 1/0."""
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("neither true nor false")
    return text.lower() in ("true", "1", "yes")


def choice(*allowed: str) -> Callable[[str], str]:
    """One of a few words."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"is none of {', '.join(allowed)}")
        return text

    return parse


def words(text: str) -> tuple[str, ...]:
    """A list separated by commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def endpoints(text: str) -> tuple[str, ...]:
    """etcd client URLs: names or addresses, each once; a slash at the end is usual and means nothing."""
    found = tuple(dict.fromkeys(url.removesuffix("/") for url in words(text)))
    if not found:
        raise ValueError("no endpoint given")
    for url in found:
        match = re.fullmatch(r"(?:https?://)?(?:\[(.+)\]|[A-Za-z0-9._-]+):(\d{1,5})", url)
        if not match or not 1 <= int(match[2]) <= 65535:
            raise ValueError(f"{url!r} is not http://HOST:PORT or https://HOST:PORT")
        if match[1]:
            ip_address(match[1])  # what stands in brackets
    return found


def prefix(text: str) -> str:
    """A path in etcd, cleaned."""
    if not text.startswith("/") or text.rstrip("/") == "":
        raise ValueError("must start with / and name a path")
    return "/" + "/".join(part for part in text.split("/") if part)


def address(text: str) -> Address | None:
    """An IP address, or None for nothing."""
    return ip_address(text) if text else None


def public(family: Family) -> Callable[[str], Address | None]:
    """A node's address of a family; what no peer could send to would be a record that nobody can read."""

    def parse(text: str) -> Address | None:
        found = address(text)
        if found is None:
            return None
        if Family.of(found) is not family:
            other = "public_ip" if family is Family.V6 else "public_ipv6"
            raise ValueError(f"not an IPv{family.value} address; the other family has {other}")
        near = found.version == 6 and (found.is_link_local or found.ipv4_mapped is not None)
        if near or found.is_multicast or found.is_loopback or found.is_unspecified:
            raise ValueError("not an address that other nodes can send to")
        return found

    return parse


def addresses(text: str) -> tuple[Address, ...]:
    """IP addresses separated by commas, IPv4 first; at most one of a family."""
    return _by_family(map(ip_address, words(text)), "address")


def subnets(text: str) -> tuple[Subnet, ...]:
    """Networks separated by commas, IPv4 first; at most one of a family."""
    return _by_family(map(ip_network, words(text)), "subnet")


def _by_family(items: Iterable[Given], what: str) -> tuple[Given, ...]:
    found = tuple(sorted(items, key=lambda it: it.version))
    if len({it.version for it in found}) < len(found):
        raise ValueError(f"more than one {what} of a family")
    return found


def link_name(text: str) -> str:
    """An interface name."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", text) or text in (".", ".."):
        raise ValueError("not a usable interface name (1 to 15 of A-Z a-z 0-9 _ . -)")
    return text


def instance(text: str) -> str:
    """An agent's name among those of a node, or nothing."""
    if text and not INSTANCE.fullmatch(text):
        raise ValueError(
            f"not 1 to {LONGEST_INSTANCE} of a-z, 0-9 and -, with a letter or digit at both ends"
        )
    return text


def node(text: str) -> str:
    """A host name; nothing means this machine's."""
    name = text or read_node_name()
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", name):
        raise ValueError("not a host name")
    return name


def machine(text: str) -> str:
    """A machine id; nothing means this machine's."""
    name = text or read_machine_id()
    if not re.fullmatch(r"[0-9a-fA-F-]{8,64}", name):
        raise ValueError("not 8 to 64 hexadecimal digits")
    return name.lower().replace("-", "")


def level(text: str) -> str:
    """A log level's name."""
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("not one of debug, info, warning, error")
    return text.upper()


def at_least(low: float) -> Callable[[str], float]:
    """A duration with a lower bound, in seconds."""

    def parse(text: str) -> float:
        value = duration(text)
        if value < low:
            raise ValueError(f"shorter than {low:g}s")
        return value

    return parse


def off_or_at_least(low: float) -> Callable[[str], float]:
    """The same, or 0 for off."""

    def parse(text: str) -> float:
        return 0.0 if duration(text) == 0 else at_least(low)(text)

    return parse


def plain(text: str) -> str:
    """Text as it is."""
    return text
