"""The agent's settings: one table row makes the TOML key, the OVERLAY_ variable and the flag.

Flags win over the environment, the environment over the file, the file over the defaults. Nobody else
reads the environment. An unknown key or a bad value is one BadConfig naming key, value and where it
stood.
"""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import sources, values
from agent.sources import ENV_PREFIX
from cni import hostlocal
from overlay.errors import BadConfig, OverlayError
from overlay.marks import ONLY, Marks
from overlay.model import Address, Family, Subnet

DEFAULT_FILE = Path("/etc/overlay/agent.toml")
NAMED_FILES = Path("/etc/overlay")
"""Where the file of a named instance is, NAME.toml."""


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked. Durations are seconds; empty strings and tuples mean "not given"."""

    instance: str
    node_name: str
    machine_id: str
    etcd_endpoints: tuple[str, ...]
    etcd_prefix: str
    etcd_cafile: str
    etcd_certfile: str
    etcd_keyfile: str
    etcd_username: str
    etcd_password: str
    etcd_timeout: float
    iface: tuple[str, ...]
    iface_can_reach: Address | None
    public_ip: Address | None
    public_ipv6: Address | None
    bridge: str
    ip_masq: bool
    ip_masq_fully_random: bool
    subnet: tuple[Subnet, ...]
    lease_ttl: float
    resync_interval: float
    run_dir: Path
    state_dir: Path
    cni_conf_dir: Path
    cni_bin_dir: Path
    host_local_dir: Path
    conflist_when_unready: str
    sweep_interval: float
    checksum_test: bool
    log_level: str

    @property
    def marks(self) -> Marks:
        """What tells this agent's objects from those of others on the node."""
        return Marks(self.instance)


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: ``parse`` raises ValueError with the reason."""

    key: str
    default: str
    parse: Callable[[str], Any]
    metavar: str
    help: str


SETTINGS = (
    Setting(
        "instance",
        "",
        values.instance,
        "NAME",
        "tells several agents of one node apart; run_dir, state_dir, bridge and the marks follow from it",
    ),
    Setting(
        "node_name",
        "",
        values.node,
        "NAME",
        "this node's name in leases and logs (default: host name)",
    ),
    Setting(
        "machine_id",
        "",
        values.machine,
        "HEX",
        "identity that keeps the subnet (default: /etc/machine-id)",
    ),
    Setting(
        "etcd_endpoints", "http://127.0.0.1:2379", values.endpoints, "URL,...", "etcd client URLs"
    ),
    Setting(
        "etcd_prefix",
        "/coreos.com/network",
        values.prefix,
        "PATH",
        "where the network lives in etcd",
    ),
    Setting("etcd_cafile", "", values.plain, "FILE", "CA that signed etcd's certificates"),
    Setting("etcd_certfile", "", values.plain, "FILE", "client certificate"),
    Setting("etcd_keyfile", "", values.plain, "FILE", "client key"),
    Setting("etcd_username", "", values.plain, "NAME", "etcd user"),
    Setting(
        "etcd_password",
        "",
        values.plain,
        "TEXT",
        "its password (better in the file than on a command line)",
    ),
    Setting("etcd_timeout", "5s", values.at_least(0.1), "TIME", "deadline of one etcd call"),
    Setting(
        "iface",
        "",
        values.words,
        "NAME|ADDR|REGEX,...",
        "underlay interface; the first that fits is taken",
    ),
    Setting(
        "iface_can_reach",
        "",
        values.address,
        "ADDR",
        "underlay = the interface that routes to this address",
    ),
    Setting(
        "public_ip",
        "",
        values.public(Family.V4),
        "ADDR",
        "IPv4 address peers send to, if NAT hides the interface's",
    ),
    Setting("public_ipv6", "", values.public(Family.V6), "ADDR", "the same for IPv6"),
    Setting("bridge", ONLY.bridge, values.link_name, "NAME", "bridge the pods join"),
    Setting("ip_masq", "true", values.boolean, "BOOL", "masquerade what leaves the pod network"),
    Setting(
        "ip_masq_fully_random", "true", values.boolean, "BOOL", "with fully random source ports"
    ),
    Setting(
        "subnet",
        "",
        values.subnets,
        "CIDR,...",
        "ask for exactly this subnet, at most one per family (default: any)",
    ),
    Setting(
        "lease_ttl",
        "24h",
        values.at_least(5),
        "TIME",
        "how long the lease outlives a node that is gone",
    ),
    Setting(
        "resync_interval",
        "60s",
        values.at_least(1),
        "TIME",
        "compare the whole kernel state this often",
    ),
    Setting(
        "run_dir", ONLY.run_dir, Path, "DIR", "socket, subnet.env, address allocations; a tmpfs"
    ),
    Setting(
        "state_dir",
        ONLY.state_dir,
        Path,
        "DIR",
        "what outlives a reboot: VTEP MAC, last subnet",
    ),
    Setting(
        "cni_conf_dir",
        "/etc/cni/net.d",
        Path,
        "DIR",
        "where the conflist goes once the node is ready",
    ),
    Setting("cni_bin_dir", "/opt/cni/bin", Path, "DIR", "where the CNI executables are"),
    Setting(
        "host_local_dir",
        hostlocal.DIRECTORY,
        Path,
        "DIR",
        "where host-local keeps the addresses of pods that flannel's plugin attached (its dataDir)",
    ),
    Setting(
        "conflist_when_unready",
        "keep",
        values.choice("keep", "remove"),
        "keep|remove",
        "the conflist of a node that has lost its lease: keep (each ADD is refused with the reason) or "
        "remove (the runtime calls the node NotReady)",
    ),
    Setting(
        "sweep_interval",
        "60s",
        values.at_least(1),
        "TIME",
        "check all attachments, and take away what dead pods left behind, this often",
    ),
    Setting("checksum_test", "true", values.boolean, "BOOL", "test checksum offload (docs/mtu.md)"),
    Setting("log_level", "info", values.level, "LEVEL", "debug, info, warning or error"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag per setting, and ``--config``."""
    parser.add_argument(
        "--config", metavar="FILE", help=f"TOML file (default: {DEFAULT_FILE}, if there)"
    )
    group = parser.add_argument_group(
        "settings (each also KEY = value in the file and OVERLAY_KEY)"
    )
    for row in SETTINGS:
        shown = f" [{row.default}]" if row.default else ""
        group.add_argument(
            "--" + row.key.replace("_", "-"),
            metavar=row.metavar,
            help=row.help.replace("%", "%%") + shown,
        )


def load(flags: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    """The one place where a Config is made.

    Raises:
        BadConfig: unknown key or bad value, with key, value and source named.
    """
    known = {row.key for row in SETTINGS}
    below = sources.from_environment(environ, known)
    above: sources.Given = {}
    for key in known:
        if (value := getattr(flags, key, None)) is not None:
            above[key] = (value, "--" + key.replace("_", "-"))
    path, required = _file(flags, environ, {**below, **above})
    given = {row.key: (row.default, "default") for row in SETTINGS}
    given |= sources.from_file(path, known, required=required) | below | above
    _follow_the_instance(given)
    return Config(**{row.key: _parsed(row, *given[row.key]) for row in SETTINGS})


def _file(
    flags: argparse.Namespace, environ: Mapping[str, str], given: sources.Given
) -> tuple[Path, bool]:
    """The file, and whether it must be there; an instance that is named outside of it has its own."""
    named = flags.config or environ.get(ENV_PREFIX + "CONFIG", "")
    instance = given.get("instance", ("", ""))[0]
    if instance and not named and "/" not in instance:
        named = NAMED_FILES / f"{instance}.toml"
    return Path(named or DEFAULT_FILE), bool(named)


def _follow_the_instance(given: sources.Given) -> None:
    """What two agents must not share has another default for each instance."""
    marks = Marks(given["instance"][0])
    own = {"bridge": marks.bridge, "run_dir": marks.run_dir, "state_dir": marks.state_dir}
    for key, value in own.items():
        if given[key][1] == "default":
            given[key] = (value, "default")


def _parsed(row: Setting, text: str, source: str) -> Any:  # noqa: ANN401 - each row has its own type
    try:
        return row.parse(text)
    except (ValueError, OSError, OverlayError) as error:
        raise BadConfig(
            f"{row.key} = {text!r} ({source}): {error}", hint="overlay-agent --help"
        ) from error
