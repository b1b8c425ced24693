"""`make soak`: agents killed, stopped and started, routes deleted, nodes joining and leaving, etcd gone.

Bounded by --seconds. After each fault: every pod reaches every other, no subnet twice, `overlayctl plan` is
empty on every node with an agent. Ends with one RESULT line; exit code 1 if anything was lost.
"""

import argparse
import random
import sys
import time
from functools import partial

from e2e.etcdserver import PREFIX
from e2e.lab import Lab
from e2e.node import Node, wait_for
from overlay.netconfig import EXAMPLE

SETTLE_S = 30


class Soak:
    """One run; counts what it did."""

    def __init__(self, lab: Lab, rng: random.Random) -> None:
        self.lab, self.rng = lab, rng
        self.faults = self.pings = self.lost = self.double = 0

    def begin(self) -> None:
        """Three nodes with a pod each."""
        self.lab.etcd.start()
        self.lab.etcd.ctl("put", f"{PREFIX}/config", EXAMPLE)
        self.lab.start_nodes(*(self.lab.add_node(f"n{number}") for number in (1, 2, 3)))
        for node in self.lab.nodes.values():
            self.lab.add_pod(node)

    def fault(self) -> str:
        """One at random, with pings while it lasts."""
        act = self.rng.choice(
            [self.kill, self.restart, self.unroute, self.unlink, self.etcd_away, self.pod]
        )
        node = self.rng.choice(list(self.lab.nodes.values()))
        self.faults += 1
        act(node)
        return f"{act.__name__} {node.name}"

    def kill(self, node: Node) -> None:
        """SIGKILL, traffic, start."""
        node.kill_agent()
        self.talk()
        node.start_agent()
        self.lab.record()
        node.wait_ready(timeout_s=SETTLE_S)

    def restart(self, node: Node) -> None:
        """SIGTERM, traffic, start."""
        node.stop_agent()
        self.talk()
        node.start_agent()
        self.lab.record()
        node.wait_ready(timeout_s=SETTLE_S)

    def unroute(self, node: Node) -> None:
        """Somebody deletes our routes; traffic has to come back."""
        for other in self.lab.nodes.values():
            if other is not node:
                node.namespace.ip(f"route del {other.subnet}")
        self.healed()

    def unlink(self, node: Node) -> None:
        """Somebody deletes the VXLAN device; traffic has to come back."""
        node.namespace.ip("link del overlay.1")
        self.healed()

    def etcd_away(self, _node: Node) -> None:
        """A second without etcd."""
        self.lab.etcd.stop()
        self.talk()
        self.lab.etcd.start()
        self.lab.record()

    def pod(self, node: Node) -> None:
        """One more pod, and away again."""
        pod = self.lab.add_pod(node)
        self.talk()
        self.lab.remove_pod(pod)

    def healed(self) -> None:
        """Wait until every pod reaches every other."""
        wait_for(lambda: self._count() == 0, "traffic is back", timeout_s=SETTLE_S)

    def talk(self) -> None:
        """Every pod to every other; what is lost counts."""
        self.lost += self._count()

    def _count(self) -> int:
        lost = 0
        for here in self.lab.pods:
            for there in self.lab.pods:
                if here is not there:
                    answer = here.ping(there.address)
                    self.pings += answer.sent
                    lost += answer.sent - answer.received
        return lost

    def check(self) -> None:
        """What must hold after every fault."""
        self.talk()
        subnets = [row["subnet"] for row in next(iter(self.lab.nodes.values())).ask("leases")]
        self.double += len(subnets) - len(set(subnets))
        for node in self.lab.nodes.values():
            wait_for(partial(_rests, node), "plan empty", timeout_s=SETTLE_S)


def _rests(node: Node) -> bool:
    return bool(node.ask("plan")["steps"] == [])


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make soak")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    flags = parser.parse_args()
    print(f"seed {flags.seed}")
    begun = time.monotonic()
    with Lab() as lab:
        soak = Soak(lab, random.Random(flags.seed))
        soak.begin()
        while time.monotonic() - begun < flags.seconds:
            print(f"{time.monotonic() - begun:6.1f} s  {soak.fault()}", flush=True)
            soak.check()
    print(
        f"RESULT soak minutes={(time.monotonic() - begun) / 60:.1f} faults={soak.faults} "
        f"pings={soak.pings} lost={soak.lost} double_leases={soak.double}"
    )
    return 1 if soak.lost or soak.double else 0


if __name__ == "__main__":
    sys.exit(main())
