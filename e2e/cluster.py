"""An etcd cluster of a lab: each member has a namespace and an address of its own on the fabric.

    cluster = Cluster(lab)      # before the first node: nodes are told its endpoints
    cluster.start()

A client never falls onto one member: all it gets is the list of endpoints, which it has to sort out itself.
"""

import json
from pathlib import Path

from e2e.cut import cut, mend
from e2e.etcdserver import EtcdServer
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import CommandFailed

CLIENT_PORT, PEER_PORT = 2379, 2380
_FIRST = 201


class Cluster:
    """``size`` members m1, m2, ...; the lab takes them down with everything else."""

    def __init__(self, lab: Lab, *, size: int = 3) -> None:
        names = [f"m{number}" for number in range(1, size + 1)]
        made = [lab.add_machine(it, number=_FIRST + place) for place, it in enumerate(names)]
        at = {name: address for name, (address, _) in zip(names, made, strict=True)}
        self.lab = lab
        self.members = [
            EtcdServer(namespace, address, lab.work, name=name, peers=at)
            for name, (address, namespace) in zip(names, made, strict=True)
        ]
        lab.clients.extend(self.members)
        lab.endpoints = ",".join(member.url for member in self.members)

    # --- all of it ----------------------------------------------------------------------------------

    def start(self) -> None:
        """All members that do not run, with the data they have; returns once all serve."""
        for member in self.members:
            if member.pid is None:
                member.launch()
        self.lab.record()
        for member in self.members:
            member.wait_serving()

    def stop(self) -> None:
        """All together, as by a power cut; the data stays."""
        for member in self.members:
            member.kill()

    def restore(self, path: Path) -> None:
        """As an operator does it: every member from one snapshot. Returns once all serve."""
        self.stop()
        for member in self.members:
            member.restore(path)
        self.start()

    def wipe(self) -> None:
        """Come back empty, and as another cluster than before. Returns once all serve."""
        self.stop()
        for member in self.members:
            member.wipe()
            member.token += "x"
        self.start()

    # --- one of it ----------------------------------------------------------------------------------

    def ctl(self, *arguments: str) -> str:
        """etcdctl at a member that serves."""
        for member in self.members:
            if member.pid is None or member.ailing:
                continue
            if (said := member.ask(*arguments)).code == 0:
                return said.out
        raise CommandFailed(f"etcdctl {' '.join(arguments)}: no member of the cluster did it")

    def revision(self) -> int:
        """The newest there is."""
        return self._fit().revision()

    def save(self, path: Path) -> None:
        """A snapshot of all data."""
        self._fit().save(path)

    def _fit(self) -> EtcdServer:
        return next(it for it in self.members if it.pid is not None and not it.ailing)

    def leader(self) -> EtcdServer:
        """The member that leads, by its own word."""
        found: list[EtcdServer] = []

        def elected() -> bool:
            found[:] = [member for member in self.members if _leads(member)]
            return len(found) == 1

        wait_for(elected, "etcd has a leader", timeout_s=30)
        return found[0]

    def serving(self, node: Node) -> EtcdServer:
        """The member a node's agent is connected to (with several, any of them)."""
        found: list[EtcdServer] = []

        def connected() -> bool:
            words = ["ss", "-Htn", "state", "established", "dport", "=", f":{CLIENT_PORT}"]
            text = node.namespace.run(words).out
            found[:] = [member for member in self.members if member.address in text]
            return bool(found)

        wait_for(connected, f"{node.name} is connected to etcd", timeout_s=75)
        return found[0]

    def part(self, member: EtcdServer) -> None:
        """Away from its peers; its clients still reach it."""
        cut(member.namespace, PEER_PORT, silent=True)
        member.ailing = True

    def heal(self, member: EtcdServer) -> None:
        """Whatever was done to it: it runs, is connected, and serves."""
        mend(member.namespace)
        member.ailing = False
        if member.pid is None:
            member.launch()
            self.lab.record()
        else:
            member.resume()
        member.wait_serving()


def _leads(member: EtcdServer) -> bool:
    if member.pid is None or member.ailing:
        return False
    said = member.ask("endpoint", "status", "--write-out", "json", "--command-timeout", "1s")
    if said.code != 0:
        return False
    status = json.loads(said.out)[0]["Status"]
    return bool(
        status.get("leader") == status["header"]["member_id"]
    )  # an election: it is left out
