"""A machine of a lab: real systemd as PID 1 in namespaces of its own, on the lab's underlay.

    node = SystemdNode(lab, "n1", layer)
    node.boot()
    node.must("systemctl", "start", "overlay-agent")

Its disk outlives `cut` (the power fails) and `boot`; network, processes and /run do not. It is entered as a
shell on it would be; its files are seen from here below `root`. A lab takes it down as all else: by its processes
and the cgroup they are in.
"""

import hashlib
import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent.ctl import client
from e2e import netns
from e2e.lab import FABRIC, Lab
from e2e.leftovers import CGROUPS
from e2e.netns import Namespace
from e2e.node import READY_S, answer, wait_for
from e2e.pods import Pod, Runtime
from e2e.process import CommandFailed, Daemon, Said, kill, must, run
from overlay.errors import OverlayError

_SCRIPT = Path(__file__).with_name("systemd-boot.sh")
_HIERARCHIES = ("systemd", "unified", "pids", "cpu")
_ENVIRON = (
    *("env", "-i", "HOME=/root", "TERM=dumb", "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0"),
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
)
UNIT = "overlay-agent"
DISK_DIRS = ("upper", "work", "root")


@dataclass(frozen=True, slots=True)
class InnerSpace(Namespace):
    """A named network namespace of a machine of its own; ``path`` is what that machine calls it."""

    leader: int

    def create(self) -> None:
        """With lo up."""
        must(entering(self.leader, ["ip", "netns", "add", self.name]))
        self.ip("link set lo up")

    def inside(self, arguments: Sequence[str | Path]) -> list[str | Path]:
        """From out here; only the network differs."""
        return ["nsenter", f"--net=/proc/{self.leader}/root{self.path}", "--", *arguments]

    def ip(self, *lines: str) -> None:
        """As for any namespace, whose name ip(8) would look for out here."""
        must(self.inside(["ip", "-batch", "-"]), stdin="\n".join(lines) + "\n")


@dataclass(frozen=True, slots=True)
class Machine(Namespace):
    """A machine whose commands run in all of its namespaces: what its container runtime execs."""

    leader: int

    def inside(self, arguments: Sequence[str | Path]) -> list[str | Path]:
        """The environment is the caller's."""
        return ["nsenter", "-t", str(self.leader), "-a", "--", *arguments]


def entering(leader: int, arguments: Sequence[str | Path]) -> list[str | Path]:
    """As root's shell on the machine."""
    return ["nsenter", "-t", str(leader), "-a", "--", *_ENVIRON, *arguments]


class SystemdNode:
    """``layer`` is what lies between this machine's root file system and the node's own disk (systemdimage)."""

    def __init__(self, lab: Lab, name: str, layer: Path) -> None:
        self.name, self.pods = name, list[Pod]()
        self.leader = 0
        """PID 1, as this machine numbers it; 0 while the power is off."""
        self.namespace = Namespace(f"ovl-{lab.id}-{name}")
        self.address = ""
        self._number = 0
        self._lab, self._layer = lab, layer
        self._disk = lab.work / name
        self._power: Daemon | None = None
        self._pod_count = 0
        for directory in DISK_DIRS:
            (self._disk / directory).mkdir(parents=True)
        self._write_disk("etc/hostname", f"{name}\n")
        machine_id = hashlib.sha256(f"{lab.id}{name}".encode()).hexdigest()[:32]
        self._write_disk("etc/machine-id", f"{machine_id}\n")
        lab.clients.append(self)

    def _write_disk(self, name: str, text: str) -> None:
        path = self._disk / "upper" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # --- power --------------------------------------------------------------------------------------

    def boot(self) -> float:
        """Switch on and wait until the machine is up; returns the seconds."""
        self.switch_on()
        return self.wait_up()

    def switch_on(self) -> None:
        """The power is back."""
        self.address, self.namespace = self._lab.add_machine(self.name, number=self._number)
        first = FABRIC[self._lab.families[0]].network
        self._number = int(ip_address(self.address)) - int(first.network_address)
        # The same network card as before: the others' neighbour tables need not find out.
        self.namespace.ip(f"link set eth0 address 02:00:00:00:01:{self._number:02x}")
        words: list[str | Path] = [_SCRIPT, "start", self.namespace.path]
        words.append(":".join(map(str, self._cgroups())))
        self._power = Daemon(
            f"machine {self.name}",
            ["bash", *words, self._disk, self._layer, self.name],
            self._disk / "console.log",
        )
        self._lab.record()

    def wait_up(self) -> float:
        """Until the boot is over; it does not wait for an agent that is not ready yet."""
        return wait_for(self._is_up, f"{self.name} is up", timeout_s=90, also=self._console)

    def _cgroups(self) -> list[Path]:
        """Made below the lab's, in each hierarchy that a unit's limits need."""
        found = [CGROUPS / kind for kind in _HIERARCHIES if (CGROUPS / kind).is_dir()] or [CGROUPS]
        made = [top / self._lab.cgroup.lstrip("/") / self.name for top in found]
        for cgroup in made:
            cgroup.mkdir(parents=True, exist_ok=True)
        return made

    def _is_up(self) -> bool:
        if self._power is None or not self._power.alive:
            raise CommandFailed(f"{self.name} does not boot: {self._console()}")
        children = Path(f"/proc/{self._power.pid}/task/{self._power.pid}/children")
        self.leader = int((children.read_text().split() or ["0"])[0])
        words = ["systemctl", "is-active", "--quiet", "multi-user.target"]
        return bool(self.leader) and self.run(*words).code == 0

    def _console(self) -> str:
        return (self._disk / "console.log").read_text()[-1500:]

    def cut(self) -> None:
        """The power fails: processes, network and /run are gone from one moment to the next."""
        if self._power is not None:
            if self.leader:
                kill(self.leader)
            # The kernel takes a namespace down later; a port whose machine is off is gone at once.
            run(["ip", "-n", self._lab.fabric.name, "link", "delete", f"port{self._number}"])
            self._power.end(signal.SIGKILL)
        self._power, self.leader = None, 0
        self.pods.clear()
        netns.remove(self.namespace.name)

    close = cut

    @property
    def pid(self) -> int | None:
        """The process whose end is the machine's."""
        return self._power.pid if self._power else None

    # --- from inside --------------------------------------------------------------------------------

    def run(self, *arguments: str | Path, stdin: str = "", timeout_s: float = 60) -> Said:
        """A command of root's on the machine, whatever its exit code."""
        return run(entering(self.leader, arguments), stdin=stdin, timeout_s=timeout_s)

    def must(self, *arguments: str | Path, stdin: str = "", timeout_s: float = 60) -> str:
        """The same, which has to succeed."""
        return must(entering(self.leader, arguments), stdin=stdin, timeout_s=timeout_s)

    def root(self, path: str) -> Path:
        """A file of the machine, from out here."""
        return Path(f"/proc/{self.leader}/root{path}")

    def write(self, path: str, text: str) -> None:
        """A file of the machine, and its directories."""
        self.root(path).parent.mkdir(parents=True, exist_ok=True)
        self.root(path).write_text(text)

    def settings(self, **settings: object) -> None:
        """/etc/overlay/agent.toml, anew."""
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in settings.items()]
        self.write("/etc/overlay/agent.toml", "".join(lines))

    def unit(self, *properties: str) -> dict[str, str]:
        """What systemd knows of the agent."""
        said = self.must("systemctl", "show", UNIT, f"--property={','.join(properties)}")
        return dict(line.split("=", 1) for line in said.splitlines())

    @property
    def agent(self) -> int:
        """The agent's process, as the machine numbers it; 0 if none runs."""
        return int(self.unit("MainPID")["MainPID"])

    @property
    def cgroup(self) -> Path:
        """The unit's, from out here."""
        top = self._cgroups()[0]
        return top / "system.slice" / f"{UNIT}.service"

    def thread(self, name: str) -> int:
        """A thread of the agent, as the machine out here numbers it."""
        (pid,) = (self.cgroup / "cgroup.procs").read_text().split()
        tasks = Path("/proc", pid, "task")
        (found,) = [it.name for it in tasks.iterdir() if (it / "comm").read_text() == f"{name}\n"]
        return int(found)

    def journal(self, *arguments: str) -> list[str]:
        """What the agent has said, over all boots, a line each."""
        words = ["journalctl", "--no-pager", "-o", "cat", "-u", UNIT]
        return self.must(*words, *arguments).splitlines()

    # --- the agent ----------------------------------------------------------------------------------

    @property
    def run_dir(self) -> Path:
        """The agent's, from out here."""
        return self.root("/run/overlay")

    def overlayctl(self, verb: str, *arguments: str) -> Said:
        """As an operator on this node would."""
        return self.run("overlayctl", verb, *arguments)

    def ask(self, verb: str, *arguments: str) -> Any:  # noqa: ANN401 - any JSON
        """``overlayctl VERB --output json``, whatever its exit code."""
        said = self.overlayctl(verb, *arguments, "--output", "json")
        return answer(said, f"overlayctl {verb} on {self.name}")

    def tell(self, verb: str) -> dict[str, Any]:
        """What overlayctl asks the agent for, without the time that a program takes to start."""
        return client.ask(self.run_dir, verb)

    def wait_ready(self, *, peers: int = 0, timeout_s: float = READY_S) -> None:
        """Until it is in sync and knows so many others."""

        def ready() -> bool:
            try:
                status = self.tell("status")
            except OverlayError:
                return False
            return status["in_sync"] is True and status["peers"]["total"] >= peers

        tail = lambda: "\n".join(self.journal("-n", "12"))  # noqa: E731
        wait_for(ready, f"{self.name} ready", timeout_s=timeout_s, also=tail)

    @property
    def subnet(self) -> str:
        """As subnet.env names it."""
        lines = (self.run_dir / "subnet.env").read_text().splitlines()
        values = dict(line.split("=", 1) for line in lines)
        base, _, length = values["FLANNEL_SUBNET"].partition("/")
        return f"{base.rpartition('.')[0]}.0/{length}"

    # --- pods ---------------------------------------------------------------------------------------

    @property
    def runtime(self) -> Runtime:
        """What a container runtime on it does."""
        return Runtime(
            Machine(self.namespace.name, self.leader),
            self.root("/etc/cni/net.d"),
            Path("/opt/cni/bin"),
        )

    def bare_pod(self) -> Pod:
        """A namespace that a runtime has made under /run/netns, not attached to anything."""
        self._pod_count += 1
        name = f"{self.name}p{self._pod_count}"
        pod = Pod(name=name, node=self.name, namespace=InnerSpace(name, self.leader))
        pod.namespace.create()
        self.pods.append(pod)
        return pod

    def add_pod(self, **config: object) -> Pod:
        """A pod, attached by the plugin."""
        pod = self.bare_pod()
        self.runtime.add(pod, **config)
        return pod

    def remove_pod(self, pod: Pod, *, say_so: bool = True) -> None:
        """DEL (unless nobody says so), then the namespace."""
        if say_so:
            self.runtime.delete(pod)
        self.must("ip", "netns", "delete", pod.name)
        self.pods.remove(pod)
