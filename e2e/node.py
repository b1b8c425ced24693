"""One node of a lab: a namespace, private directories, the real agent, and a container runtime."""

import hashlib
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from agent.ctl import client
from e2e.netns import Namespace
from e2e.pods import Runtime
from e2e.process import CommandFailed, Daemon, Said, must
from overlay.family import Subnet

VENV_BIN = Path(sys.executable).parent
READY_S = 60.0
"""An agent that has been refused pauses for up to 30 s before it asks again (agent.retry)."""


class Node:
    """``address`` is the underlay's. Start the agent with `start_agent`, then `wait_ready`."""

    def __init__(
        self,
        name: str,
        namespace: Namespace,
        *,
        address: str,
        work: Path,
        settings: Mapping[str, object],
    ) -> None:
        self.name, self.namespace, self.address, self.work = name, namespace, address, work
        self.run_dir, self.conf_dir = work / "run", work / "net.d"
        self.config_file, self.log = work / "agent.toml", work / "agent.log"
        self.conflist = "10-overlay.conflist"
        self.runtime = Runtime(namespace, self.conf_dir, work / "bin")
        self._agent: Daemon | None = None
        for directory in (self.run_dir, self.conf_dir, work / "state", self.runtime.bin_dir):
            directory.mkdir(parents=True)
        self._write_config(settings)
        self._install_plugin()

    def _write_config(self, further: Mapping[str, object]) -> None:
        settings: dict[str, object] = {
            "node_name": self.name,
            "machine_id": hashlib.sha256(f"{self.work}".encode()).hexdigest()[:32],
            "run_dir": str(self.run_dir),
            "state_dir": str(self.work / "state"),
            "cni_conf_dir": str(self.conf_dir),
            "cni_bin_dir": str(self.runtime.bin_dir),
            **further,
        }
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        self.config_file.write_text("".join(lines))

    def _install_plugin(self) -> None:
        words = ["-m", "cni.install", "--bin-dir", str(self.runtime.bin_dir)]
        must([sys.executable, *words, "--run-dir", str(self.run_dir)])

    def configure(self, **settings: object) -> None:
        """Further keys of agent.toml, for the agent's next start."""
        with self.config_file.open("a") as file:
            file.writelines(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())

    # --- the agent --------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """The agent's process id while it runs."""
        return self._agent.pid if self._agent else None

    def start_agent(self, *flags: str, environ: Mapping[str, str] | None = None) -> None:
        """The installed overlay-agent, in the node's network namespace."""
        words: list[str | Path] = [VENV_BIN / "overlay-agent", "--config", self.config_file, *flags]
        self._agent = Daemon(
            f"agent of {self.name}", self.namespace.inside(words), self.log, environ=environ
        )

    def send(self, number: signal.Signals) -> None:
        """A signal to the agent, such as SIGSTOP."""
        if self._agent is None:
            raise CommandFailed(f"no agent runs on {self.name}, so no {number.name} for it")
        self._agent.send(number)

    @contextmanager
    def still(self) -> Iterator[None]:
        """The agent does nothing within the block."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def kill_agent(self) -> None:
        """SIGKILL: it has no chance to say goodbye."""
        self._end(signal.SIGKILL)

    def stop_agent(self) -> float:
        """SIGTERM; returns the seconds it took."""
        begun = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - begun

    def _end(self, number: signal.Signals) -> None:
        if self._agent is not None:
            self._agent.end(number)
            self._agent = None

    def wait_ready(self, *, timeout_s: float = READY_S, peers: int = 0) -> None:
        """Until the agent says that it is in sync, knows so many peers, and the conflist is there."""

        def ready() -> bool:
            if self._agent is not None and not self._agent.alive:
                raise CommandFailed(f"the agent of {self.name} ended: {self.log_tail()}")
            pages = (self.conf_dir / self.conflist, self.run_dir / "node.json")
            if not all(page.exists() for page in pages):
                return False
            status = self.status()
            return status["in_sync"] is True and status["peers"]["total"] >= peers

        wait_for(ready, f"{self.name} ready", timeout_s=timeout_s, also=self.log_tail)

    def log_text(self) -> str:
        """All that the agents of this node have said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_tail(self) -> str:
        """The end of it, for error messages."""
        return self.log_text()[-1500:]

    # --- questions --------------------------------------------------------------------------------

    def overlayctl(self, verb: str, *arguments: str) -> Said:
        """Run overlayctl as an operator on this node would."""
        words: list[str | Path] = [
            VENV_BIN / "overlayctl",
            verb,
            "--config",
            self.config_file,
            *arguments,
        ]
        return self.namespace.run(words)

    def ask(self, verb: str, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """``overlayctl VERB --output json``, whatever its exit code."""
        said = self.overlayctl(verb, *arguments, "--output", "json")
        return answer(said, f"overlayctl {verb} on {self.name}")

    def tell(self, verb: str) -> dict[str, Any]:
        """What overlayctl asks the agent for, without the 0.3 s that a Python program takes to start."""
        return client.ask(self.run_dir, verb)

    def status(self) -> dict[str, Any]:
        """``overlayctl status``; without an agent: verdict "down" and nothing in sync."""
        return {"in_sync": False, "changes": 0, **self.ask("status")}

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """The pod subnets as subnet.env names them, IPv4 first."""
        lines = (self.run_dir / "subnet.env").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines)
        names = ("FLANNEL_SUBNET", "FLANNEL_IPV6_SUBNET")
        return tuple(ip_interface(values[name]).network for name in names if name in values)

    @property
    def subnet(self) -> str:
        """The first of them, such as "10.5.72.0/24"."""
        return str(self.subnets[0])

    @property
    def vtep(self) -> str:
        """The VTEP's address: the network address of the subnet."""
        return self.subnet.partition("/")[0]

    def routes_to(self, subnet: str) -> list[dict[str, Any]]:
        """The kernel's routes to exactly that subnet."""
        return self.namespace.query(
            *(["-6"] if ":" in subnet else []), "route", "show", "exact", subnet
        )


def answer(said: Said, what: str) -> Any:  # noqa: ANN401 - any JSON
    """What a command printed as JSON, whatever its exit code; ``what`` names it for CommandFailed."""
    try:
        return json.loads(said.out)
    except json.JSONDecodeError:
        raise CommandFailed(f"{what}: {said.out}{said.err}") from None


def wait_for(
    condition: Callable[[], bool],
    what: str,
    *,
    timeout_s: float,
    also: Callable[[], str] = lambda: "",
) -> float:
    """Poll until true; returns the seconds it took. CommandFailed says what did not happen."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > timeout_s:
            raise CommandFailed(f"not within {timeout_s:g} s: {what} {also()}")
        time.sleep(0.05)
    return time.monotonic() - begun
