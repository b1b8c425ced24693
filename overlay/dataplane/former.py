"""What switches were before we turned them, so that an uninstall can put them back.

Kept in the run directory, a tmpfs, since the kernel forgets it with the same boot. Some switches turn others along
(net/ipv4/devinet.c inet_forward_change, net/ipv6/addrconf.c addrconf_fixup_forwarding), so those are noted as well.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from overlay.nodefile import write_atomic

NAME = "sysctls.json"
MOST_BYTES = 1 << 20
_ALONG = {
    "net/ipv4/ip_forward": ("net/ipv4/conf/*/forwarding", "net/ipv4/conf/all/accept_redirects"),
    "net/ipv6/conf/all/forwarding": ("net/ipv6/conf/*/forwarding",),
}
"""Switches that turn others, and which."""


@dataclass(frozen=True, slots=True)
class Turned:
    """A switch that is to be put back to ``before``; ``now`` is what it is."""

    path: str
    before: str
    now: str

    @property
    def command(self) -> str:
        """What puts it back by hand."""
        return f"sysctl -w {self.path.replace('.', '~').replace('/', '.').replace('~', '/')}={self.before}"


class Former:
    """Of one agent; ``root`` is /proc/sys. Whatever cannot be noted keeps nobody from turning a switch."""

    def __init__(self, file: Path, root: Path) -> None:
        self._file, self._root = file, root
        self._noted = dict(read(file))

    def note(self, path: str) -> None:
        """A switch is about to be turned."""
        if path in self._noted:
            return  # what it was before the first time counts
        found = {it: value for it in self._concerned(path) if (value := look(self._root, it))}
        fresh = {it: value for it, value in found.items() if it not in self._noted}
        if path not in fresh:
            return
        self._noted |= fresh
        hand_on(self._noted, self._file)

    def _concerned(self, path: str) -> Iterator[str]:
        yield path
        for pattern in _ALONG.get(path, ()):
            for found in sorted(self._root.glob(pattern)):
                yield str(found.relative_to(self._root))


def hand_on(noted: Mapping[str, str], file: Path) -> None:
    """Add to what is noted there, by this agent or by one that needed the same switches and is no more."""
    with suppress(OSError):
        whole = {**noted, **read(file)}
        write_atomic(file, msgspec.json.encode(whole), mode=0o600)


def look(root: Path, path: str) -> str:
    """A switch as it is; empty if there is none."""
    try:
        with open(f"{root}/{path}", "rb", buffering=0) as file:
            return file.read(256).decode(errors="replace").strip()
    except OSError:
        return ""


def read(file: Path) -> Mapping[str, str]:
    """What was noted; nothing where no switch was turned, or the file is no such one."""
    try:
        with open(file, "rb") as opened:
            noted = msgspec.json.decode(opened.read(MOST_BYTES), type=dict[str, str])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return {path: value for path, value in noted.items() if _is_plain(path)}


def turned(noted: Mapping[str, str], root: Path) -> list[Turned]:
    """What is not as it was before, in the order in which it is to be put back; what went with its device is not."""
    present = {path: look(root, path) for path in restoring(noted)}
    return [
        Turned(path, noted[path], now)
        for path, now in present.items()
        if now and now != noted[path]
    ]


def restoring(noted: Mapping[str, str]) -> Sequence[str]:
    """Pure: those that turn others first, then the others, the last turned first."""
    last_first = list(reversed(list(noted)))
    return sorted(last_first, key=lambda path: path not in _ALONG)


def put_back(item: Turned, root: Path) -> str:
    """Why it could not be; empty if it was."""
    try:
        (root / item.path).write_text(item.before)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_plain(path: str) -> bool:
    return path.startswith("net/") and ".." not in path.split("/") and "\0" not in path
