"""The faults of the soak: each hurts one thing for a while, and puts right what an operator would put right."""

import random
import time
from collections.abc import Callable
from pathlib import Path

from e2e.cluster import CLIENT_PORT, Cluster
from e2e.cut import cut_off
from e2e.etcdserver import CONFIG_KEY, NETWORK, EtcdServer
from e2e.lab import FABRIC_ADDRESS
from e2e.leasebook import DEVICE
from e2e.node import Node
from e2e.stage import NamespaceProxy, Peer, Stage

FEWEST_NODES, MORE_NODES, MORE_PODS = 3, 2, 6
"""How many there are at least, and how many more may come."""
NOBODY = "02:00:00:00:de:ad"
PROXY_PORT = 2999
PROXY = f"{FABRIC_ADDRESS}:{PROXY_PORT}"
SLOW_S = 1
"""Each way, so two seconds a call."""
LONGEST_S = 6.0


class Faults:
    """Every public method is a fault; it gets the node it is about."""

    def __init__(
        self, stage: Stage, cluster: Cluster, rng: random.Random, *, nodes: int = FEWEST_NODES
    ) -> None:
        self._stage, self._cluster, self._rng = stage, cluster, rng
        self._lab = stage.lab
        self._snapshot: Path = stage.lab.work / "snapshot"
        self._fewest, self._count = nodes, 0
        target = f"{cluster.members[1].address}:{CLIENT_PORT}"
        self._proxy = NamespaceProxy(self._lab.fabric, PROXY, target)
        self._lab.clients.append(self._proxy)
        self._lab.record()

    hurting = ("routes_deleted", "device_deleted", "device_down", "entries_bent")
    """The node of these is not healthy meanwhile: its pings may be lost."""

    def begin(self) -> None:
        """The nodes; the third has only one way to etcd, which can be slow."""
        numbers = range(1, self._fewest + 1)
        slow = {"etcd_endpoints": f"http://{PROXY}"}
        nodes = [self._lab.add_node(f"n{it}", **(slow if it == 3 else {})) for it in numbers]
        self._count = self._fewest
        self._stage.begin(*nodes)
        self._remember()

    def all(self) -> list[Callable[[Node], None]]:
        """What can be done now."""
        found: list[Callable[[Node], None]] = [
            *(self.agent_killed, self.agent_stopped, self.agent_hung),
            *(self.routes_deleted, self.device_deleted, self.device_down, self.entries_bent),
            self.tables_flushed,
            *(self.member_killed, self.member_hung, self.member_parted, self.leader_killed),
            *(self.cluster_restarted, self.snapshot_restored, self.data_wiped),
            *(self.cut_off_and_compacted, self.etcd_slow),
        ]
        nodes, pods = len(self._lab.nodes), len(self._lab.pods)
        found += [self.node_joins] if nodes < self._fewest + MORE_NODES else []
        found += [self.node_leaves] if nodes > self._fewest else []
        found += [self.pod_comes] if pods < self._fewest + MORE_PODS else []
        found += [self.pod_goes] if len(self._lab.pods) > len(self._lab.nodes) else []
        return found

    # --- agents, kernels, pods ----------------------------------------------------------------------

    def agent_killed(self, node: Node) -> None:
        """SIGKILL; then it is started again."""
        node.kill_agent()
        self._wait()
        self._start(node)

    def agent_stopped(self, node: Node) -> None:
        """SIGTERM; then it is started again."""
        node.stop_agent()
        self._wait()
        self._start(node)

    def agent_hung(self, node: Node) -> None:
        """SIGSTOP, SIGCONT."""
        with node.still():
            self._wait()

    def routes_deleted(self, node: Node) -> None:
        """All to the peers."""
        node.namespace.ip(f"route flush dev {DEVICE} proto 158")

    def device_deleted(self, node: Node) -> None:
        """With all that hangs on it."""
        node.namespace.ip(f"link del {DEVICE}")

    def device_down(self, node: Node) -> None:
        """Its routes go with it."""
        node.namespace.ip(f"link set {DEVICE} down")

    def entries_bent(self, node: Node) -> None:
        """Each peer's neighbour gets a MAC that nobody has, and its FDB entry goes."""
        neighbours = node.namespace.query("neigh", "show", "dev", DEVICE, "nud", "permanent")
        for row in neighbours:
            entry = ["fdb", "del", row["lladdr"], "dev", DEVICE]
            node.namespace.run(["bridge", *entry])
        node.namespace.ip(
            *(f"neigh replace {row['dst']} lladdr {NOBODY} dev {DEVICE}" for row in neighbours)
        )

    def tables_flushed(self, node: Node) -> None:
        """Pods talk to one another without them."""
        node.namespace.must("nft", "flush", "ruleset")

    def pod_comes(self, node: Node) -> None:
        """And pings all others from now on."""
        self._stage.add_pod(node)

    def pod_goes(self, _node: Node) -> None:
        """A second one of its node."""
        counts = [pod.node for pod in self._lab.pods]
        pod = self._rng.choice([pod for pod in self._lab.pods if counts.count(pod.node) > 1])
        self._stage.remove_pod(pod)

    def node_joins(self, _node: Node) -> None:
        """With a pod."""
        self._count += 1
        self._stage.join(self._lab.add_node(f"n{self._count}"))

    def node_leaves(self, _node: Node) -> None:
        """The youngest, in good order. No snapshot older than this is restored: it would bring the node back."""
        self._stage.leave(list(self._lab.nodes.values())[-1])
        self._remember()

    # --- etcd ---------------------------------------------------------------------------------------

    def member_killed(self, node: Node) -> None:
        """The one that the node uses."""
        member = self._used(node)
        member.kill()
        self._meanwhile()
        self._cluster.heal(member)

    def member_hung(self, node: Node) -> None:
        """The same one with SIGSTOP."""
        member = self._used(node)
        member.hang()
        self._meanwhile()
        self._cluster.heal(member)

    def member_parted(self, node: Node) -> None:
        """The same one, away from its peers."""
        member = self._used(node)
        self._cluster.part(member)
        self._meanwhile()
        self._cluster.heal(member)

    def leader_killed(self, _node: Node) -> None:
        """Whoever it is."""
        member = self._cluster.leader()
        member.kill()
        self._meanwhile()
        self._cluster.heal(member)

    def cluster_restarted(self, _node: Node) -> None:
        """A power cut."""
        self._cluster.stop()
        self._wait()
        self._cluster.start()

    def snapshot_restored(self, _node: Node) -> None:
        """From the last good one; then there is a new one."""
        self._cluster.restore(self._snapshot)
        self._stage.rest()
        self._remember()

    def data_wiped(self, _node: Node) -> None:
        """All of it; the operator writes the config again."""
        self._cluster.wipe()
        self._wait()
        self._stage.ctl("put", CONFIG_KEY, NETWORK)
        self._stage.rest()
        self._remember()

    def cut_off_and_compacted(self, node: Node) -> None:
        """What happens meanwhile is not in any history."""
        peer = Peer(254)
        self._stage.put(peer)
        with cut_off(node.namespace, CLIENT_PORT, PROXY_PORT):
            self._stage.ctl("del", peer.key)
            self._stage.ctl("compact", str(self._cluster.revision()))

    def etcd_slow(self, _node: Node) -> None:
        """For the node behind the proxy."""
        self._proxy.do(f"delay {SLOW_S}")
        self._stage.news()
        self._proxy.do("heal")

    # --- inside -------------------------------------------------------------------------------------

    def _used(self, node: Node) -> EtcdServer:
        behind_proxy = node.name == "n3"
        return self._cluster.members[1] if behind_proxy else self._cluster.serving(node)

    def _start(self, node: Node) -> None:
        node.start_agent()
        self._lab.record()
        node.wait_ready(timeout_s=60)

    def _meanwhile(self) -> None:
        """What has to work while one member is away; now and then nothing at all happens."""
        if self._rng.random() < 0.7:
            self._stage.news(but=self._lab.nodes["n3"])
        self._wait()

    def _wait(self) -> None:
        time.sleep(self._rng.uniform(0.1, LONGEST_S))

    def _remember(self) -> None:
        self._cluster.save(self._snapshot)
