"""What is broken on purpose between two pods: planted, found by `overlayctl why`, mended by the command it names."""

import json
from dataclasses import dataclass, field
from typing import Any

from e2e.console import Operator
from e2e.lab import Lab
from e2e.node import Node
from e2e.pods import Pod
from e2e.process import CommandFailed

MOST_MENDS = 4
RESTART = "systemctl restart overlay-agent"


@dataclass(slots=True)
class Stage:
    """Two nodes; pods ``a`` and ``beside`` are on the first, ``b`` is on the second."""

    lab: Lab
    nodes: dict[str, Node]
    pods: dict[str, Pod]
    words: dict[str, str] = field(default_factory=dict)
    operators: dict[str, Operator] = field(default_factory=dict)

    def run(self, node: str, script: str) -> None:
        """As an operator there would; what systemd does on a real node is done by hand."""
        for part in script.split(";") if RESTART in script else [script]:
            if part.strip() == RESTART:
                self.restart(node)
            else:
                self.nodes[node].namespace.must("sh", "-ec", part)

    def restart(self, node: str) -> None:
        """The agent, to a node in sync."""
        self.nodes[node].kill_agent()
        self.nodes[node].start_agent()
        self.lab.record()
        self.nodes[node].wait_ready(peers=1)

    def operator(self, node: str) -> Operator:
        """Made when first asked for; taken down with the lab."""
        if node not in self.operators:
            self.operators[node] = Operator(self.nodes[node].namespace)
            self.lab.clients.append(self.operators[node])
            self.lab.record()
        return self.operators[node]

    def reaches(self, one: str, other: str) -> bool:
        """A ping that does not wait long."""
        words = ["ping", "-n", "-c", "1", "-W", "0.3", self.words[other]]
        return self.pods[one.removesuffix("6")].namespace.run(words).code == 0

    def why(self, node: str, *arguments: str) -> dict[str, Any]:
        """Asked on a node; the exit code agrees with the answer."""
        config = str(self.nodes[node].config_file)
        said = self.operator(node).says("why", "--config", config, *arguments, "--output", "json")
        try:
            told: dict[str, Any] = json.loads(said.out)
        except json.JSONDecodeError:
            raise CommandFailed(f"overlayctl why: {said.out}{said.err}") from None
        assert said.code == (0 if told["ok"] else 1), said
        return told


@dataclass(frozen=True, slots=True)
class Broken:
    """``hop`` on ``where`` (or ``node``) is to be found after ``plant`` on ``node``; ``after`` tidies up.

    ``by_ping``: that it is mended is seen by a ping that comes back, which costs less than asking again.
    """

    node: str
    plant: str
    hop: str
    where: str = ""
    path: tuple[str, str] = ("a", "b")
    arguments: tuple[str, ...] = ("--no-test",)
    asker: str = ""
    after: str = ""
    by_ping: bool = True


def firewall(hook: str, rule: str, policy: str = "accept", *, table: str = "inet") -> str:
    """Somebody's table of one chain; with words in braces for `str.format`."""
    chain = f"type filter hook {hook} priority 0; policy {policy};\n {rule}\n"
    return f"nft 'table {table} fw {{{{ chain c {{{{ {chain} }}}}\n }}}}'"


NO_FIREWALL = "nft delete table inet fw"


def shown(stage: Stage, broken: Broken, *, left: str = "") -> None:
    """Planted, found, mended by the commands that are named; ``left`` is a hop that stays as it is."""
    asked = [f"{stage.words[pod]}" for pod in broken.path]
    stage.run(broken.node, broken.plant.format(**stage.words))
    told = stage.why(broken.asker or broken.node, *asked, *broken.arguments)
    first = told["first"]
    assert first is not None, told
    found = (first["where"], first["name"])
    assert found == (broken.where or broken.node, broken.hop), first
    for _ in range(MOST_MENDS):
        stage.run(first["at"] or first["where"], first["mend"])
        if not broken.by_ping or not stage.reaches(*broken.path):
            told = stage.why(broken.asker or broken.node, *asked, *broken.arguments)
            first = told["first"]
            assert first is None or first["name"] != broken.hop, first
        if (
            first is None
            or first["name"] == left
            or (broken.by_ping and stage.reaches(*broken.path))
        ):
            break
    else:
        raise AssertionError(told)
    if broken.after:
        stage.run(broken.node, broken.after.format(**stage.words))


FOREIGN = {
    "pod's address removed": Broken(
        "n1", "{in_a} ip addr del {a}/24 dev eth0", "address in the pod"
    ),
    "pod's netmask wrong": Broken(
        "n1",
        "{in_a} ip addr add {a}/16 dev eth0; {in_a} ip addr del {a}/24 dev eth0",
        "address in the pod",
    ),
    "pod's link down": Broken(
        "n1",
        "{in_a} ip link set eth0 down",
        "address in the pod",
        after="{in_a} ip addr add {a6}/64 dev eth0 nodad; {in_a} ip -6 route add default via {gw_a6}",
    ),
    "pod's default route removed": Broken("n1", "{in_a} ip route del default", "route in the pod"),
    "pod's gateway has another's MAC": Broken(
        "n1",
        "{in_a} ip neigh replace {gw_a} lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
        "neighbour in the pod",
    ),
    "rule that drops what is forwarded": Broken(
        "n1",
        firewall("forward", "ip saddr {a} counter drop"),
        "rules of forwarding",
        after=NO_FIREWALL,
    ),
    "policy drop without a rule that accepts": Broken(
        "n2", firewall("forward", "", "drop"), "rules of forwarding", asker="n1", after=NO_FIREWALL
    ),
    "iptables -j DROP on FORWARD": Broken(
        "n2",
        "iptables -A FORWARD -s {a} -m comment --comment x -j DROP",
        "rules of forwarding",
        asker="n1",
    ),
    "UDP 8472 dropped at the other's input": Broken(
        "n2",
        firewall("input", "udp dport 8472 drop"),
        "rules of the tunnel",
        asker="n1",
        after=NO_FIREWALL,
    ),
    "UDP 8472 dropped at our output": Broken(
        "n1", firewall("output", "udp dport 8472 reject"), "rules of the tunnel", after=NO_FIREWALL
    ),
    "UDP 8472 dropped by a chain of the device": Broken(
        "n2",
        firewall("ingress device eth0", "udp dport 8472 drop", table="netdev"),
        "rules of the tunnel",
        asker="n1",
        after="nft delete table netdev fw",
    ),
    "TCP port rejected": Broken(
        "n2",
        firewall("forward", "tcp dport 80 reject with tcp reset"),
        "rules of forwarding",
        asker="n1",
        arguments=("--no-test", "--port", "tcp/80"),
        by_ping=False,
        after=NO_FIREWALL,
    ),
    "frames dropped between pod and bridge": Broken(
        "n1",
        firewall("prerouting", "iifname {veth_a} drop", table="bridge"),
        "rules of the bridge",
        path=("a", "beside"),
        after="nft delete table bridge fw",
    ),
    "pod's gateway is another pod": Broken(
        "n1", "{in_a} ip route replace default via {beside}", "route in the pod"
    ),
    "frames dropped between two pods": Broken(
        "n1",
        firewall("forward", "drop", table="bridge"),
        "rules of the bridge",
        path=("a", "beside"),
        after="nft delete table bridge fw",
    ),
    "dropped by a chain of the VXLAN device": Broken(
        "n2",
        firewall("ingress device overlay.1", "ip saddr {a} drop", table="netdev"),
        "rules of forwarding",
        asker="n1",
        after="nft delete table netdev fw",
    ),
    "underlay neighbour with another's MAC": Broken(
        "n1",
        "ip neigh replace 192.168.50.2 lladdr 02:00:00:00:00:99 dev eth0 nud permanent",
        "underlay neighbour",
        arguments=(),
    ),
    "blackhole in a table that a policy rule leads to": Broken(
        "n1",
        "ip route add blackhole {subnet_b} table 77; ip rule add to {subnet_b} lookup 77",
        "route",
        after="ip rule del to {subnet_b} lookup 77",
    ),
    "policy rule that throws it away": Broken("n1", "ip rule add to {b} blackhole", "route"),
    "more specific route of another": Broken(
        "n1", "ip route add {b} via 192.168.50.254 dev eth0", "route"
    ),
    "neighbour of the other pod wrong": Broken(
        "n2",
        "ip neigh replace {b} lladdr 02:00:00:00:00:77 dev overlay0 nud permanent",
        "neighbour of the pod",
        asker="n1",
    ),
    "other pod's address removed": Broken(
        "n2", "{in_b} ip addr del {b}/24 dev eth0", "address in the pod", asker="n1"
    ),
    "input of the other pod drops it": Broken(
        "n2",
        "{in_b} " + firewall("input", "icmp type echo-request drop"),
        "rules in the pod",
        asker="n1",
        after="{in_b} " + NO_FIREWALL,
    ),
    "other pod has no way back": Broken(
        "n2", "{in_b} ip route add blackhole {a}", "back: route in the pod", asker="n1"
    ),
    "iptables-legacy -j DROP on FORWARD": Broken(
        "n1", "iptables-legacy -A FORWARD -s {a} -j DROP", "rules of forwarding"
    ),
    "IPv6: policy rule that throws it away": Broken(
        "n1", "ip -6 rule add to {b6} blackhole", "route", path=("a6", "b6")
    ),
    "IPv6: rule that drops what is forwarded": Broken(
        "n2",
        firewall("forward", "ip6 saddr {a6} drop"),
        "rules of forwarding",
        path=("a6", "b6"),
        asker="n1",
        after=NO_FIREWALL,
    ),
    "way back is a blackhole": Broken(
        "n2", "ip rule add to {a} prohibit", "back: route", asker="n1"
    ),
}


OURS = {
    "IPv6: route missing": Broken("n1", "ip -6 route del {subnet_b6}", "route", path=("a6", "b6")),
    "host's end down": Broken("n1", "ip link set {veth_a} down", "veth"),
    "host's end out of the bridge": Broken("n1", "ip link set {veth_a} nomaster", "bridge port"),
    "bridge down": Broken("n1", "ip link set overlay0 down", "bridge"),
    "gateway removed": Broken("n1", "ip addr del {gw_a}/24 dev overlay0", "bridge"),
    "pod's MTU too large": Broken(
        "n1", "{in_a} ip link set eth0 mtu 1500", "MTU in the pod", by_ping=False
    ),
    "forwarding off": Broken("n1", "sysctl -qw net.ipv4.ip_forward=0", "forwarding"),
    "VXLAN device down": Broken("n1", "ip link set overlay.1 down", "VXLAN device"),
    "route missing": Broken("n1", "ip route del {subnet_b}", "route"),
    "neighbour wrong": Broken(
        "n1",
        "ip neigh replace {vtep_b} lladdr 02:00:00:00:00:77 dev overlay.1 nud permanent",
        "neighbour",
    ),
    "FDB entry wrong": Broken(
        "n1", "bridge fdb replace {mac_b} dev overlay.1 dst 192.168.50.77 self permanent", "fdb"
    ),
    "VXLAN device of another port": Broken(
        "n1",
        "ip link del overlay.1; ip link add overlay.1 type vxlan id 1 dstport 4789 local {underlay_a} "
        "dev eth0 nolearning; ip link set overlay.1 alias overlay:vtep up",
        "VXLAN device",
    ),
}
