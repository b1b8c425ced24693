"""What all checks look through: settings, files of other programs, the kernel, the agent, etcd; each read once.

Nothing here raises for a thing that is absent: a preflight runs where nothing has been installed. ``root`` is
where files of other programs are looked for, so that a test can plant them; /proc is always this thread's.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent import connect, recalled, underlay
from agent.config import DEFAULT_FILE, Config
from agent.ctl import client, programs
from agent.ctl.programs import Said
from agent.reading import beginning
from agent.underlay import Hosts
from overlay import netconfig
from overlay.errors import BadConfig, OverlayError
from overlay.model import Network
from overlay.netlink import Netlink

ETCD_S = 3.0
"""For one call: the doctor has many questions, and is asked when things are slow."""
AGENT_S = 5.0
PROC = Path("/proc")
T = TypeVar("T")
Run = Callable[..., Said]


@dataclass(frozen=True, slots=True)
class Configured:
    """P/config: the checked one, or why there is none. ``answered``: etcd said so itself."""

    network: Network | None = None
    why: str = ""
    answered: bool = False
    absent: bool = False


@dataclass(frozen=True, slots=True)
class Agent:
    """What the agent says of itself; ``why`` where it does not answer."""

    status: dict[str, Any] | None = None
    why: str = ""


class Look:
    """Thread-safe. ``run`` starts programs (agent.ctl.programs)."""

    def __init__(
        self,
        settings: Config,
        *,
        root: Path = Path("/"),
        config_file: Path = DEFAULT_FILE,
        run: Run = programs.run,
    ) -> None:
        self.settings = replace(settings, etcd_timeout=min(settings.etcd_timeout, ETCD_S))
        self.root, self.config_file, self.run = root, config_file, run
        self._lock = threading.Lock()
        self._once: dict[object, tuple[threading.Lock, list[Any]]] = {}

    def once(self, name: str, read: Callable[[], T]) -> T:
        """What ``read`` returned the first time; whoever comes meanwhile waits. A failure is not remembered."""
        with self._lock:
            lock, kept = self._once.setdefault(name, (threading.Lock(), []))
        with lock:
            if not kept:
                kept.append(read())
            value: T = kept[0]
            return value

    # --- files ------------------------------------------------------------------------------------

    def path(self, path: str | Path) -> Path:
        """Of another program's file."""
        return self.root / str(path).lstrip("/")

    def text(self, path: str | Path) -> str | None:
        """A file of another program; None if it is not there, or cannot be read."""
        return read_text(self.path(path))

    def texts(self, directories: Sequence[str], suffix: str) -> dict[str, str]:
        """Drop-ins as systemd orders them: by name, and of one name the earlier directory's; keys are paths."""
        chosen: dict[str, str] = {}
        for directory in directories:
            for name in self.names(directory):
                if name.endswith(suffix):
                    chosen.setdefault(name, f"{directory}/{name}")
        return {path: self.text(path) or "" for _, path in sorted(chosen.items())}

    def names(self, directory: str | Path) -> list[str]:
        """What is in another program's directory, sorted; nothing if there is none."""
        try:
            return sorted(path.name for path in self.path(directory).iterdir())
        except OSError:
            return []

    def switch(self, path: str) -> str | None:
        """A file below /proc/sys, of this thread's network namespace; None if the kernel has none."""
        text = read_text(PROC / "sys" / path)
        return None if text is None else text.strip()

    # --- the world ----------------------------------------------------------------------------------

    def agent(self) -> Agent:
        """The running agent's status."""
        return self.once("agent", self._agent)

    def hosts(self) -> Hosts:
        """Links, addresses and near routes; raises OverlayError where the kernel cannot be read."""
        return self.once("hosts", _hosts)

    def configured(self) -> Configured:
        """The network config: etcd's, else that of the last-good copy."""
        return self.once("configured", self._configured)

    def unit(self) -> str:
        """systemd's name of the agent."""
        return f"{self.settings.marks.unit}.service"

    def _agent(self) -> Agent:
        try:
            return Agent(client.ask(self.settings.run_dir, "status", timeout_s=AGENT_S))
        except OverlayError as error:
            return Agent(why=str(error))

    def _configured(self) -> Configured:
        try:
            with closing(connect.registry(self.settings)) as store:
                raw = store.raw_network()
        except OverlayError as error:
            return replace(self._remembered(), why=str(error))
        if raw is None:
            return Configured(answered=True, absent=True)
        try:
            return Configured(netconfig.parse_network(raw), answered=True)
        except BadConfig as error:
            return Configured(why=str(error), answered=True)

    def _remembered(self) -> Configured:
        try:
            raw = (self.settings.state_dir / recalled.FILE_NAME).read_bytes()
            page = msgspec.json.decode(raw, type=recalled.Page)
            return Configured(netconfig.parse_network(page.network.encode()))
        except (OSError, ValueError, BadConfig):  # none, no JSON, no UTF-8
            return Configured()


def read_text(path: Path) -> str | None:
    """The beginning of a file; None if it is not there, or cannot be read."""
    try:
        return beginning(path).decode(errors="replace")
    except OSError:
        return None


def _hosts() -> Hosts:
    with Netlink() as netlink:
        return underlay.read(netlink)
