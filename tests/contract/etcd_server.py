"""A private etcd of one member on loopback, stoppable."""

import socket
import subprocess
import time
from pathlib import Path

import pytest

from agent.etcd import Etcd
from overlay.errors import OverlayError


class Server:
    """``stop`` is SIGKILL; ``start`` again has the data of before, at the same address."""

    def __init__(self, work: Path, *more: str) -> None:
        self._work, self._more = work, more
        self._ports = (_free_port(), _free_port())
        self.url = f"http://127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Returns once it serves."""
        peer = f"http://127.0.0.1:{self._ports[1]}"
        words = ["etcd", "--name", "t", "--data-dir", str(self._work / "data")]
        words += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        words += ["--initial-cluster", f"t={peer}", "--heartbeat-interval", "50"]
        words += ["--election-timeout", "500", *self._more]
        with (self._work / "log").open("ab") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)
        client = Etcd([self.url], timeout_s=1)
        for _ in range(200):
            try:
                client.range("/")
                break
            except OverlayError:
                time.sleep(0.05)
        else:
            pytest.fail(f"etcd does not serve: {(self._work / 'log').read_text()[-500:]}")
        client.close()

    def stop(self) -> None:
        """The hard way."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])
