"""Nodes with pods that never stop pinging one another, and what must hold whatever happens to etcd.

with stage.undisturbed():
    member.kill()           # a fault
    stage.news()            # and what has to work in spite of it
# no ping was lost, no node wants to change its kernel, all are healthy, kernel = leases
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import IO

from e2e import leasebook
from e2e.etcdserver import CONFIG_KEY, NETWORK, SUBNETS
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import VENV_BIN, Node, wait_for
from e2e.pinger import INTERVAL_S, Pings, Window
from e2e.pods import Pod
from e2e.process import CommandFailed, conversation
from overlay.errors import OverlayError

PATIENCE_S = 75.0
"""A hung member is silent for 20 s before it is left, the longest pause of the retry policy is 30 s, and another
member that is hung, too, costs a deadline of 5 s."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A node that is only a record, as flannel writes it."""

    number: int
    version: int = 1

    @property
    def subnet(self) -> str:
        """For a number of 200 or more none that a node takes by chance (e2e.etcdserver.NETWORK)."""
        return f"10.5.{self.number}.0/24"

    @property
    def key(self) -> str:
        """In etcd."""
        return SUBNETS + self.subnet.replace("/", "-")

    @property
    def mac(self) -> str:
        """Of its VTEP."""
        return f"02:00:00:00:{self.version:02x}:{self.number:02x}"

    @property
    def value(self) -> str:
        """The record."""
        underlay = f"192.168.{50 + self.version}.{self.number}"
        data = f'{{"VNI":1,"VtepMAC":"{self.mac}"}}'
        return f'{{"PublicIP":"{underlay}","BackendType":"vxlan","BackendData":{data}}}'


class Stage:
    """``ctl`` is etcdctl at the etcd that the nodes use."""

    def __init__(
        self, lab: Lab, ctl: Callable[..., str], *, ping_every_s: float = INTERVAL_S
    ) -> None:
        self.lab, self.ctl = lab, ctl
        self.pings = Pings(lab, every_s=ping_every_s)
        self._news = 0

    def begin(self, *nodes: Node) -> None:
        """The network's config, the agents, a pod each, pings between all of them."""
        self.ctl("put", CONFIG_KEY, NETWORK)
        self.lab.start_nodes(*nodes)
        for node in nodes:
            self.lab.add_pod(node)
        self.pings.between(self.lab.pods)

    def join(self, node: Node, *, environ: Mapping[str, str] | None = None) -> Pod:
        """One node more, with a pod that pings all others. ``environ`` is the agent's."""
        node.start_agent(environ=environ)
        self.lab.record()
        node.wait_ready()
        return self.add_pod(node)

    def add_pod(self, node: Node) -> Pod:
        """One that pings those of all other nodes."""
        old, pod = list(self.lab.pods), self.lab.add_pod(node)
        self.pings.among(old, pod)
        return pod

    def remove_pod(self, pod: Pod) -> None:
        """With its pings."""
        self.pings.end(pod)
        self.lab.remove_pod(pod)

    def leave(self, node: Node) -> None:
        """A node goes for good, in good order; returns when the others have heard."""
        subnet = node.subnet
        self._end_pods(node)
        if (said := node.overlayctl("leave")).code != 0:
            raise CommandFailed(f"overlayctl leave on {node.name}: {said.err}")
        self.lab.remove_node(node)
        self.everywhere(lambda other: not other.routes_to(subnet), f"no way to {subnet}")

    @contextmanager
    def visiting(self, node: Node, *, environ: Mapping[str, str] | None = None) -> Iterator[Pod]:
        """A node with one pod that joins, and leaves at the end of the block, or vanishes if that failed."""
        try:
            yield self.join(node, environ=environ)
            self.leave(node)
        finally:
            if node.name in self.lab.nodes:
                self._end_pods(node)
                self.lab.remove_node(node)

    def _end_pods(self, node: Node) -> None:
        for pod in [pod for pod in self.lab.pods if pod.node == node.name]:
            self.remove_pod(pod)

    @contextmanager
    def undisturbed(self, *, without: Collection[str] = ()) -> Iterator[Window]:
        """No ping between nodes other than ``without`` is lost, until all nodes are at rest again."""
        with self.pings.window(without=without) as window:
            yield window
            self.rest()
        assert not window.gaps, f"pings lost: {window.gaps}"
        assert window.sent > 0

    def rest(self, *, timeout_s: float = PATIENCE_S) -> None:
        """Wait until every node is healthy, wants no change, and its kernel holds what etcd says."""
        for node in self.agents:
            wait_for(
                partial(_at_rest, node),
                f"{node.name} is healthy and its plan is empty",
                timeout_s=timeout_s,
                also=partial(_standing, node),
            )
        for node in self.agents:
            wait_for(
                lambda it=node: not self.differences(it),  # type: ignore[misc]
                "kernel = leases",
                timeout_s=timeout_s,
                also=lambda it=node: str(self.differences(it)),  # type: ignore[misc]
            )

    def differences(self, node: Node) -> list[str]:
        """Between a node's kernel and the records in etcd."""
        return leasebook.differences(node, leasebook.read(self.ctl))

    def news(self, *, timeout_s: float = PATIENCE_S, but: Node | None = None) -> None:
        """A peer that comes and goes in etcd does so in every node's kernel; ``but`` one that may not hear."""
        self._news += 1
        peer = Peer(number=255, version=self._news % 200)
        self.put(peer)
        self.everywhere(
            lambda node: node is but or knows(node, peer=peer),
            f"{peer.subnet} is known",
            timeout_s=timeout_s,
        )
        self.ctl("del", peer.key)
        self.everywhere(
            lambda node: node is but or not node.routes_to(peer.subnet), f"{peer.subnet} is gone"
        )

    def put(self, peer: Peer) -> None:
        """Write a peer's record."""
        self.ctl("put", peer.key, peer.value)

    def everywhere(
        self, true_of: Callable[[Node], bool], what: str, *, timeout_s: float = PATIENCE_S
    ) -> None:
        """Wait until it is true of every node that has an agent."""
        for node in self.agents:
            wait_for(
                lambda node=node: true_of(node),  # type: ignore[misc]
                f"{what} on {node.name}",
                timeout_s=timeout_s,
                also=partial(_standing, node),
            )

    @property
    def agents(self) -> list[Node]:
        """The nodes whose agent runs."""
        return [node for node in self.lab.nodes.values() if node.pid is not None]


def knows(node: Node, *, peer: Peer) -> bool:
    """Whether a node's kernel has the way to a peer as it is now."""
    return f"{peer.subnet.partition('/')[0]} lladdr {peer.mac}" in leasebook.kernel(node)[
        "neighbour"
    ] and bool(node.routes_to(peer.subnet))


def away(node: Node) -> bool:
    """Whether a node says that it does not hear from etcd."""
    status = node.tell("status")
    return bool(status["etcd"]["state"] != "connected" and status["verdict"] == "degraded")


def _at_rest(node: Node) -> bool:
    try:
        status = node.tell("status")
        # The same fault again and again within minutes is a fight (agent.drift), told of for two more: with us.
        others = [key for key in status["trouble"] if not key.startswith("fight over ")]
        well = status["verdict"] == "healthy" or (status["trouble"] and not others)
        return bool(well and not status["waiting_for"] and node.tell("plan")["steps"] == [])
    except OverlayError:
        return False


def _standing(node: Node) -> str:
    """For error messages."""
    try:
        status = node.tell("status")
        told = {key: status[key] for key in ("verdict", "etcd", "waiting_for", "trouble")}
        text = f"{told}, plan {node.tell('plan')['steps'][:5]}"
    except OverlayError as error:
        text = str(error)
    return f"({node.name}: {text}) {node.log_tail()}"


class NamespaceProxy:
    """e2e.proxy as a program in a namespace."""

    def __init__(self, namespace: Namespace, listen: str, target: str) -> None:
        words = namespace.inside([VENV_BIN / "python", "-m", "e2e.proxy", listen, target])
        self._child = conversation(words)
        self._line()

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._child.pid

    def do(self, command: str) -> None:
        """One line of e2e.proxy; returns once it is done."""
        pipe: IO[str] | None = self._child.stdin
        assert pipe is not None
        pipe.write(command + "\n")
        pipe.flush()
        self._line()

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait(10)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def _line(self) -> str:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise CommandFailed("the proxy ended")
        return line
