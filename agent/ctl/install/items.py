"""What an installation consists of: one Item per file. Pure.

Paths are the node's own; an image that is being built has them below its root.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.ctl.install import texts
from overlay.marks import Marks

UNIT_DIR = Path("/etc/systemd/system")
UNIT, TEMPLATE_UNIT = "overlay-agent.service", "overlay-agent@.service"
NETWORKD_DIR = Path("/etc/systemd/network")
NETWORKMANAGER_DIR = Path("/etc/NetworkManager/conf.d")
PROTOCOLS_DIR = Path("/etc/iproute2/rt_protos.d")
TLS_DIR = Path("/etc/overlay/tls")
COMMAND = Path("/usr/local/bin/overlayctl")
COMPLETIONS = {
    "bash": Path("/usr/local/share/bash-completion/completions/overlayctl"),
    "zsh": Path("/usr/local/share/zsh/site-functions/_overlayctl"),
}
TLS_FILES = {
    "etcd_cafile": "ca.crt",
    "etcd_certfile": "client.crt",
    "etcd_keyfile": "client.key",
}
"""What a certificate that a setting names is called once it is laid down."""
READ_ONLY = ("/etc", "/usr", "/boot", "/efi")
"""For the unit, by ProtectSystem=full; not the runtime's usual directory, which it names itself."""
USUAL_CONF_DIR = Path("/etc/cni")
ON_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
SECRET, PLAIN, PROGRAM = 0o600, 0o644, 0o755


@dataclass(frozen=True, slots=True)
class Item:
    """A file, or with ``target`` a symbolic link.

    ``ours``: a file there that has any of these in it was laid down by us, or an older version of us. ``keep``: one
    that is there stays, whatever is in it. ``reader`` is the program that has to be told of a change.
    """

    path: Path
    what: str
    data: bytes = b""
    mode: int = PLAIN
    target: str = ""
    ours: tuple[bytes, ...] = (texts.MARK,)
    keep: bool = False
    closed: bool = False
    reader: str = ""


@dataclass(frozen=True, slots=True)
class Wishes:
    """All that decides what is laid down.

    ``bin_dir`` holds overlay-agent and overlayctl. ``config`` is the text of the settings' file, which
    stays as it is unless it is ours. ``tls`` has the bytes
    of certificates to be copied, ``written`` are the directories that the agent writes, ``units`` the shipped unit
    files, ``completions`` a shell's file each.
    """

    marks: Marks
    bridge: str
    cni_bin_dir: Path
    bin_dir: Path
    front: bytes
    front_kind: str
    config_file: Path
    config: bytes
    config_is_ours: bool = False
    tls: Mapping[str, bytes] = field(default_factory=dict)
    written: tuple[Path, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    completions: Mapping[Path, bytes] = field(default_factory=dict)


def items(wishes: Wishes) -> tuple[Item, ...]:
    """In the order in which they take effect: what makes the node take pods, the conflist, is the agent's."""
    return tuple(_items(wishes))


def tls_path(marks: Marks, key: str) -> Path:
    """Where the certificate of a setting is laid down."""
    return TLS_DIR / marks.instance / TLS_FILES[key] if marks.instance else TLS_DIR / TLS_FILES[key]


def drop_in(marks: Marks) -> Path:
    """Where what a unit needs beside the shipped file is."""
    return UNIT_DIR / f"{marks.unit}.service.d" / "05-overlay.conf"


def _is_read_only(directory: Path) -> bool:
    within = any(directory.is_relative_to(it) for it in READ_ONLY)
    return within and not directory.is_relative_to(USUAL_CONF_DIR)


def _items(wishes: Wishes) -> Iterator[Item]:
    marks = wishes.marks
    yield Item(
        wishes.cni_bin_dir / "overlay",
        f"CNI executable ({wishes.front_kind})",
        wishes.front,
        PROGRAM,
        ours=(b"overlay-agent",),
    )
    for key, data in wishes.tls.items():
        yield Item(tls_path(marks, key), f"certificate ({key})", data, SECRET, ours=(), closed=True)
    yield Item(
        wishes.config_file,
        "settings",
        wishes.config,
        SECRET,
        ours=(),
        keep=not wishes.config_is_ours,
    )
    for name, text in wishes.units.items():
        data = texts.unit(text, wishes.bin_dir).encode()
        mine = (b"Description=Overlay network agent",)
        yield Item(UNIT_DIR / name, "systemd unit", data, ours=mine, reader="systemd")
    if paths := [it for it in wishes.written if _is_read_only(it)]:
        yield Item(
            drop_in(marks),
            "drop-in: what it writes",
            texts.drop_in(paths).encode(),
            reader="systemd",
        )
    yield from _for_the_network(wishes)
    if str(wishes.bin_dir) not in ON_PATH:
        yield Item(COMMAND, "command", target=str(wishes.bin_dir / "overlayctl"))
    for path, data in wishes.completions.items():
        yield Item(path, "completion", data, ours=(b"overlayctl",))


def _for_the_network(wishes: Wishes) -> Iterator[Item]:
    """What keeps network managers away from our devices, and the name of our routes' protocol."""
    marks, names = wishes.marks, texts.links(wishes.bridge)
    yield Item(
        NETWORKD_DIR / f"05-{marks.name}.network",
        "networkd: our devices are not its",
        texts.networkd_network(names).encode(),
        reader="systemd-networkd",
    )
    yield Item(
        NETWORKD_DIR / f"05-{marks.name}.link",
        "udev: our devices keep their MACs",
        texts.networkd_link(names).encode(),
    )
    yield Item(
        NETWORKMANAGER_DIR / f"05-{marks.name}.conf",
        "NetworkManager: our devices are not its",
        texts.networkmanager(names).encode(),
        reader="NetworkManager",
    )
    yield Item(
        PROTOCOLS_DIR / f"{marks.name}.conf",
        "name of the routes' protocol",
        texts.protocol(marks).encode(),
    )
