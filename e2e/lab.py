"""A small cluster in network namespaces: an underlay bridge, a private etcd, nodes, pods.

    with Lab() as lab:
        lab.etcd.start()
        node = lab.add_node("n1")

The fabric namespace holds the bridge 192.168.50.254/24 and etcd; node i is 192.168.50.i on its eth0. With
``families`` it is fd50::fe/64 and fd50::i, as well or alone. No cable leads out, so no packet leaves.
Everything a lab makes bears its random id, stands in lab.json from the moment it is made, and is taken
down by `close`, by the end of the with block, or, after a crash, by e2e.down.
"""

import json
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path
from types import TracebackType
from typing import Protocol

from e2e import leftovers, netns
from e2e.etcdserver import EtcdServer
from e2e.netns import Namespace, cable
from e2e.node import Node, wait_for
from e2e.pods import CniFailed, Pod
from e2e.process import Daemon, kill, start_time
from overlay.family import Family

FABRIC_ADDRESS = "192.168.50.254"
FABRIC = {Family.V4: ip_interface(f"{FABRIC_ADDRESS}/24"), Family.V6: ip_interface("fd50::fe/64")}
"""The fabric's address on the underlay of each family; a node's is the network's and its number."""
FABRIC_MAC = "02:00:00:00:fa:b0"
"""A bridge without one takes its lowest port's: each new node could cut the others off from etcd for a while."""
UNDERLAY_MTU = 1500
_NODAD = {Family.V4: "", Family.V6: " nodad"}
"""Nobody else can have these addresses, and a lab need not wait for it."""
BRIDGE = "overlay0"
WORK_GLOB = "overlay-lab-*"
MEMORY = Path("/dev/shm")
"""A tmpfs, as a real node's /run is: where a lab lives that measures time."""


class Client(Protocol):
    """Something with a process of its own: a container runtime of a node, a member of an etcd cluster, a ping."""

    @property
    def pid(self) -> int | None:
        """While it runs."""

    def close(self) -> None:
        """End it and all that is its own, as well as it goes."""


class Lab:
    """See the module. ``keep`` leaves it standing when the with block ends well; ``root`` holds its files.

    ``families`` are the underlay's; etcd and the nodes are known by their address of the first one.
    """

    def __init__(
        self,
        *,
        keep: bool = False,
        root: Path | None = None,
        families: Sequence[Family] = (Family.V4,),
    ) -> None:
        self.id = secrets.token_hex(3)
        self.keep = keep
        self.work = (root or Path(tempfile.gettempdir())) / f"overlay-lab-{self.id}"
        self.work.mkdir(mode=0o755)
        self.nodes: dict[str, Node] = {}
        self.pods: list[Pod] = []
        self.clients: list[Client] = []
        self.cgroup = leftovers.cgroup_of(self.work)
        self._daemons: list[Daemon] = []
        self._namespaces: list[str] = []
        self._pod_count = self._machine_count = 0
        self.fabric = Namespace(f"ovl-{self.id}-fabric")
        self._namespaces.append(self.fabric.name)
        self.families = tuple(families)
        first = FABRIC[self.families[0]].ip
        self.etcd = EtcdServer(
            self.fabric, str(first) if first.version == 4 else f"[{first}]", self.work
        )
        self.endpoints = self.etcd.url
        self.record()

    def __enter__(self) -> "Lab":
        try:
            self.fabric.create()
            self.fabric.ip(
                f"link add underlay0 address {FABRIC_MAC} mtu {UNDERLAY_MTU} type bridge forward_delay 0",
                *(
                    f"addr add {FABRIC[family]} dev underlay0{_NODAD[family]}"
                    for family in self.families
                ),
                "link set underlay0 up",
            )
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.keep and error is None:
            self.record(owned=False)
        else:
            self.close()

    # --- nodes ------------------------------------------------------------------------------------

    def add_node(self, name: str, **settings: object) -> Node:
        """A machine on the underlay; its agent is not started. ``settings`` are further keys of agent.toml."""
        address, namespace = self.add_machine(name)
        node = Node(
            name,
            namespace,
            address=address,
            work=self.work / name,
            settings={"etcd_endpoints": self.endpoints, **settings},
        )
        self.nodes[name] = node
        return node

    def add_machine(self, name: str, *, number: int = 0) -> tuple[str, Namespace]:
        """A machine on the underlay with nothing on it: its address, its namespace. ``number``: not the next one."""
        if not number:
            self._machine_count += 1
            number = self._machine_count
        namespace = self._namespace(name)
        namespace.create()
        cable(self.fabric, f"port{number}", namespace, "eth0")
        self.fabric.ip(f"link set port{number} master underlay0")
        for family in self.families:
            fabric = FABRIC[family]
            namespace.ip(
                f"addr add {underlay(family, number)}/{fabric.network.prefixlen} dev eth0{_NODAD[family]}",
                f"route add default via {fabric.ip}",
            )
        return underlay(self.families[0], number), namespace

    def remove_node(self, node: Node) -> None:
        """The machine is gone from one moment to the next, its pods with it; its name is not used again."""
        for pod in [pod for pod in self.pods if pod.node == node.name]:
            netns.remove(pod.namespace.name)
            self._namespaces.remove(pod.namespace.name)
            self.pods.remove(pod)
        node.kill_agent()
        netns.remove(node.namespace.name)
        self._namespaces.remove(node.namespace.name)
        del self.nodes[node.name]

    def start_nodes(self, *nodes: Node) -> None:
        """Start the agents together and wait for all, and until each has heard of the others."""
        for node in nodes:
            node.start_agent()
            self.record()
        for node in nodes:
            node.wait_ready(peers=len(nodes) - 1)

    # --- pods -------------------------------------------------------------------------------------

    def bare_pod(self, node: Node) -> Pod:
        """A pod's namespace as a runtime makes it, not attached to anything."""
        self._pod_count += 1
        name = f"pod{self._pod_count}"
        pod = Pod(name=name, node=node.name, namespace=self._namespace(name))
        pod.namespace.create()
        self.pods.append(pod)
        return pod

    def add_pod(self, node: Node, **config: object) -> Pod:
        """A pod, attached; ``config`` are further keys of the plugin's configuration."""
        pod = self.bare_pod(node)
        node.runtime.add(pod, **config)
        return pod

    def remove_pod(self, pod: Pod) -> None:
        """DEL, then the namespace."""
        self.nodes[pod.node].runtime.delete(pod)
        netns.remove(pod.namespace.name)
        self._namespaces.remove(pod.namespace.name)
        self.pods.remove(pod)

    def first_pod(self, node: Node) -> None:
        """A pod comes and goes. A bridge's very first port changes the bridge itself, once: offload limits, and a
        multicast route, which the kernel makes some time after it, when the bridge has a carrier."""
        pod = self.add_pod(node)
        show = ["ip", "-6", "route", "show", "table", "local", "dev", BRIDGE]
        wait_for(
            lambda: "ff00::/8" in node.namespace.must(*show), f"{BRIDGE}'s route", timeout_s=20
        )
        self.remove_pod(pod)
        wait_for(lambda: bare(node), f"{BRIDGE} has no carrier", timeout_s=20)

    def drain(self, node: Node) -> int:
        """Remove all pods of a node; returns how many."""
        leaving = [pod for pod in self.pods if pod.node == node.name]
        for pod in leaving:
            self.remove_pod(pod)
        return len(leaving)

    def add_space(self, name: str) -> Namespace:
        """A network namespace that is neither node nor pod, taken down with the lab."""
        namespace = self._namespace(name)
        namespace.create()
        return namespace

    def track(self, daemon: Daemon) -> None:
        """Take this process down with the lab."""
        self._daemons.append(daemon)
        self.record()

    # --- the end ----------------------------------------------------------------------------------

    def record(self, *, owned: bool = True) -> None:
        """Write down what there is, so that it can be taken down without us."""
        pids = [self.etcd.pid, *(client.pid for client in self.clients)]
        pids += [daemon.pid for daemon in self._daemons if daemon.alive]
        pids += [node.pid for node in self.nodes.values()]
        owner = [os.getpid(), start_time(os.getpid())] if owned else [0, ""]
        page = {
            "owner": owner,
            "namespaces": self._namespaces,
            "processes": [[pid, start_time(pid)] for pid in pids if pid],
        }
        temporary = self.work / "lab.json.tmp"
        temporary.write_text(json.dumps(page))
        temporary.replace(self.work / "lab.json")

    def close(self) -> None:
        """Take all of it down; can be called at any moment, and again."""
        self.record()
        with ExitStack() as stack:  # one that resists keeps none of the others alive
            stack.callback(take_down, self.work)
            stack.callback(self.etcd.kill)
            for node in self.nodes.values():
                stack.callback(node.kill_agent)
            for daemon in self._daemons:
                stack.callback(daemon.end, signal.SIGKILL)
            for client in reversed(self.clients):
                stack.callback(client.close)

    def _namespace(self, name: str) -> Namespace:
        full = f"ovl-{self.id}-{name}"
        if full not in self._namespaces:
            self._namespaces.append(full)
        self.record()
        return Namespace(full)


def bare(node: Node) -> bool:
    """Whether the kernel has seen that the bridge has no port any more, which takes it up to a second."""
    return "NO-CARRIER" in node.namespace.query("link", "show", BRIDGE)[0]["flags"]


def underlay(family: Family, number: int) -> str:
    """A node's address."""
    return str(FABRIC[family].network.network_address + number)


def take_down(work: Path) -> None:
    """What lab.json names and what its runtimes left: processes, mounts, namespaces, the directory."""
    page = json.loads((work / "lab.json").read_text()) if (work / "lab.json").exists() else {}
    for pid, started in page.get("processes", []):
        if started and start_time(pid) == started:
            kill(pid)
    leftovers.clear(work)
    for name in reversed(page.get("namespaces", [])):
        netns.remove(name)
    shutil.rmtree(work, ignore_errors=True)


__all__ = ["CniFailed", "Lab", "take_down"]
