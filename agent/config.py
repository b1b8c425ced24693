"""The agent's settings: one table row makes the TOML key, the OVERLAY_ variable and the flag.

Flags win over the environment, the environment over the file, the file over the defaults. Nobody else
reads the environment. An unknown key or a bad value is one BadConfig naming key, value and where it
stood.
"""

import argparse
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent.machine import read_machine_id, read_node_name
from overlay.errors import BadConfig, OverlayError
from overlay.model import Address

DEFAULT_FILE = Path("/etc/overlay/agent.toml")
ENV_PREFIX = "OVERLAY_"


@dataclass(frozen=True, slots=True)
class Config:
    """Every setting, checked. Durations are seconds; empty strings and tuples mean "not given"."""

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
    lease_ttl: float
    resync_interval: float
    run_dir: Path
    state_dir: Path
    cni_conf_dir: Path
    cni_bin_dir: Path
    log_level: str


def _duration(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not match:
        raise ValueError("not a duration such as 30s, 5m or 24h")
    return float(match[1]) * {"ms": 0.001, None: 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError("neither true nor false")
    return text.lower() in ("true", "1", "yes")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _endpoints(text: str) -> tuple[str, ...]:
    found = _words(text)
    if not found:
        raise ValueError("no endpoint given")
    for url in found:
        if not re.fullmatch(r"(https?://)?[^/\s:]+:\d{1,5}|(https?://)?\[[0-9a-fA-F:]+\]:\d{1,5}", url):
            raise ValueError(f"{url!r} is not http://HOST:PORT or https://HOST:PORT")
    return found


def _prefix(text: str) -> str:
    if not text.startswith("/") or text.rstrip("/") == "":
        raise ValueError("must start with / and name a path")
    return "/" + "/".join(part for part in text.split("/") if part)


def _address(text: str) -> Address | None:
    return ip_address(text) if text else None


def _link_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,15}", text) or text in (".", ".."):
        raise ValueError("not a usable interface name (1 to 15 of A-Z a-z 0-9 _ . -)")
    return text


def _node(text: str) -> str:
    name = text or read_node_name()
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?", name):
        raise ValueError("not a host name")
    return name


def _machine(text: str) -> str:
    name = text or read_machine_id()
    if not re.fullmatch(r"[0-9a-fA-F-]{8,64}", name):
        raise ValueError("not 8 to 64 hexadecimal digits")
    return name.lower().replace("-", "")


def _level(text: str) -> str:
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("not one of debug, info, warning, error")
    return text.upper()


def _at_least(low: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = _duration(text)
        if value < low:
            raise ValueError(f"shorter than {low:g}s")
        return value

    return parse


def _plain(text: str) -> str:
    return text


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: ``parse`` raises ValueError with the reason."""

    key: str
    default: str
    parse: Callable[[str], Any]
    metavar: str
    help: str


SETTINGS = (
    Setting("node_name", "", _node, "NAME", "this node's name in leases and logs (default: host name)"),
    Setting("machine_id", "", _machine, "HEX", "identity that keeps the subnet (default: /etc/machine-id)"),
    Setting("etcd_endpoints", "http://127.0.0.1:2379", _endpoints, "URL,...", "etcd client URLs"),
    Setting("etcd_prefix", "/coreos.com/network", _prefix, "PATH", "where the network lives in etcd"),
    Setting("etcd_cafile", "", _plain, "FILE", "CA that signed etcd's certificates"),
    Setting("etcd_certfile", "", _plain, "FILE", "client certificate"),
    Setting("etcd_keyfile", "", _plain, "FILE", "client key"),
    Setting("etcd_username", "", _plain, "NAME", "etcd user"),
    Setting("etcd_password", "", _plain, "TEXT", "its password (better in the file than on a command line)"),
    Setting("etcd_timeout", "5s", _at_least(0.1), "TIME", "deadline of one etcd call"),
    Setting("iface", "", _words, "NAME|ADDR|REGEX,...", "underlay interface; the first that fits is taken"),
    Setting("iface_can_reach", "", _address, "ADDR", "underlay = the interface that routes to this address"),
    Setting("public_ip", "", _address, "ADDR", "IPv4 address peers send to, if NAT hides the interface's"),
    Setting("public_ipv6", "", _address, "ADDR", "the same for IPv6"),
    Setting("bridge", "overlay0", _link_name, "NAME", "bridge the pods join"),
    Setting("ip_masq", "true", _boolean, "BOOL", "masquerade what leaves the pod network"),
    Setting("ip_masq_fully_random", "true", _boolean, "BOOL", "with fully random source ports"),
    Setting("lease_ttl", "24h", _at_least(5), "TIME", "how long the lease outlives a node that is gone"),
    Setting("resync_interval", "60s", _at_least(1), "TIME", "compare the whole kernel state this often"),
    Setting("run_dir", "/run/overlay", Path, "DIR", "socket, subnet.env, address allocations; a tmpfs"),
    Setting("state_dir", "/var/lib/overlay", Path, "DIR", "what outlives a reboot: VTEP MAC, last subnet"),
    Setting("cni_conf_dir", "/etc/cni/net.d", Path, "DIR", "where the conflist goes once the node is ready"),
    Setting("cni_bin_dir", "/opt/cni/bin", Path, "DIR", "where the CNI executables are"),
    Setting("log_level", "info", _level, "LEVEL", "debug, info, warning or error"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """One flag per setting, and ``--config``."""
    parser.add_argument("--config", metavar="FILE", help=f"TOML file (default: {DEFAULT_FILE}, if there)")
    group = parser.add_argument_group("settings (each also KEY = value in the file and OVERLAY_KEY)")
    for row in SETTINGS:
        shown = f" [{row.default}]" if row.default else ""
        group.add_argument(
            "--" + row.key.replace("_", "-"), metavar=row.metavar, help=row.help.replace("%", "%%") + shown
        )


def load(flags: argparse.Namespace, environ: Mapping[str, str]) -> Config:
    """The one place where a Config is made.

    Raises:
        BadConfig: unknown key or bad value, with key, value and source named.
    """
    path = Path(flags.config or environ.get(ENV_PREFIX + "CONFIG", "") or DEFAULT_FILE)
    explicit = bool(flags.config or environ.get(ENV_PREFIX + "CONFIG"))
    given = {row.key: (row.default, "default") for row in SETTINGS}
    given.update(_from_file(path, required=explicit))
    given.update(_from_environment(environ))
    for row in SETTINGS:
        value = getattr(flags, row.key, None)
        if value is not None:
            given[row.key] = (value, "--" + row.key.replace("_", "-"))
    return Config(**{row.key: _parsed(row, *given[row.key]) for row in SETTINGS})


def _parsed(row: Setting, text: str, source: str) -> Any:  # noqa: ANN401 - each row has its own type
    try:
        return row.parse(text)
    except (ValueError, OSError, OverlayError) as error:
        raise BadConfig(f"{row.key} = {text!r} ({source}): {error}", hint="overlay-agent --help") from error


def _from_file(path: Path, *, required: bool) -> dict[str, tuple[str, str]]:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        if required:
            raise BadConfig(f"config file {path} does not exist") from error
        return {}
    except OSError as error:
        raise BadConfig(f"config file {path} cannot be read: {error.strerror}") from error
    try:
        table = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"config file {path} is not TOML: {error}") from error
    known = {row.key for row in SETTINGS}
    for key, value in table.items():
        if key not in known:
            raise BadConfig(f"unknown key {key} = {value!r} in {path}{_nearest(key, known)}")
    return {key: (_as_text(key, value, path), str(path)) for key, value in table.items()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    known = {row.key for row in SETTINGS}
    found: dict[str, tuple[str, str]] = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name == ENV_PREFIX + "CONFIG":
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        if key not in known:
            raise BadConfig(f"unknown variable {name} = {value!r} in the environment{_nearest(key, known)}")
        found[key] = (value, name)
    return found


def _as_text(key: str, value: object, path: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise BadConfig(f"{key} = {value!r} in {path}: must be text, a number, true/false or a list of text")


def _nearest(key: str, known: Sequence[str] | set[str]) -> str:
    import difflib  # only on the way out

    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; overlay-agent --help lists all"
