"""`make demo RUNTIME=containerd`: the same story, but each pod is a real one, run by a containerd on its node.

containerd is asked by CRI, as kubelet asks it; it execs our plugin, then Debian's portmap. In each pod a
container serves HTTP.
"""

import sys
from itertools import count

from rich.table import Table

from e2e import containerd, debianplugins, images
from e2e.containerd import Containerd
from e2e.demo import SETTLE_S, Demo, expect, main
from e2e.images import Images
from e2e.lab import Lab
from e2e.node import Node
from e2e.servingpod import ServingPod, fetch_from

HOST_PORT = 8080


class ContainerdDemo(Demo):
    """One run with a containerd per node."""

    pods_are = "containers that serve HTTP, run by containerd"

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self._runtimes: dict[str, Containerd] = {}
        self._built: list[Images] = []
        self._names = (f"pod{number}" for number in count(1))

    # --- what a pod is -----------------------------------------------------------------------------

    def add_node(self, name: str) -> Node:
        """With a containerd, which waits for the agent's conflist."""
        if not self._built:
            self.step("images: a static pause, and busybox", self._build)
        node = super().add_node(name)
        debianplugins.link(node.runtime.bin_dir, "loopback", "portmap")
        self._runtimes[name] = containerd.on_node(self.lab, node, self._built[0])
        return node

    def add_pod(self, node: Node) -> ServingPod:
        """RunPodSandbox and a container; the first of a node has a host port as well."""
        runtime = self._runtimes[node.name]
        runtime.wait_network(timeout_s=SETTLE_S)
        first = not self._on(node)
        pod = runtime.run_pod(next(self._names), host_ports={HOST_PORT: 80} if first else {})
        self.lab.pods.append(pod)
        return pod

    def drain(self, node: Node) -> None:
        """Stop and remove through CRI."""
        for pod in self._on(node):
            pod.remove()
            self.lab.pods.remove(pod)

    def talk_more(self) -> None:
        """Pages, host ports, and a containerd that dies."""
        self.step("every container fetches every other's page", self._pages)
        self.step(f"port {HOST_PORT} of every node leads to its first pod", self._host_ports)
        self.step("a containerd is killed: its pods serve on", lambda: self._kill_runtime("n1"))

    def hints(self) -> list[str]:
        """containerd's own client, and a fetch."""
        node, runtime = next(iter(self.lab.nodes.values())), next(iter(self._runtimes.values()))
        fetch = f"nsenter --net={node.namespace.path} curl http://{self.lab.pods[-1].address}/"
        return [f"ctr -a {runtime.socket} -n k8s.io tasks list", fetch]

    # --- the steps ----------------------------------------------------------------------------------

    def _build(self) -> str:
        self._built.append(images.build(self.lab.work / "images"))
        return "built here, no registry asked"

    def _pages(self) -> str:
        pods = self._all()
        table = Table(box=None, title="what each container was told", title_justify="left")
        for column in ("from", *(f"http://{pod.address}" for pod in pods)):
            table.add_column(column)
        for pod in pods:
            told = [pod.fetch(other.address) for other in pods]
            expect(told == [other.name for other in pods], "each page says its pod", str(told))
            table.add_row(pod.name, *told)
        self.print(table)
        return f"{len(pods) ** 2} pages"

    def _host_ports(self) -> str:
        nodes, asked = list(self.lab.nodes.values()), 0
        for node in nodes:
            first = self._on(node)[0]
            told = {
                f"node {o.name}": fetch_from(o.namespace, node.address, HOST_PORT) for o in nodes
            }
            told[f"{first.name} itself"] = first.fetch(node.address, HOST_PORT)
            expect({*told.values()} == {first.name}, f"{first.name} answers all", str(told))
            asked += len(told)
        return f"{asked} pages: from every node, and from each of these pods to itself"

    def _kill_runtime(self, name: str) -> str:
        runtime, node = self._runtimes[name], self.lab.nodes[name]
        other = next(pod for pod in self._all() if pod.node != name)
        runtime.kill()
        for pod in self._on(node):
            expect(other.fetch(pod.address) == pod.name, f"{pod.name} serves", "nothing")
        runtime.start(self._built[0])
        self.lab.record()
        for pod in self._on(node):
            address = runtime.address(pod.container)
            expect(address == pod.address, f"{pod.name} at {pod.address}", str(address))
        return f"{len(self._on(node))} pods of {name} served on, and kept their addresses"

    def _all(self) -> list[ServingPod]:
        return [pod for pod in self.lab.pods if isinstance(pod, ServingPod)]

    def _on(self, node: Node) -> list[ServingPod]:
        return [pod for pod in self._all() if pod.node == node.name]


if __name__ == "__main__":
    sys.exit(main(ContainerdDemo))
