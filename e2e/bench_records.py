"""Lease records of nodes that do not exist, for `make bench`: written to a real etcd, as many as are asked for.

Run as a process of its own in etcd's namespace (``python -m e2e.bench_records ENDPOINT``): one JSON command per
line of stdin, one JSON answer each. Times are CLOCK_MONOTONIC, which all processes of a machine share: `put` says
when etcd had acknowledged.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from agent import etcd
from agent.etcd import Etcd
from e2e.etcdserver import SUBNETS
from e2e.netns import Namespace
from e2e.process import CLEAN_ENVIRON, CommandFailed

ROOT = Path(__file__).resolve().parent.parent
CONFIG = (
    '{"Network":"10.0.0.0/8","SubnetLen":24,"SubnetMin":"10.200.0.0","Backend":{"Type":"vxlan"}}'
)
"""Nodes claim from 10.200.0.0 on; what lies before is for peers that are only records."""
A_TRANSACTION = 100
"""etcd's own limit is 128 operations."""
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class SimPeer:
    """Peer ``number``; ``version`` is what its MAC changes with."""

    number: int
    version: int = 0

    @property
    def subnet(self) -> IPv4Network:
        """Its pods'."""
        return IPv4Network((0x0A000000 + ((self.number + 1) << 8), 24))

    @property
    def mac(self) -> str:
        """Of its VTEP."""
        return f"02:{self.version:02x}:" + self.number.to_bytes(4, "big").hex(":")

    @property
    def underlay(self) -> IPv4Address:
        """Its own address."""
        return IPv4Address(0xC6120000 + self.number)

    @property
    def key(self) -> str:
        """In etcd."""
        return f"{SUBNETS}{self.subnet.network_address}-{self.subnet.prefixlen}"

    @property
    def value(self) -> bytes:
        """As an agent of ours writes it."""
        data = f'{{"VNI":1,"VtepMAC":"{self.mac}"}}'
        return (
            f'{{"PublicIP":"{self.underlay}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{data},'
            f'"Node":"node-{self.number:05d}.example.internal","MachineID":"{self.number:032x}",'
            '"AgentVersion":"0.1.0"}'
        ).encode()


class Records:
    """The process, seen from the benchmark."""

    def __init__(self, space: Namespace, endpoint: str, log: Path) -> None:
        self._log = log.open("ab")
        words = space.inside([sys.executable, "-m", "e2e.bench_records", endpoint])
        self._child = subprocess.Popen(
            [str(word) for word in words],
            cwd=ROOT,
            env=CLEAN_ENVIRON,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            start_new_session=True,
        )

    @property
    def pid(self) -> int | None:
        """While it runs; makes it one of a lab's clients."""
        return self._child.pid

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.communicate()
        self._log.close()

    def do(self, verb: str, *arguments: int) -> Any:  # noqa: ANN401 - any JSON
        """One command."""
        assert self._child.stdin
        assert self._child.stdout
        self._child.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise CommandFailed(f"the process that writes records ended, see {self._log.name}")
        return json.loads(line)


class _Writer:
    """The same, seen from within."""

    def __init__(self, endpoint: str) -> None:
        self._store = Etcd([endpoint], timeout_s=10)
        self._lease = self._store.grant(DAY_S)

    def seed(self, first: int, count: int) -> int:
        """So many at once, in few transactions."""
        for start in range(first, first + count, A_TRANSACTION):
            numbers = range(start, min(start + A_TRANSACTION, first + count))
            peers = map(SimPeer, numbers)
            self._store.txn([], [etcd.putting(it.key, it.value, lease=self._lease) for it in peers])
        return count

    def put(self, number: int, version: int) -> float:
        """When etcd had acknowledged."""
        peer = SimPeer(number, version)
        self._store.put(peer.key, peer.value, lease=self._lease)
        return time.monotonic()

    def delete(self, number: int) -> float:
        """When etcd had acknowledged."""
        self._store.txn([], [etcd.deleting(SimPeer(number).key)])
        return time.monotonic()

    def storm(self, first: int, count: int) -> tuple[float, float]:
        """One put each, as fast as one client can: when the first and the last was acknowledged."""
        stamps = [self.put(number, 0) for number in range(first, first + count)]
        return stamps[0], stamps[-1]

    def clear(self, first: int, count: int) -> int:
        """The reverse of ``seed``."""
        for start in range(first, first + count, A_TRANSACTION):
            numbers = range(start, min(start + A_TRANSACTION, first + count))
            self._store.txn([], [etcd.deleting(SimPeer(it).key) for it in numbers])
        return count


def main() -> int:
    """Until stdin ends."""
    writer = _Writer(sys.argv[1])
    verbs: dict[str, Callable[..., object]] = {
        "seed": writer.seed,
        "put": writer.put,
        "delete": writer.delete,
        "storm": writer.storm,
        "clear": writer.clear,
    }
    for line in sys.stdin:
        verb, *arguments = json.loads(line)
        print(json.dumps(verbs[verb](*arguments)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
