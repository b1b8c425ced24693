"""overlayctl mesh on whole nodes: everybody is a row, what is not fine is named, and the page is written whole."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.etcdserver import CONFIG_KEY, NETWORK, SUBNETS
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import Said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

FLANNELS = "10.5.200.0-24"
Scene = tuple[Lab, Node, Node, Node]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """Three nodes that probe one another."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        nodes = [lab.add_node(name, probe_interval="5s") for name in ("n1", "n2", "n3")]
        lab.start_nodes(*nodes)
        yield lab, nodes[0], nodes[1], nodes[2]


def _edges(found: dict[str, Any], state: str) -> set[tuple[str, str]]:
    return {(it["from"], it["to"]) for it in found["edges"] if it["state"] == state}


def test_all_is_well_and_the_page_says_the_same(scene: Scene, tmp_path: Path) -> None:
    """Six ways; code 0; the page has the same facts, and nothing but the page was written."""
    _lab, one, _two, _three = scene
    page, runs = tmp_path / "mesh.html", list[Said]()

    def well() -> bool:
        runs.append(one.overlayctl("mesh", "--html", str(page)))
        return runs[-1].code == 0

    def measured() -> bool:
        edges = one.ask("mesh", "--probe", "--wait", "5")["edges"]
        return [(it["measured"], it["largest"]) for it in edges] == [(True, 1450)] * 6

    # A first probe may have been under way before its peer was ready.
    wait_for(well, "all is well", timeout_s=40, also=lambda: str(runs[-1]))
    said = runs[-1]
    assert "3 healthy\npaths: 6 ok" in said.out
    wait_for(measured, "all ways are measured", timeout_s=40)
    assert "asked 3 of 3 nodes, 3 answered" in said.out
    text = page.read_text()
    facts = json.loads(text.partition('id="facts">')[2].partition("</script>")[0])
    assert [node["name"] for node in facts["nodes"]].count("n2") == 1
    assert (facts["states"], facts["title"]) == ({"ok": 6}, "10.5.0.0/16")
    assert [path.name for path in tmp_path.iterdir()] == ["mesh.html"]
    assert one.overlayctl("mesh", "--html", str(tmp_path / "no" / "mesh.html")).code == 64
    assert one.overlayctl("mesh", "--limit", "0").code == 64


def test_who_is_silent_foreign_or_unreachable_is_a_row(scene: Scene) -> None:
    """A way that a rule cuts, a killed agent, flanneld's record: code 1, each by name, the others as they were."""
    lab, one, two, three = scene
    value = (
        '{"PublicIP":"192.168.50.99","BackendType":"vxlan",'
        '"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:00:99"}}'
    )
    cut = (
        "add table inet planted; "
        "add chain inet planted o { type filter hook output priority 0; }; "
        "add rule inet planted o ip daddr 192.168.50.1 udp dport 8472 drop"
    )
    two.namespace.must("nft", cut)

    def cut_is_seen() -> bool:
        return ("n2", "n1") in _edges(one.ask("mesh", "--wait", "1"), "silent")

    wait_for(cut_is_seen, "the cut is seen", timeout_s=40)
    lab.etcd.ctl("put", SUBNETS + FLANNELS, value)
    three.kill_agent()
    found = one.ask("mesh", "--wait", "1")
    verdicts = {node["name"]: node["verdict"] for node in found["nodes"]}
    assert (verdicts["n3"], verdicts[FLANNELS]) == ("silent", "flannel")
    assert "did not answer" in next(it["problem"] for it in found["nodes"] if it["name"] == "n3")

    def fine() -> bool:
        edges = one.ask("mesh", "--wait", "1")["edges"]
        ours = [it for it in edges if (it["from"], it["to"]) == ("n1", "n3")]
        return [(it["state"], it["largest"]) for it in ours] == [("ok", 1450)]

    wait_for(fine, "n3 is reached without its agent", timeout_s=40)

    said = one.overlayctl("mesh", "--limit", "1")
    assert "asked 1 of 4 nodes, 1 answered" in said.out
    assert one.overlayctl("mesh", "--wait", "1").code == 1


def test_without_etcd_nobody_can_be_asked(scene: Scene) -> None:
    """Code 2, and the reason."""
    lab, one, *_ = scene
    lab.etcd.stop()

    said = one.overlayctl("mesh", "--wait", "1")

    assert said.code == 2
    assert "etcd at http" in said.err
