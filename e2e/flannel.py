"""flannel beside us in a lab: its records, a peer made by hand, and flanneld, the program itself.

`e2e.flannelreplay` stands in where the program is not given.
"""

import base64
import json
import secrets
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Protocol

from e2e.etcdserver import PREFIX, EtcdServer
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.process import CommandFailed, Daemon

NETWORK = "10.5.0.0/16"
PORT, VNI, MTU = 8472, 1, 1450
TTL_S = 86400
"""subnetTTL of pkg/subnet/etcd/local_manager.go."""


def record(address: str, mac: str) -> str:
    """A lease's value byte for byte as flanneld v0.28 wrote it."""
    data = f'{{"VNI":{VNI},"VtepMAC":"{mac}"}}'
    return (
        f'{{"PublicIP":"{address}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{data}}}'
    )


def key_of(subnet: str) -> str:
    """Of a lease."""
    return f"{PREFIX}/subnets/{subnet.replace('/', '-')}"


def value_of(etcd: EtcdServer, subnet: str) -> str:
    """A record, byte for byte."""
    return etcd.ctl("get", "--print-value-only", key_of(subnet)).removesuffix("\n")


def revision_of(etcd: EtcdServer, subnet: str) -> int:
    """At which a record was written last."""
    answer = json.loads(etcd.ctl("get", key_of(subnet), "-w", "json"))
    return int(answer["kvs"][0]["mod_revision"])


def put(etcd: EtcdServer, subnet: str, value: str, *, ttl_s: int = TTL_S) -> None:
    """As flanneld does at each renewal: another etcd lease, and an unconditional put."""
    lease = etcd.ctl("lease", "grant", str(ttl_s)).split()[1]
    etcd.ctl("put", f"--lease={lease}", key_of(subnet), value)


def leases(etcd: EtcdServer) -> dict[str, dict[str, Any]]:
    """Subnet → record, in the order of the keys."""
    answer = json.loads(etcd.ctl("get", "--prefix", f"{PREFIX}/subnets/", "-w", "json"))
    found = {}
    for pair in answer.get("kvs", []):
        key, value = (_text(pair[name]) for name in ("key", "value"))
        found[key.rpartition("/")[2].replace("-", "/")] = json.loads(value)
    return found


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def program(node: Namespace, subnet: str, mac: str, address: str, *, device: str) -> None:
    """The three entries that flanneld makes for a peer."""
    via = subnet.partition("/")[0]
    node.must("ip", *f"neigh replace {via} lladdr {mac} dev {device} nud permanent".split())
    node.must("bridge", *f"fdb replace {mac} dst {address} dev {device} self permanent".split())
    node.must("ip", *f"route replace {subnet} via {via} dev {device} onlink".split())


# --- a peer made by hand ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class HandMade:
    """A flannel node that nothing looks after: device, bridge and record, made once."""

    namespace: Namespace
    address: str
    subnet: str
    mac: str

    @property
    def value(self) -> str:
        """Its record."""
        return record(self.address, self.mac)

    @classmethod
    def make(cls, lab: Lab, name: str, subnet: str) -> "HandMade":
        """On the underlay; its record is still to be put."""
        address, namespace = lab.add_machine(name)
        mac = "c6:d2:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(4))
        network = ip_network(subnet)
        namespace.ip(
            f"link add flannel.{VNI} address {mac} mtu {MTU} type vxlan id {VNI} dev eth0 local {address} "
            f"dstport {PORT} nolearning",
            f"addr add {network.network_address}/32 dev flannel.{VNI}",
            f"link set flannel.{VNI} up",
            f"link add cni0 mtu {MTU} type bridge",
            f"addr add {network.network_address + 1}/{network.prefixlen} dev cni0",
            "link set cni0 up",
        )
        namespace.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
        return cls(namespace, address, subnet, mac)

    def knows(self, etcd: EtcdServer) -> None:
        """Read the records once and program the others, as flanneld does for each event."""
        for subnet, found in leases(etcd).items():
            if found["PublicIP"] != self.address:
                mac = found["BackendData"]["VtepMAC"]
                program(self.namespace, subnet, mac, found["PublicIP"], device=f"flannel.{VNI}")

    def pod(self, lab: Lab, name: str) -> Pod:
        """In its bridge, with the tenth address of its subnet."""
        space, network = lab.add_space(name), ip_network(self.subnet)
        address = network.network_address + 10
        self.namespace.ip(
            f"link add v{name} mtu {MTU} master cni0 type veth peer name eth0 mtu {MTU} netns {space.name}",
            f"link set v{name} up",
        )
        space.ip(
            f"addr add {address}/{network.prefixlen} dev eth0",
            "link set eth0 up",
            f"route add default via {network.network_address + 1}",
        )
        pod = Pod(name=name, node="", namespace=space)
        pod.take({"ips": [{"address": f"{address}/{network.prefixlen}"}]})
        return pod


# --- flanneld ----------------------------------------------------------------------------------------------


class Flanneld(Protocol):
    """flanneld on a node of the lab."""

    env: Path

    def start(self) -> None:
        """Until subnet.env is written; CommandFailed if it ends before."""

    def learn(self, subnet: str) -> None:
        """Until the peer with that subnet is programmed."""

    def stop(self) -> None:
        """SIGTERM: everything stays as it is."""


class Real:
    """The program, in the node's network namespace."""

    def __init__(self, lab: Lab, node: Node, path: Path) -> None:
        self.env = node.work / "flannel-subnet.env"
        self._lab, self._node, self._path = lab, node, path
        self._daemon: Daemon | None = None

    def start(self) -> None:
        """With --ip-masq, as the packages have it."""
        self.env.unlink(missing_ok=True)
        words: list[str | Path] = [
            *(self._path, "-iface=eth0", "-ip-masq", f"-subnet-file={self.env}"),
            f"-etcd-endpoints={self._lab.etcd.url}",
        ]
        log = self._node.work / "flanneld.log"
        self._daemon = Daemon("flanneld", self._node.namespace.inside(words), log)
        self._lab.track(self._daemon)

        def ready() -> bool:
            if self._daemon is not None and not self._daemon.alive:
                raise CommandFailed(f"flanneld ended: {log.read_text()[-800:]}")
            return self.env.exists()

        wait_for(ready, "subnet.env of flanneld", timeout_s=30)

    def learn(self, subnet: str) -> None:
        """Its watch brings it."""
        wait_for(lambda: bool(self._node.routes_to(subnet)), f"a route to {subnet}", timeout_s=30)

    def stop(self) -> None:
        """And wait for its end."""
        if self._daemon is not None:
            self._daemon.end()
            self._daemon = None
