"""One private etcd in a namespace of a lab, alone or a member of a cluster: started, asked, hurt, started again."""

import json
import shutil
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.netns import Namespace
from e2e.process import CommandFailed, Daemon, Said

PREFIX = "/coreos.com/network"
CONFIG_KEY = f"{PREFIX}/config"
SUBNETS = f"{PREFIX}/subnets/"
NETWORK = '{"Network":"10.5.0.0/16","SubnetMax":"10.5.199.0","Backend":{"Type":"vxlan"}}'
"""The config of a lab: no node takes 10.5.200.0/24 and above by chance, where tests write records of their own."""
# It elects itself, or another, sooner than by default (100 and 1000).
_TUNING = ("--heartbeat-interval", "50", "--election-timeout", "500")


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Files of a server that wants certificates of its clients, and those etcdctl shows it."""

    cafile: Path
    certfile: Path
    keyfile: Path
    client_certfile: Path
    client_keyfile: Path

    @property
    def server_words(self) -> list[str | Path]:
        """For etcd."""
        return [
            *("--client-cert-auth", "--trusted-ca-file", self.cafile),
            *("--cert-file", self.certfile, "--key-file", self.keyfile),
        ]

    @property
    def client_words(self) -> list[str | Path]:
        """For etcdctl."""
        files = (self.cafile, self.client_certfile, self.client_keyfile)
        return [f"--cacert={files[0]}", f"--cert={files[1]}", f"--key={files[2]}"]


class EtcdServer:
    """Listens for clients on ``address`` and on loopback, both inside ``namespace`` only.

    ``peers`` are the addresses of all members by name, if it is not alone; ``flags`` go to etcd as they are.
    """

    def __init__(
        self,
        namespace: Namespace,
        address: str,
        work: Path,
        *,
        name: str = "etcd",
        peers: Mapping[str, str] | None = None,
        tls: ServerTls | None = None,
        flags: tuple[str, ...] = (),
    ) -> None:
        scheme = "https" if tls else "http"
        self.name, self.namespace, self.address = name, namespace, address
        self.url, self._local = f"{scheme}://{address}:2379", f"{scheme}://127.0.0.1:2379"
        self.data, self.log = work / name, work / f"{name}.log"
        self.token, self.user = "lab", ""
        """The cluster's token, which goes into the ids of what it founds; ``USER:PASSWORD`` for etcdctl."""
        self.ailing = False
        """Set by whoever hangs or parts it: asking it takes long and leads to nothing."""
        self._peers = dict(peers) if peers else {name: "127.0.0.1"}
        self._tls, self._flags = tls, flags
        self._daemon: Daemon | None = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._daemon.pid if self._daemon else None

    # --- its life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """With the data of last time, if there was one; returns once it serves."""
        self.launch()
        self.wait_serving()

    def launch(self) -> None:
        """The process only: a member serves when most of the others are there."""
        peer = self.peer_url
        words = [
            *("etcd", "--name", self.name, "--data-dir", self.data, *_TUNING),
            *("--listen-client-urls", f"{self.url},{self._local}"),
            *("--advertise-client-urls", self.url),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", self._initial, "--initial-cluster-token", self.token),
            *(self._tls.server_words if self._tls else ()),
            *self._flags,
        ]
        self._daemon = Daemon("etcd", self.namespace.inside(words), self.log)

    def wait_serving(self, *, timeout_s: float = 40) -> None:
        """Until it answers as a member that has a leader."""
        deadline = time.monotonic() + timeout_s
        while self.ask("endpoint", "health").code != 0:
            alive = self._daemon is not None and self._daemon.alive
            if not alive or time.monotonic() > deadline:
                tail = self.log.read_text()[-500:]
                raise CommandFailed(f"etcd does not serve, see {self.log}: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """SIGTERM; its data stays."""
        if self._daemon is not None:
            self._daemon.end()
            self._daemon = None

    def kill(self) -> None:
        """SIGKILL, hung or not; its data stays."""
        if self._daemon is not None:
            self._daemon.end(signal.SIGKILL)
            self._daemon = None

    close = kill

    def hang(self) -> None:
        """SIGSTOP: its kernel still takes connections."""
        self.ailing = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.ailing = False
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._daemon is None:
            raise CommandFailed(f"etcd {self.name} is not running, so no {number.name} for it")
        self._daemon.send(number)

    # --- its data -----------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """A snapshot of all data."""
        path.unlink(missing_ok=True)
        self.ctl("snapshot", "save", str(path))

    def restore(self, path: Path) -> None:
        """Its data becomes that of a snapshot; it must not run."""
        self.wipe()
        words = ["--name", self.name, "--data-dir", str(self.data)]
        words += ["--initial-cluster", self._initial, "--initial-cluster-token", self.token]
        words += ["--initial-advertise-peer-urls", self.peer_url]
        self.ctl("snapshot", "restore", str(path), *words)

    def wipe(self) -> None:
        """No data; it must not run."""
        shutil.rmtree(self.data, ignore_errors=True)

    @property
    def peer_url(self) -> str:
        """Where the other members find it."""
        return f"http://{self._peers[self.name]}:2380"

    @property
    def _initial(self) -> str:
        return ",".join(f"{name}=http://{at}:2380" for name, at in self._peers.items())

    # --- asking it ----------------------------------------------------------------------------------

    def ctl(self, *arguments: str) -> str:
        """What etcdctl prints."""
        said = self.ask(*arguments)
        if said.code != 0:
            raise CommandFailed(f"etcdctl {' '.join(arguments)}: {said.err.strip()}")
        return said.out

    def revision(self) -> int:
        """The newest there is."""
        return int(self._json("get", "x")["header"]["revision"])

    def lease_of(self, key: str) -> int:
        """The etcd lease of a key, 0 for none."""
        return int(self._json("get", key)["kvs"][0].get("lease", 0))

    def seconds_left(self, lease: str) -> int:
        """Until a lease (hexadecimal) ends; -1 if it has."""
        return int(self._json("lease", "timetolive", lease)["ttl"])

    def _json(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ctl(*arguments, "--write-out", "json"))
        return found

    def ask(self, *arguments: str) -> Said:
        """etcdctl in the namespace, whatever its exit code."""
        return self.namespace.run(self.command(*arguments))

    def command(self, *arguments: str) -> list[str | Path]:
        """The etcdctl command itself, to be run in the namespace."""
        words: list[str | Path] = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints={self.url}"]
        words += ["--dial-timeout=10s", "--command-timeout=20s"]  # a busy machine is no fault
        words += self._tls.client_words if self._tls else []
        words += [f"--user={self.user}"] if self.user else []
        return [*words, *arguments]
