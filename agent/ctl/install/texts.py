"""The texts of what is laid down on a node, but for the unit files, which are shipped (agent/files). Pure."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent import values
from agent.settings import SETTINGS, Setting
from overlay.errors import BadConfig
from overlay.marks import Marks
from overlay.model import POD_LINK_PREFIX

MARK = b"laid down by overlayctl install"
"""In every file that has room for a comment."""
_HEAD = f"# {MARK.decode()}; a change by hand is replaced at the next one.\n"
SHIPPED_BIN = "/opt/overlay/bin"
"""What the shipped unit files name."""
_DEVICES = ("overlay.*", "overlay-v6.*", "ovl*", "ovl6.*", "overlay0")
"""VXLAN devices (overlay.desired.device_name), pods' host ends and bridges of named agents, the first one's bridge."""


def links(bridge: str) -> tuple[str, ...]:
    """Patterns of the names of our devices; a bridge may have been given any name."""
    assert any(pattern == f"{POD_LINK_PREFIX}*" for pattern in _DEVICES)
    fits = bridge == "overlay0" or bridge.startswith(POD_LINK_PREFIX)
    return _DEVICES if fits else (*_DEVICES, bridge)


def unit(shipped: str, bin_dir: Path) -> str:
    """A shipped unit file with the agent where it is.

    Raises:
        BadConfig: systemd would read the path as something else, or the file does not start the agent.
    """
    start = f"={SHIPPED_BIN}/overlay-agent"
    if f"ExecStart{start}" not in shipped:
        raise BadConfig(
            f"the shipped unit file has no line ExecStart{start}",
            hint="install the package again",
        )
    return shipped.replace(start, f"={_escaped(bin_dir)}/overlay-agent")


def drop_in(directories: Sequence[Path]) -> str:
    """For directories of the agent's in what the unit has read-only (ProtectSystem=full)."""
    lines = "".join(f"ReadWritePaths=-{_escaped(it)}\n" for it in directories)
    return f"{_HEAD}[Service]\n{lines}"


def _escaped(path: Path) -> str:
    """As a word of a unit file."""
    if any(letter.isspace() or letter in "\"'\\$;" for letter in str(path)):
        raise BadConfig(
            f"{str(path)!r} cannot stand in a unit file", hint="choose a plainer path for it"
        )
    return str(path).replace("%", "%%")


def networkd_network(names: Sequence[str]) -> str:
    """Without it networkd takes addresses and routes away that it does not know, at its start and reload."""
    return f"{_HEAD}[Match]\nName={' '.join(names)}\n\n[Link]\nUnmanaged=yes\n"


def networkd_link(names: Sequence[str]) -> str:
    """Without it udev gives a new device another MAC (MACAddressPolicy=persistent of 99-default.link)."""
    return f"{_HEAD}[Match]\nOriginalName={' '.join(names)}\n\n[Link]\nMACAddressPolicy=none\n"


def networkmanager(names: Sequence[str]) -> str:
    """``+=`` adds to what other files say."""
    patterns = ";".join(f"interface-name:{name}" for name in names)
    return f"{_HEAD}[keyfile]\nunmanaged-devices+={patterns}\n"


def protocol(marks: Marks) -> str:
    """For ``ip route show proto overlay``."""
    return f"{_HEAD}{marks.route_protocol} {marks.name}\n"


def settings(given: Mapping[str, str], instance: str) -> str:
    """The settings' file, with what was ``given``; the rest has its default."""
    agent = f"overlay-agent@{instance}" if instance else "overlay-agent"
    lines = [
        f"# Settings of {agent}: `overlay-agent --help` lists them all. Written once by overlayctl install; yours.\n",
        f"# After a change: systemctl restart {agent}\n",
    ]
    for row in SETTINGS:
        if row.key in given and row.key != "instance":
            lines.append(f"{row.key} = {_value(row, given[row.key])}\n")
    return "".join(lines)


def _value(row: Setting, text: str) -> str:
    if row.parse is values.words or row.parse is values.endpoints:
        return f"[{', '.join(_quoted(word.strip()) for word in text.split(',') if word.strip())}]"
    return text if row.parse is values.boolean and text in ("true", "false") else _quoted(text)


def _quoted(text: str) -> str:
    """A basic string of TOML, which is JSON's but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
