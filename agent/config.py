"""The agent's settings as a whole: read, checked, and a Config made of them (the rows are in agent.settings).

Flags win over the environment, the environment over the file, the file over the defaults. Nobody else
reads the environment. An unknown key or a bad value is one BadConfig naming key, value and where it
stood.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import sources
from agent.settings import SETTINGS, Setting
from agent.sources import ENV_PREFIX
from agent.values import Listen
from overlay.errors import BadConfig, OverlayError
from overlay.marks import Marks
from overlay.model import Address, Subnet

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
    iface_can_reach: tuple[Address, ...]
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
    probe_interval: float
    checksum_test: bool
    metrics_listen: Listen | None
    log_level: str

    @property
    def marks(self) -> Marks:
        """What tells this agent's objects from those of others on the node."""
        return Marks(self.instance)


def add_arguments(parser: argparse.ArgumentParser, *, shown: bool = True) -> None:
    """One flag per setting, and ``--config``; in the help only if ``shown``."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        help=f"TOML file (default: {DEFAULT_FILE}, if there)" if shown else argparse.SUPPRESS,
    )
    group = parser.add_argument_group(
        "settings (each also KEY = value in the file and OVERLAY_KEY)"
    )
    for row in SETTINGS:
        default = f" [{row.default}]" if row.default else ""
        group.add_argument(
            "--" + row.key.replace("_", "-"),
            metavar=row.metavar,
            help=row.help.replace("%", "%%") + default if shown else argparse.SUPPRESS,
        )


def load(
    flags: argparse.Namespace,
    environ: Mapping[str, str],
    *,
    root: Path = Path("/"),
    lacking: bool = False,
) -> Config:
    """The one place where a Config is made.

    ``root`` is where the file is looked for, unless a flag names it; ``lacking`` allows that of an instance to be
    absent, for who is about to write it.

    Raises:
        BadConfig: unknown key or bad value, with key, value and source named.
    """
    known = {row.key for row in SETTINGS}
    below = sources.from_environment(environ, known)
    above: sources.Given = {}
    for key in known:
        if (value := getattr(flags, key, None)) is not None:
            above[key] = (value, "--" + key.replace("_", "-"))
    named = flags.config or environ.get(ENV_PREFIX + "CONFIG", "")
    instance = {**below, **above}.get("instance", ("", ""))[0]
    path = Path(named) if named else root / file_of(instance).relative_to("/")
    required = bool(named) or (file_of(instance) != DEFAULT_FILE and not lacking)
    given = {row.key: (row.default, "default") for row in SETTINGS}
    given |= sources.from_file(path, known, required=required) | below | above
    _follow_the_instance(given)
    return Config(**{row.key: _parsed(row, *given[row.key]) for row in SETTINGS})


def file_of(instance: str) -> Path:
    """Where the settings of an instance are; one that is named outside of it has its own."""
    named = instance and "/" not in instance
    return NAMED_FILES / f"{instance}.toml" if named else DEFAULT_FILE


def _follow_the_instance(given: sources.Given) -> None:
    """What two agents must not share has another default for each instance."""
    marks = Marks(given["instance"][0])
    own = {"bridge": marks.bridge, "run_dir": marks.run_dir, "state_dir": marks.state_dir}
    if marks.instance:
        own["metrics_listen"] = ""  # one port is for one agent
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
