"""kill -9 of the real agent while it serves an ADD or a DEL, before each of its changes."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from e2e import netns
from e2e.etcdserver import NETWORK
from e2e.fault import killed_at, lives
from e2e.lab import Lab, bare
from e2e.netns import difference, picture
from e2e.node import Node, wait_for
from e2e.pods import CniFailed, Pod

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

MOST_POINTS = 20
SURE = {"ADD": {"symlink": 2, "sendto": 5}, "DEL": {"unlink": 2, "sendto": 3}}
"""So many points there are at least; otherwise nothing is killed at all."""
RARELY = ("--sweep-interval", "1h")
"""So that no sweep makes a call that counts."""
SETTLED_S = 2.5
"""Longer than duplicate address detection, and than the kernel takes to see that a bridge has no carrier."""
HINTS = (".last-V4", ".last-V6")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An etcd and one node, whose bridge has had a first pod."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        node = made.add_node("n1")
        made.start_nodes(node)
        made.first_pod(node)
        node.kill_agent()
        time.sleep(SETTLED_S)
        yield made


@pytest.fixture
def node(lab: Lab) -> Iterator[Node]:
    """Its agent does not run."""
    node = lab.nodes["n1"]
    yield node
    for pod in [*lab.pods]:  # while the agent serves: without one each takes a second
        with suppress(CniFailed):
            lab.remove_pod(pod)
    node.kill_agent()


def _points(
    lab: Lab, node: Node, verb: str, call: str, *, every: int = 1
) -> Iterator[tuple[int, Pod]]:
    """(N, pod) for each agent killed at its N-th call; the agent is dead then, and may be started."""
    for number in range(every, MOST_POINTS, every):
        pod, failed = _point(lab, node, verb, call, number)
        if failed is None:
            assert number > SURE[verb][call], f"only {number - 1} points"
            return
        assert (failed.code, "overlay-agent" in failed.message) == (11, True), failed
        node.kill_agent()
        yield number, pod
    raise AssertionError(f"no end after {MOST_POINTS} calls")


def _point(lab: Lab, node: Node, verb: str, call: str, when: int) -> tuple[Pod, CniFailed | None]:
    """The pod, and how its request was refused by an agent that died right before that call of it; None: it lives."""
    if node.pid is None:
        _start(lab, node)
    pod = lab.bare_pod(node)
    act: Callable[[Pod], object] = node.runtime.add
    if verb == "DEL":
        node.runtime.add(pod)
        act = node.runtime.delete
    agent = node.pid
    assert agent is not None
    with killed_at(agent, "request", call, when):
        failed = _refusal(act, pod)
        assert failed is not None or lives(agent)
    return pod, failed


def _refusal(act: Callable[[Pod], object], pod: Pod) -> CniFailed | None:
    try:
        act(pod)
    except CniFailed as failed:
        return failed
    return None


def _start(lab: Lab, node: Node) -> None:
    node.start_agent(*RARELY)
    lab.record()
    node.wait_ready()


def _files(node: Node) -> list[str]:
    """What belongs to pods, temporary files as well."""
    return sorted(
        str(path.relative_to(node.run_dir))
        for room in ("ipam", "attachments")
        for path in (node.run_dir / room).rglob("*")
        if (path.is_symlink() or not path.is_dir()) and path.name not in HINTS
    )


def _addresses(lab: Lab) -> list[str]:
    """What all pods really have."""
    return [
        item["local"]
        for pod in lab.pods
        for row in json.loads(pod.namespace.must("ip", "-j", "-4", "address") or "[]")
        if row and row["ifname"] != "lo"
        for item in row["addr_info"]
    ]


def _wait_for_picture(node: Node, before: dict[str, list[str]]) -> None:
    """As it was; the kernel takes a moment to see that a bridge has lost its last port."""

    def differs() -> list[str]:
        return difference(before, picture(node.namespace))

    wait_for(lambda: not differs(), "as it was", timeout_s=30, also=lambda: "\n".join(differs()))


def _forget(lab: Lab, pod: Pod) -> None:
    """The pod's namespace goes, and no runtime says a word."""
    netns.remove(pod.namespace.name)
    lab.pods.remove(pod)


@pytest.mark.parametrize(
    ("verb", "call"), [(verb, call) for verb, calls in SURE.items() for call in calls]
)
def test_an_agent_killed_at_any_step_costs_nothing_once_the_del_has_come(
    lab: Lab, node: Node, verb: str, call: str
) -> None:
    """The DEL finds all of it, by the new agent or without any; no other pod gets its address."""
    _start(lab, node)
    wait_for(lambda: bare(node), "the bridge has no carrier", timeout_s=20)  # since the last test
    before = picture(node.namespace)

    for number, pod in _points(lab, node, verb, call):
        if number % 2:
            _start(lab, node)
        lab.add_pod(node)
        held = _addresses(lab)
        assert len(held) == len(set(held)), held
        node.runtime.delete(pod)
        assert not pod.namespace.query("link", "show", "type", "veth")

    for pod in [*lab.pods]:
        node.runtime.delete(pod)
    node.kill_agent()
    node.start_agent("--sweep-interval", "1s")
    node.wait_ready()
    wait_for(lambda: not _files(node), "nothing left", timeout_s=30, also=lambda: f"{_files(node)}")
    _wait_for_picture(node, before)


@pytest.mark.parametrize(("verb", "call"), [("ADD", "sendto"), ("DEL", "sendto")])
def test_the_next_agents_sweep_clears_what_a_killed_one_left(
    lab: Lab, node: Node, verb: str, call: str
) -> None:
    """No DEL comes and the namespaces are gone: two sweeps later nothing is left, and the living live."""
    _start(lab, node)
    wait_for(lambda: bare(node), "the bridge has no carrier", timeout_s=20)  # since the last test
    before = picture(node.namespace)
    living: list[Pod] = []

    dead = []
    for _, pod in _points(lab, node, verb, call, every=2):
        living.append(lab.add_pod(node))
        dead.append(pod)
        held = _addresses(lab)
        assert len(held) == len(set(held)), held
    for pod in [pod for pod in lab.pods if pod not in living]:
        _forget(lab, pod)
    node.kill_agent()
    node.start_agent("--sweep-interval", "1s")
    node.wait_ready()

    wait_for(
        lambda: len(_files(node)) == 2 * len(living),
        "only the living are left",
        timeout_s=30,
        also=lambda: f"{_files(node)}",
    )
    assert dead
    for pod in living:
        assert pod.ping(node.vtep.rpartition(".")[0] + ".1").ok
        node.runtime.delete(pod)
    assert _files(node) == []
    names = [row["ifname"] for row in node.namespace.query("link", "show", "type", "veth")]
    assert [name for name in names if name.startswith("ovl")] == []
    assert picture(node.namespace)["nft"] == before["nft"]
