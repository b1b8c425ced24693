"""GC on a real kernel: absent, null, empty and a list are four things, and only this network is touched."""

import json
from pathlib import Path
from typing import Any

import pytest

from cni import lock
from cni.owner import Owner
from cni.steps import Steps
from tests.contract import spaces
from tests.contract.cni_node import Node, shown

pytestmark = pytest.mark.contract

KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")


def _valid(*containers: str) -> list[dict[str, str]]:
    return [{"containerID": container, "ifname": "eth0"} for container in containers]


def _gc(node: Node, **config: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """As libcni sends it: neither container nor interface nor namespace."""
    none = {"CNI_CONTAINERID": "", "CNI_IFNAME": "", "CNI_NETNS": "", "CNI_ARGS": ""}
    return node.call("GC", environ=none, **config)


def _journal(node: Node, container: str) -> Path:
    return node.run_dir / "attachments" / "overlay" / f"{container}@eth0.json"


@pytest.fixture
def peopled(node: Node, pod: Path, other: Path) -> Node:
    """c1 and c2 live; c3's namespace is gone; c9 lives in another network and dead c8 was there."""
    node.add(pod, container="c1")
    node.add(other, container="c2")
    node.add(pod, container="c9", ifname="eth1", name="blue")
    with spaces.namespace() as dying:
        node.add(dying, container="c3")
        node.add(dying, container="c8", ifname="eth1", name="blue")
    node.settle(3)
    return node


BLUE = ["blue/c8@eth1", "blue/c9@eth1"]


@pytest.mark.row("60", "62", "R18")
def test_without_a_list_nothing_is_judged(peopled: Node) -> None:
    """The caller does not know what is valid: not even the dead are taken away, and nothing is said."""
    before = peopled.left()
    assert _gc(peopled) == {}
    assert peopled.left() == before


@pytest.mark.row("56", "60", "61", "R18")
@pytest.mark.parametrize("empty", [None, []], ids=["null", "empty"])
@pytest.mark.parametrize("key", KEYS)
def test_an_empty_list_takes_away_what_is_proven_gone(
    peopled: Node, key: str, empty: list[Any] | None
) -> None:
    """A runtime that has lost its memory sends one as well: living pods stay."""
    assert _gc(peopled, **{key: empty}) == {}
    assert peopled.journals() == [*BLUE, "overlay/c1@eth0", "overlay/c2@eth0"]
    assert sorted(peopled.addresses().values()) == peopled.journals()


@pytest.mark.row("56", "61", "R18", "14")
@pytest.mark.parametrize("keys", [KEYS, KEYS[:1], KEYS[1:]], ids=["both", "new", "old"])
def test_a_list_takes_away_all_of_this_network_that_it_does_not_name(
    peopled: Node, keys: tuple[str, ...]
) -> None:
    """Address, record and link; the other network keeps even its dead."""
    assert _gc(peopled, **dict.fromkeys(keys, _valid("c1"))) == {}
    assert peopled.journals() == [*BLUE, "overlay/c1@eth0"]
    assert sorted(peopled.addresses().values()) == peopled.journals()
    assert sorted(peopled.links()) == sorted(
        Owner(*names).host_link for names in (("overlay", "c1", "eth0"), ("blue", "c9", "eth1"))
    )


@pytest.mark.row("R18")
def test_the_two_names_of_the_list_add_up(peopled: Node) -> None:
    """What either of them names is valid."""
    assert _gc(peopled, **{KEYS[0]: _valid("c1"), KEYS[1]: _valid("c2")}) == {}
    assert peopled.journals() == [*BLUE, "overlay/c1@eth0", "overlay/c2@eth0"]


@pytest.mark.row("70", "R18")
@pytest.mark.parametrize(
    "bad",
    [
        5,
        {},
        "c1",
        [5],
        [{"containerID": "c1"}],
        [{"ifname": "eth0"}],
        [{"containerID": "", "ifname": "eth0"}],
        [{"containerID": "c1", "ifname": 5}],
    ],
    ids=json.dumps,
)
def test_a_list_that_cannot_be_read_takes_nothing_away(peopled: Node, bad: object) -> None:
    """Code 7 with the key; half a list is no list."""
    before = peopled.left()
    error = _gc(peopled, **{KEYS[0]: bad})
    assert (error["code"], KEYS[0] in error["msg"]) == (7, True)
    assert peopled.left() == before


@pytest.mark.row("58")
def test_one_failure_stops_nothing_and_is_told_at_the_end(peopled: Node) -> None:
    """A foreign link stands where c2's would be: c3 goes, c2 stays, the message says why."""
    link = Owner("overlay", "c2", "eth0").host_link
    spaces.ip(peopled.space, *f"link set {link} alias somebody:else".split())
    error = _gc(peopled, **{KEYS[0]: _valid("c1")})
    assert "1 leftovers stay" in error["msg"]
    assert link in error["msg"]
    assert peopled.journals() == [*BLUE, "overlay/c1@eth0", "overlay/c2@eth0"]


@pytest.mark.row("58", "16")
def test_a_verb_that_hangs_costs_only_its_own_attachment(peopled: Node) -> None:
    """It is told, and not waited for."""
    with lock.held(peopled.run_dir, "overlay/c2@eth0", Steps()):
        error = _gc(peopled, **{KEYS[0]: _valid("c1")})
    assert "a verb is at work on overlay/c2@eth0" in error["msg"]
    assert "overlay/c3@eth0" not in peopled.journals()


@pytest.mark.row("R18", "56")
def test_a_living_pod_whose_record_is_torn_survives_an_empty_list(peopled: Node) -> None:
    """No record is no proof; the link speaks for it."""
    _journal(peopled, "c1").write_text("{")
    assert _gc(peopled, **{KEYS[0]: []}) == {}
    assert "overlay/c1@eth0" in peopled.addresses().values()
    assert Owner("overlay", "c1", "eth0").host_link in peopled.links()


@pytest.mark.row("R18", "56")
def test_allocations_without_a_record_go_only_with_proof_or_by_the_list(peopled: Node) -> None:
    """A living pod's stays with an empty list; what has no link goes; a list decides for all."""
    _journal(peopled, "c1").unlink()
    (peopled.run_dir / "ipam" / "10.5.1.200").symlink_to("overlay/c7@eth0")
    assert _gc(peopled, **{KEYS[0]: []}) == {}
    assert "overlay/c1@eth0" in peopled.addresses().values()
    assert "10.5.1.200" not in peopled.addresses()

    assert _gc(peopled, **{KEYS[0]: _valid("c2")}) == {}
    assert "overlay/c1@eth0" not in peopled.addresses().values()
    assert Owner("overlay", "c1", "eth0").host_link not in peopled.links()


@pytest.mark.row("16")
def test_an_allocation_of_an_add_at_work_is_not_taken_for_an_orphan(node: Node) -> None:
    """Its address is taken before its record is written; the lock says that it is not left over."""
    (node.run_dir / "ipam").mkdir(parents=True)
    (node.run_dir / "ipam" / "10.5.1.9").symlink_to("overlay/c1@eth0")
    with lock.held(node.run_dir, "overlay/c1@eth0", Steps()):
        assert _gc(node, **{KEYS[0]: []}) == {}
    assert list(node.addresses()) == ["10.5.1.9"]


@pytest.mark.row("57")
def test_a_pod_of_a_vanished_namespace_takes_its_link_along(peopled: Node) -> None:
    """Nothing of c3 is in the bridge afterwards."""
    _gc(peopled, **{KEYS[0]: _valid("c1", "c2")})
    ends = [link for link in shown(peopled.space, "link show") if link.get("master") == "overlay0"]
    assert len(ends) == 3
