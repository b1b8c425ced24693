"""The pages the agent leaves for others on this node, and how they are never torn.

| page                      | for whom                                            |
|---------------------------|-----------------------------------------------------|
| ``<run>/node.json``       | our own CNI plugin: subnet, bridge, MTU             |
| ``<run>/subnet.env``      | flannel's CNI plugin and Docker users               |
| ``<cni-conf>/*.conflist`` | the container runtime                               |

The formats of subnet.env and of the conflist belong to others (flannel; CNI specification 1.1.0,
section 1) and must not vary; node.json is ours and carries a version.
"""

import contextlib
import errno
import functools
import ipaddress
import os
import re
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from overlay.errors import BadInput, NotReady
from overlay.marks import INSTANCE, ONLY, Marks
from overlay.model import Family, HostAddress, Subnet

PAGE_VERSION = 1
PAGE_NAME = "node.json"
SUBNET_ENV_NAME = "subnet.env"
CONFLIST_NAME = ONLY.conflist
DEFAULT_RUN_DIR = ONLY.run_dir
DEFAULT_NETWORK = ONLY.name
SMALLEST_MTU, LARGEST_MTU = 68, 65535
"""RFC 791's least datagram; the largest that an IP header can state."""
MOST_PAGE_BYTES = 1 << 16
CONFLIST_VERSION = "1.0.0"
CONFLIST_VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
"""Old libcni reads only cniVersion, new libcni takes the highest it speaks (CNI spec 1.1.0)."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LINK = re.compile(r"(?!\.\.?$)[^\s/:\0]{1,15}")  # what the kernel's dev_valid_name() takes


@dataclass(frozen=True, slots=True)
class NodeFamily:
    """One family's share: the bridge's address (10.5.72.1/24) and the whole network's range."""

    gateway: HostAddress
    cluster: Subnet

    @property
    def family(self) -> Family:
        """The address family."""
        return Family.of(self.gateway)

    @property
    def subnet(self) -> Subnet:
        """The node's pod subnet."""
        return self.gateway.network


@dataclass(frozen=True, slots=True)
class NodePage:
    """What a pod needs to know of its node. ``mtu`` is the pods'; ``families`` has IPv4 first.

    ``agent_wide`` holds the agent's settings that a Calico-style conflist may state as well, under
    its names for them; no secrets. ``instance`` is the agent's (overlay.marks). ``state_dir`` is where the
    history of addresses is kept, which outlives a reboot; empty: nobody keeps one.
    """

    families: tuple[NodeFamily, ...]
    mtu: int
    bridge: str = "overlay0"
    node: str = ""
    ip_masq: bool = True
    network: str = DEFAULT_NETWORK
    run_dir: str = DEFAULT_RUN_DIR
    agent_wide: Mapping[str, str] = field(default_factory=dict)
    version: int = PAGE_VERSION
    instance: str = ""
    state_dir: str = ""

    @property
    def marks(self) -> Marks:
        """Those of the agent that wrote the page."""
        return Marks(self.instance)


class _WireFamily(msgspec.Struct):
    gateway: str
    cluster: str


class _WirePage(msgspec.Struct):
    version: int
    families: list[_WireFamily]
    mtu: int
    bridge: str
    node: str = ""
    ip_masq: bool = True
    network: str = DEFAULT_NETWORK
    run_dir: str = DEFAULT_RUN_DIR
    agent_wide: dict[str, str] = {}
    instance: str | msgspec.UnsetType = msgspec.UNSET
    state_dir: str | msgspec.UnsetType = msgspec.UNSET


def format_page(page: NodePage) -> bytes:
    """The page as JSON, one line."""
    wire = _WirePage(
        version=page.version,
        families=[_WireFamily(str(item.gateway), str(item.cluster)) for item in page.families],
        mtu=page.mtu,
        bridge=page.bridge,
        node=page.node,
        ip_masq=page.ip_masq,
        network=page.network,
        run_dir=page.run_dir,
        agent_wide=dict(page.agent_wide),
        instance=page.instance or msgspec.UNSET,
        state_dir=page.state_dir or msgspec.UNSET,
    )
    return msgspec.json.encode(wire) + b"\n"


def parse_page(data: bytes) -> NodePage:
    """The reverse of ``format_page``; keys that we do not know are ignored.

    Raises:
        BadInput: the bytes are no page of a version that we read.
    """
    try:
        wire = msgspec.json.decode(data, type=_WirePage)
        families = tuple(_family(item) for item in wire.families)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise BadInput(f"the node page cannot be read: {error}") from error
    if fault := _fault(wire, families):
        raise BadInput(f"the node page cannot be used: {fault}")
    return NodePage(
        families=tuple(sorted(families, key=lambda item: item.family.value)),
        mtu=wire.mtu,
        bridge=wire.bridge,
        node=wire.node,
        ip_masq=wire.ip_masq,
        network=wire.network,
        run_dir=wire.run_dir,
        agent_wide=wire.agent_wide,
        instance=wire.instance or "",
        state_dir=wire.state_dir or "",
    )


def _family(wire: _WireFamily) -> NodeFamily:
    gateway = ipaddress.ip_interface(wire.gateway)
    cluster = ipaddress.ip_network(wire.cluster)
    if gateway.ip not in cluster or gateway.network.prefixlen < cluster.prefixlen:
        raise ValueError(f"gateway {gateway} is outside of the network {cluster}")
    return NodeFamily(gateway, cluster)


def _fault(wire: _WirePage, families: tuple[NodeFamily, ...]) -> str:
    if wire.version != PAGE_VERSION:
        return f"version is {wire.version}, we read {PAGE_VERSION}"
    if not families or len({item.family for item in families}) != len(families):
        return f"it has {len(families)} families, wanted are IPv4, IPv6 or one of each"
    if not SMALLEST_MTU <= wire.mtu <= LARGEST_MTU:
        return f"mtu is {wire.mtu}, wanted is {SMALLEST_MTU} to {LARGEST_MTU}"
    if not _LINK.fullmatch(wire.bridge):
        return f"bridge {wire.bridge!r} is no interface name"
    if wire.instance and not INSTANCE.fullmatch(wire.instance):
        return f"instance {wire.instance!r} is no name of one"
    if wire.state_dir and (not wire.state_dir.startswith("/") or "\0" in wire.state_dir):
        return f"state_dir {wire.state_dir!r} is no absolute path"
    if not _NAME.fullmatch(wire.network):
        return f"network {wire.network!r} is no CNI network name"
    return ""


def read_page(run_dir: Path) -> NodePage:
    """The page that the agent left in ``run_dir``.

    Raises:
        NotReady: there is none, or none that can be read; the agent writes it at its start.
    """
    path = f"{run_dir}/{PAGE_NAME}"
    hint = "see: systemctl status overlay-agent"
    try:
        found = os.stat(path)
        return _page_at(path, found.st_ino, found.st_mtime_ns)
    except FileNotFoundError as error:
        reason = f"no node page at {path}: overlay-agent has not got a subnet yet"
        raise NotReady(reason, hint=hint) from error
    except (OSError, BadInput) as error:
        raise NotReady(f"node page {path} is of no use: {error}", hint=hint) from error


@functools.lru_cache(maxsize=8)
def _page_at(path: str, _inode: int, _mtime_ns: int) -> NodePage:
    """Parsed once for each time it is written, which is always by rename."""
    with open(path, "rb") as file:
        return parse_page(file.read(MOST_PAGE_BYTES))


def subnet_env(page: NodePage) -> str:
    """flannel's subnet.env: exact keys, order and spelling (v0.28, pkg/subnet/subnet.go)."""
    lines: list[str] = []
    for item in page.families:
        prefix = "FLANNEL_" if item.family is Family.V4 else "FLANNEL_IPV6_"
        lines += [f"{prefix}NETWORK={item.cluster}", f"{prefix}SUBNET={item.gateway}"]
    lines += [f"FLANNEL_MTU={page.mtu}", f"FLANNEL_IPMASQ={str(page.ip_masq).lower()}"]
    return "\n".join(lines) + "\n"


def conflist(page: NodePage, *, plugins: Collection[str] = ("portmap",)) -> bytes:
    """The shipped configuration list: ``overlay``, then what of our chain is in ``plugins``.

    ``plugins`` names the executables present in the CNI bin directory: one missing binary in a
    chain would fail every pod of the node.
    """
    ours: dict[str, Any] = {"type": "overlay"}
    if page.run_dir != DEFAULT_RUN_DIR:
        ours["runDir"] = page.run_dir
    chain: list[dict[str, Any]] = [ours]
    if "portmap" in plugins:
        chain.append({"type": "portmap", "capabilities": {"portMappings": True}, "snat": True})
    if "bandwidth" in plugins:
        chain.append({"type": "bandwidth", "capabilities": {"bandwidth": True}})
    document = {
        "cniVersion": CONFLIST_VERSION,
        "cniVersions": list(CONFLIST_VERSIONS),
        "name": page.network,
        "plugins": chain,
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace ``path`` by ``data``: readers see the old bytes or the new ones.

    The temporary file lies in the same directory, since containerd notices only a rename within it,
    and ends in ``.tmp``, since runtimes read every .conf, .conflist and .json there. It
    outlasts a power cut. A device or a pipe of that name is nobody's file, and stays.

    Raises:
        OSError: it cannot be written there.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):  # rename(2) refuses those
        raise OSError(errno.EEXIST, "what is there is no file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(6)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # whatever the umask says
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_pages(page: NodePage, run_dir: Path) -> None:
    """node.json and subnet.env into ``run_dir``."""
    write_atomic(run_dir / PAGE_NAME, format_page(page))
    write_atomic(run_dir / SUBNET_ENV_NAME, subnet_env(page).encode())


def write_conflist(
    page: NodePage, conf_dir: Path, *, plugins: Collection[str] = ("portmap",)
) -> Path:
    """The conflist into the runtime's directory, if it differs: a write makes runtimes reload."""
    path, data = conf_dir / page.marks.conflist, conflist(page, plugins=plugins)
    with contextlib.suppress(OSError):
        if path.read_bytes() == data:
            return path
    write_atomic(path, data)
    return path


def pages(run_dir: Path) -> tuple[Path, ...]:
    """Where node.json and subnet.env are, or would be."""
    return run_dir / PAGE_NAME, run_dir / SUBNET_ENV_NAME


def remove_pages(run_dir: Path) -> None:
    """Take node.json and subnet.env away; absent is fine."""
    for path in pages(run_dir):
        path.unlink(missing_ok=True)


def remove_conflist(conf_dir: Path, name: str = CONFLIST_NAME) -> None:
    """Take the conflist away, after which the runtime starts no new pod here; absent is fine."""
    (conf_dir / name).unlink(missing_ok=True)
