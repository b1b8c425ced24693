"""Each breakage is found as the first broken hop, and the command that is named mends it. One lab."""

import json
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from e2e.etcdserver import CONFIG_KEY, NETWORK, SUBNETS
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.process import CommandFailed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
PATIENCE_S = 20.0
MOST_MENDS = 4
RESTART = "systemctl restart overlay-agent"


@dataclass(slots=True)
class Stage:
    """Two nodes; pods ``a`` and ``beside`` are on the first, ``b`` is on the second."""

    lab: Lab
    nodes: dict[str, Node]
    pods: dict[str, Pod]
    words: dict[str, str] = field(default_factory=dict)

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

    def reaches(self, one: str, other: str) -> bool:
        """A ping that does not wait long."""
        words = ["ping", "-n", "-c", "1", "-W", "0.3", self.words[other]]
        return self.pods[one].namespace.run(words).code == 0

    def why(self, node: str, *arguments: str) -> dict[str, Any]:
        """Asked on a node; the exit code agrees with the answer."""
        said = self.nodes[node].overlayctl("why", *arguments, "--output", "json")
        try:
            told: dict[str, Any] = json.loads(said.out)
        except json.JSONDecodeError:
            raise CommandFailed(f"overlayctl why: {said.out}{said.err}") from None
        assert said.code == (0 if told["ok"] else 1), said
        return told


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One lab for all."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        lab.start_nodes(one, two)
        pods = {"a": lab.add_pod(one), "b": lab.add_pod(two), "beside": lab.add_pod(one)}
        made = Stage(lab, {"n1": one, "n2": two}, pods)
        for name, pod in pods.items():
            node = lab.nodes[pod.node]
            made.words |= {
                name: str(pod.address),
                f"in_{name}": f"nsenter --net={pod.namespace.path}",
                f"gw_{name}": node.vtep.rpartition(".")[0] + ".1",
                f"veth_{name}": next(
                    str(item["name"])
                    for item in pod.result["interfaces"]
                    if item["name"].startswith("ovl")
                ),
            }
        made.words |= {"subnet_b": two.subnet, "vtep_b": two.vtep, "underlay_a": one.address}
        rows = one.namespace.query("neigh", "show", "dev", "overlay.1")
        made.words["mac_b"] = next(row["lladdr"] for row in rows if row["dst"] == two.vtep)
        assert made.why("n1", "default/" + pods["a"].name, pods["b"].name)["ok"]
        yield made


def shown(stage: Stage, broken: "Broken", *, left: str = "") -> None:
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
FOREIGN = {
    "pod's address removed": Broken(
        "n1", "{in_a} ip addr del {a}/24 dev eth0", "address in the pod"
    ),
    "pod's netmask wrong": Broken(
        "n1",
        "{in_a} ip addr add {a}/16 dev eth0; {in_a} ip addr del {a}/24 dev eth0",
        "address in the pod",
    ),
    "pod's link down": Broken("n1", "{in_a} ip link set eth0 down", "address in the pod"),
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
    "way back is a blackhole": Broken(
        "n2", "ip rule add to {a} prohibit", "back: route", asker="n1"
    ),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_what_no_agent_repairs_is_found_and_mended(stage: Stage, what: str) -> None:
    """The agents of both nodes run."""
    shown(stage, FOREIGN[what])


OURS = {
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


def test_what_an_agent_would_repair_is_found_and_mended_while_it_is_dead(stage: Stage) -> None:
    """The node looks at itself without its agent; the last of these is mended by starting it."""
    stage.nodes["n1"].kill_agent()
    for what in OURS:
        shown(stage, OURS[what], left="agent")
    assert stage.why("n1", stage.words["a"], stage.words["b"])["ok"]


def test_the_other_node_and_its_record(stage: Stage) -> None:
    """A dead agent; what is wrong beside it, seen from there; a record that is another's, or gone."""
    path = [stage.words["a"], stage.words["b"]]
    stage.nodes["n2"].kill_agent()
    first = stage.why("n1", *path, "--no-test")["first"]
    assert (first["where"], first["name"], first["mend"]) == ("n2", "agent", RESTART)

    shown(stage, Broken("n2", "ip link set {veth_b} down", "veth"), left="agent")
    shown(stage, Broken("n2", "ip link set overlay0 down", "bridge"), left="agent")
    key = SUBNETS + stage.words["subnet_b"].replace("/", "-")
    record = stage.lab.etcd.ctl("get", "--print-value-only", key)
    wrong = record.replace(stage.words["mac_b"], "02:00:00:00:00:66")
    assert wrong != record
    stage.lab.etcd.ctl("put", key, wrong.strip())
    wait_for(
        lambda: "02:00:00:00:00:66" in stage.nodes["n1"].namespace.must("ip", "neigh"),
        "the first node has heard",
        timeout_s=PATIENCE_S,
    )
    first = stage.why("n2", *path, "--no-test")["first"]
    assert (first["name"], first["at"]) == ("record against device", "n2")
    assert first["mend"] == RESTART
    stage.restart("n2")
    wait_for(lambda: bool(stage.why("n1", *path)["ok"]), "all is well", timeout_s=PATIENCE_S)

    stage.nodes["n2"].kill_agent()
    stage.lab.etcd.ctl("del", key)
    first = stage.why("n1", *path, "--no-test")["first"]
    assert (first["where"], first["name"]) == ("etcd", "record")
    stage.restart("n2")
    wait_for(lambda: bool(stage.why("n1", *path)["ok"]), "all is well", timeout_s=PATIENCE_S)


def test_the_underlay(stage: Stage) -> None:
    """Link down, no route: etcd is away as well then. A smaller MTU in the middle is named with what fits."""
    path = [stage.words["a"], stage.words["b"]]
    gone = "ip route del default; ip route del 192.168.50.0/24"
    again = "ip route replace default via 192.168.50.254"
    shown(stage, Broken("n1", gone, "underlay route", after=again))
    shown(stage, Broken("n1", "ip link set eth0 down", "underlay link", after=again))

    port = "port2"
    stage.lab.fabric.ip(f"link set {port} mtu 1400")
    first = stage.why("n1", *path)["first"]
    assert first["name"] == "echo, full size"
    said = "MTU black hole: 84 bytes pass, 1450 do not; the largest that fits is 1354"
    assert first["why"] == said  # a bridge lets four bytes more through, for a VLAN's tag
    stage.run("n1", first["mend"])
    wait_for(lambda: bool(stage.why("n1", *path)["ok"]), "the agent follows", timeout_s=PATIENCE_S)


def test_a_hung_agent_is_not_waited_for_and_people_get_a_table(stage: Stage) -> None:
    """One line per hop, the first broken one in a sentence, the command on a line of its own."""
    names = [stage.pods["a"].name, stage.pods["beside"].name]
    stage.nodes["n1"].send(signal.SIGSTOP)
    try:
        said = stage.nodes["n1"].overlayctl("why", *names)
    finally:
        stage.nodes["n1"].send(signal.SIGCONT)
    assert said.code == 1, said
    assert "first broken hop: agent on n1: the agent of n1 does not answer" in said.out
    assert f"\n  next, on n1: {RESTART}\n" in said.out
    assert stage.why("n1", *names)["ok"]
    itself = stage.why("n1", names[0], names[0])
    assert itself["ok"]
    assert "echo" in [hop["name"] for hop in itself["hops"]]


def test_who_cannot_be_asked_about_is_said(stage: Stage) -> None:
    """Exit codes 2 and 64."""
    unknown = stage.nodes["n1"].overlayctl("why", stage.pods["a"].name, "nobody")
    assert unknown.code == 2
    assert "none of 2 nodes knows a pod nobody" in unknown.err
    wrong = stage.nodes["n1"].overlayctl("why", "x", "y", "--port", "80")
    assert wrong.code == 64
    assert "such as --port tcp/80" in wrong.err
