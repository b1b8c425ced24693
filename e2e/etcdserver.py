"""A private etcd of one member in a namespace, for a lab: started, asked, stopped, started again."""

import signal
import time
from pathlib import Path

from e2e.netns import Namespace
from e2e.process import CommandFailed, Daemon, Said

PREFIX = "/coreos.com/network"


class EtcdServer:
    """Listens for clients on ``address`` and on loopback, both inside ``namespace`` only."""

    def __init__(self, namespace: Namespace, address: str, work: Path) -> None:
        self.url = f"http://{address}:2379"
        self._namespace, self._work = namespace, work
        self._daemon: Daemon | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._daemon.pid if self._daemon else None

    def start(self) -> None:
        """With the data of last time, if there was one; returns once it serves."""
        peer = "http://127.0.0.1:2380"
        words = [
            *("etcd", "--name", "lab", "--data-dir", str(self._work / "etcd")),
            *("--listen-client-urls", f"{self.url},http://127.0.0.1:2379"),
            *("--advertise-client-urls", self.url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"lab={peer}"),
            *("--heartbeat-interval", "50", "--election-timeout", "500"),  # elects itself sooner
        ]
        log = self._work / "etcd.log"
        self._daemon = Daemon("etcd", self._namespace.inside(words), log)
        deadline = time.monotonic() + 20
        while self._ask("endpoint", "health").code != 0:
            if not self._daemon.alive or time.monotonic() > deadline:
                raise CommandFailed(f"etcd does not serve, see {log}: {log.read_text()[-500:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM; its data stays."""
        if self._daemon is not None:
            self._daemon.end()
            self._daemon = None

    def kill(self) -> None:
        """SIGKILL; nobody will need its data."""
        if self._daemon is not None:
            self._daemon.end(signal.SIGKILL)
            self._daemon = None

    def ctl(self, *arguments: str) -> str:
        """What etcdctl prints."""
        said = self._ask(*arguments)
        if said.code != 0:
            raise CommandFailed(f"etcdctl {' '.join(arguments)}: {said.err.strip()}")
        return said.out

    def _ask(self, *arguments: str) -> Said:
        return self._namespace.run(self.command(*arguments))

    def command(self, *arguments: str) -> list[str | Path]:
        """The etcdctl command itself, to be run in the namespace."""
        return ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={self.url}", *arguments]
