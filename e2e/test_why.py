"""Each breakage is found as the first broken hop, and the command that is named mends it. One lab."""

from collections.abc import Iterator

import pytest

from e2e.breakages import FOREIGN, OURS, RESTART, Broken, Stage, shown
from e2e.etcdserver import CONFIG_KEY, SUBNETS
from e2e.lab import Lab
from e2e.node import wait_for
from overlay import schema
from overlay.family import Family

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
PATIENCE_S = 60.0
NETWORK = (
    '{"Network":"10.5.0.0/16","SubnetMax":"10.5.199.0","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
    '"Backend":{"Type":"vxlan"}}'
)
"""Both families; see e2e.etcdserver.NETWORK."""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One lab for all."""
    with Lab(families=tuple(Family)) as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        lab.start_nodes(one, two)
        pods = {"a": lab.add_pod(one), "b": lab.add_pod(two), "beside": lab.add_pod(one)}
        made = Stage(lab, {"n1": one, "n2": two}, pods)
        for name, pod in pods.items():
            node = lab.nodes[pod.node]
            made.words |= {
                name: str(pod.addresses[0]),
                f"{name}6": str(pod.addresses[1]),
                f"in_{name}": f"nsenter --net={pod.namespace.path}",
                f"gw_{name}": node.vtep.rpartition(".")[0] + ".1",
                f"gw_{name}6": str(node.subnets[1][1]),
                f"veth_{name}": next(
                    str(item["name"])
                    for item in pod.result["interfaces"]
                    if item["name"].startswith("ovl")
                ),
            }
        made.words |= {"subnet_b": two.subnet, "vtep_b": two.vtep, "underlay_a": one.address}
        made.words["subnet_b6"] = str(two.subnets[1])
        rows = one.namespace.query("neigh", "show", "dev", "overlay.1")
        made.words["mac_b"] = next(row["lladdr"] for row in rows if row["dst"] == two.vtep)
        assert made.why("n1", "default/" + pods["a"].name, pods["b"].name)["ok"]
        yield made


@pytest.mark.parametrize("what", FOREIGN)
def test_what_no_agent_repairs_is_found_and_mended(stage: Stage, what: str) -> None:
    """The agents of both nodes run."""
    shown(stage, FOREIGN[what])


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
    key = SUBNETS + schema.format_key(stage.nodes["n2"].subnets)
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
    said = "MTU black hole: 84 bytes pass, 1430 do not; the largest that fits is 1354"
    assert first["why"] == said  # a bridge lets four bytes more through, for a VLAN's tag
    stage.run("n1", first["mend"])
    wait_for(lambda: bool(stage.why("n1", *path)["ok"]), "the agent follows", timeout_s=PATIENCE_S)


def test_what_nobody_can_see_is_said_to_be_so(stage: Stage) -> None:
    """Something between the nodes drops the tunnel's packets: every hop is right, and nothing comes back."""
    rule = "nft 'table bridge fw { chain c { type filter hook forward priority 0;\n udp dport 8472 drop\n }\n }'"
    stage.lab.fabric.must("sh", "-ec", rule)
    try:
        said = stage.nodes["n1"].overlayctl("why", stage.words["a"], stage.words["b"])
    finally:
        stage.lab.fabric.must("nft", "delete", "table", "bridge", "fw")
    assert said.code == 1
    assert "every hop looks right, yet an echo of 84 bytes" in said.out
    assert "overlayctl trace" in said.out
    assert stage.why("n1", stage.words["a"], stage.words["b"])["ok"]


def test_a_hung_agent_is_not_waited_for_and_people_get_a_table(stage: Stage) -> None:
    """One line per hop, the first broken one in a sentence, the command on a line of its own."""
    names = [stage.pods["a"].name, stage.pods["beside"].name]
    with stage.nodes["n1"].still():
        said = stage.nodes["n1"].overlayctl("why", *names)
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
