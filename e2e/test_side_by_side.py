"""Two agents on each of two nodes, two networks in one etcd, and a network of flannel's beside them."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e import netns
from e2e.lab import Lab
from e2e.netns import difference
from e2e.node import VENV_BIN, Node, wait_for
from e2e.pods import Pod
from e2e.process import Said
from e2e.sidebyside import add_agent, ask_by_name, configured
from overlay.marks import Marks

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

BLUE = Marks("blue")
NETWORKS = {
    "/coreos.com/network": '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}',
    "/blue/network": '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan","VNI":2,"DirectRouting":true}}',
}
"""Blue's routes lead over the underlay's interface, where no device tells whose they are."""
FOREIGN = (
    "link add flannel.9 address 02:00:00:00:00:99 type vxlan id 9 dstport 8472 local {address} dev eth0 nolearning",
    "addr add 10.9.1.0/32 dev flannel.9",
    "link set flannel.9 up",
    "neigh add 10.9.2.0 lladdr 02:00:00:00:00:92 dev flannel.9 nud permanent",
    "route add 10.9.2.0/24 via 10.9.2.0 dev flannel.9 onlink",
)
"""What a flanneld of another network has on a node with one peer."""


@dataclass(frozen=True, slots=True)
class Four:
    """Two machines with two agents each; ``pods`` are one of each agent, in the same order."""

    lab: Lab
    agents: tuple[Node, Node, Node, Node]
    pods: tuple[Pod, Pod, Pod, Pod]

    def talk(self) -> bool:
        """Within each network."""
        one, two, blue_one, blue_two = self.pods
        return one.ping(two.address).ok and blue_one.ping(blue_two.address).ok


@pytest.fixture(scope="module")
def four() -> Iterator[Four]:
    """All ready, pods attached; made once."""
    with Lab() as lab:
        lab.etcd.start()
        for prefix, text in NETWORKS.items():
            lab.etcd.ctl("put", f"{prefix}/config", text)
        first = [ask_by_name(lab.add_node(name)) for name in ("n1", "n2")]
        blue = [add_agent(lab, node, "blue", etcd_prefix="/blue/network") for node in first]
        first[0].namespace.ip(*(line.format(address=first[0].address) for line in FOREIGN))
        agents = (first[0], first[1], blue[0], blue[1])
        for agent in agents:
            agent.start_agent()
        lab.record()
        for agent in agents:
            agent.wait_ready(peers=1)
        one, two, three, four_ = (lab.add_pod(agent) for agent in agents)
        yield Four(lab, agents, (one, two, three, four_))


def test_each_network_is_one_and_each_agent_tells_its_own(four: Four) -> None:
    """Addresses, devices and bridges of the network that was asked for; the runtime's default stays the first's."""
    assert four.talk()
    assert [str(pod.address)[:5] for pod in four.pods] == ["10.5."] * 2 + ["10.6."] * 2
    one, _, blue, _ = four.agents
    names = [path.name for path in sorted(one.conf_dir.iterdir())]
    assert names == ["10-overlay.conflist", BLUE.conflist]

    for agent, instance, device in ((one, "", "overlay.1"), (blue, "blue", "overlay.2")):
        status = agent.status()
        assert (status["verdict"], status["instance"]) == ("healthy", instance), status["trouble"]
        assert status["devices"][0].startswith(device)
        assert (status["peers"]["total"], status["attachments"]) == (1, 1)
        assert agent.tell("plan")["steps"] == []
    bridges = {row["ifname"] for row in one.namespace.query("link", "show", "type", "bridge")}
    assert bridges == {"overlay0", "ovl-blue"}


@pytest.mark.parametrize("number", [0, 2])
def test_a_restart_of_one_changes_nothing_of_either(four: Four, number: int) -> None:
    """Neither finds the other's objects stale, nor those of the foreign network."""
    agent = four.agents[number]
    before = configured(agent)
    agent.stop_agent()
    agent.start_agent()
    four.lab.record()
    agent.wait_ready(peers=1)
    assert agent.tell("status")["changes"] == 0
    assert difference(before, configured(agent)) == []


@pytest.mark.parametrize("number", [0, 2])
def test_what_is_damaged_of_one_is_mended_and_the_other_not_touched(
    four: Four, number: int
) -> None:
    """Route, neighbour, FDB entry, address, table and device."""
    agent, other = four.agents[number], four.agents[2 - number]
    marks, peer = (Marks(), BLUE)[number // 2], four.agents[number + 1]
    device, bridge = agent.tell("status")["devices"][0].split()[0], marks.bridge
    before, changes = configured(agent), other.tell("status")["changes"]
    groups = (
        (
            f"nft delete table {marks.table}",
            f"ip neigh del {peer.vtep} dev {device}",
            f"ip route del {peer.subnet}",
        ),
        (f"ip addr flush dev {bridge}",),
        (f"ip link del {device}",),
    )
    for damage in groups:
        mended = agent.tell("status")["mended"]
        for command in damage:
            agent.namespace.must(*command.split())
        wait_for(
            lambda was=mended: agent.tell("status")["mended"] > was,  # type: ignore[misc]
            f"mended: {damage}",
            timeout_s=30,
        )
    wait_for(lambda: agent.tell("status")["in_sync"], "all is mended", timeout_s=20)
    wait_for(four.talk, "traffic is back", timeout_s=30)
    assert other.tell("status")["changes"] == changes

    def differs() -> list[str]:
        now = difference(before, configured(agent))
        return [line for line in now if device not in line]  # made anew, it has another index

    wait_for(lambda: differs() == [], "as it was", timeout_s=30, also=lambda: str(differs()))


def test_what_a_stopped_agent_has_left_is_not_the_others_to_remove(four: Four) -> None:
    """Its devices and entries, its living pod, and even its dead one: that is for its own agent."""
    one, _, blue, _ = four.agents
    dead = four.lab.add_pod(blue)
    before = configured(one)
    blue.stop_agent()
    netns.remove(dead.namespace.name)

    one.stop_agent()
    one.start_agent("--sweep-interval", "1s", "--resync-interval", "1s")
    four.lab.record()
    one.wait_ready(peers=1)
    assert one.overlayctl("gc").out == "nothing is left over\n"
    assert one.tell("status")["changes"] == 0
    gone = [line for line in difference(before, configured(one)) if line.startswith("-")]
    assert all(dead.result["interfaces"][1]["name"] in line for line in gone), gone
    assert four.talk()

    assert "taken away" in blue.overlayctl("gc").out
    blue.start_agent()
    four.lab.record()
    blue.wait_ready(peers=1)
    assert blue.tell("status")["changes"] == 0


@pytest.mark.parametrize(
    ("instance", "bridge", "words"),
    [
        ("", "third0", ["already has the empty instance name", "change instance"]),
        ("blue", "third0", ["already has instance = 'blue'", "change instance"]),
        ("third", "ovl-blue", ["already has bridge = 'ovl-blue'", "change bridge"]),
    ],
)
def test_an_agent_that_would_clash_says_with_whom_and_does_not_start(
    four: Four, instance: str, bridge: str, words: list[str]
) -> None:
    """One error that names both, and what to change."""
    name = f"third-{len(four.lab.nodes)}"
    third = add_agent(four.lab, four.agents[0], instance, name=name, bridge=bridge)
    said = start(third)
    assert said.code == 64
    holder = four.agents[2 if instance else 0]
    for word in [*words, f"pid {holder.pid}", str(holder.config_file)]:
        assert word in said.err
    assert said.err.count("\n") == 2


def start(node: Node) -> Said:
    """An agent that is to end by itself."""
    return node.namespace.run([VENV_BIN / "overlay-agent", "--config", node.config_file])


def test_a_network_that_is_served_already_is_not_served_twice(four: Four) -> None:
    """The VNI is known only once etcd was asked; while the other runs, and while only its device is there."""
    red = add_agent(four.lab, four.agents[0], "red", etcd_prefix="/blue/network")
    four.agents[2].stop_agent()
    red.start_agent()
    four.lab.record()
    wait_for(
        lambda: 'vxlan overlay.2 is that of instance "blue"' in red.log_text(),
        "it is said",
        timeout_s=30,
        also=red.log_tail,
    )
    assert "Backend.VNI in /blue/network/config" in red.log_text()
    red.stop_agent()
    four.agents[2].start_agent()
    four.lab.record()
    four.agents[2].wait_ready(peers=1)
    red.start_agent()
    wait_for(
        lambda: "already has VNI 2 on UDP port 8472" in red.log_text(), "it is said", timeout_s=30
    )
    red.stop_agent()
    assert four.agents[2].tell("status")["changes"] == 0
