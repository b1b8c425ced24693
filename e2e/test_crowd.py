"""Many pods at once, large and hostile input, and requests that overtake one another, through the real executable."""

import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from cni import lock
from cni.owner import Owner
from cni.steps import Steps
from e2e.etcdserver import NETWORK
from e2e.fault import tampered
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.process import CLEAN_ENVIRON

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

WITH_AGENT, WITHOUT = 110, 20
"""As many as kubelet lets a node have; fewer where each is a Python start of its own."""
MUTATIONS, MUTATIONS_ALONE = 250, 20
SEED = 20240229


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """An etcd and one node that is ready."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        made.start_nodes(made.add_node("n1"))
        yield made


@pytest.fixture
def node(lab: Lab) -> Node:
    """Its agent runs."""
    node = lab.nodes["n1"]
    if node.pid is None:
        lab.start_nodes(node)
    return node


def _files(node: Node) -> list[str]:
    return sorted(
        path.name
        for room in ("ipam", "attachments")
        for path in (node.run_dir / room).rglob("*")
        if (path.is_symlink() or not path.is_dir()) and not path.name.startswith(".last-V")
    )


def _host_ends(node: Node) -> list[str]:
    rows = node.namespace.query("link", "show", "type", "veth")
    return [row["ifname"] for row in rows if row["ifname"].startswith("ovl")]


def _all_at_once(act: Callable[[Pod], object], pods: Sequence[Pod]) -> None:
    with ThreadPoolExecutor(len(pods)) as pool:
        list(pool.map(act, pods))


@pytest.mark.parametrize("count", [WITH_AGENT, WITHOUT], ids=["agent", "no agent"])
def test_all_pods_of_a_node_come_and_go_at_once(lab: Lab, node: Node, count: int) -> None:
    """Each gets an address of its own and reaches the node; then nothing is left."""
    pods = [lab.bare_pod(node) for _ in range(count)]
    if count == WITHOUT:
        node.kill_agent()

    _all_at_once(node.runtime.add, pods)

    seen = [
        item["local"]
        for pod in pods
        for item in pod.namespace.query("-4", "address", "show", "dev", "eth0")[0]["addr_info"]
    ]
    assert len(set(seen)) == len(seen) == count
    assert sorted(seen) == sorted(str(pod.address) for pod in pods)
    assert len(_host_ends(node)) == count
    for pod in pods[::10]:
        assert pod.ping(pods[0].address).ok

    _all_at_once(node.runtime.delete, pods)

    assert (_files(node), _host_ends(node)) == ([], [])
    if count == WITHOUT:
        lab.start_nodes(node)  # the second DEL of each is served, not one more Python start
    for pod in pods:
        lab.remove_pod(pod)


def test_a_megabyte_of_annotations_is_no_trouble(lab: Lab, node: Node) -> None:
    """Runtimes put them into runtimeConfig; with the agent and without."""
    annotations = {f"example.com/{number}": "x" * 1000 for number in range(1000)}
    more = {"runtimeConfig": {"io.kubernetes.cri.pod-annotations": annotations}}
    for _ in range(2):
        pod = lab.bare_pod(node)
        node.runtime.add(pod, **more)
        assert max(path.stat().st_size for path in node.run_dir.rglob("*.json")) < 10_000
        lab.remove_pod(pod)
        node.kill_agent()
    assert _files(node) == []


def test_dels_do_not_queue_behind_one_that_hangs(lab: Lab, node: Node) -> None:
    """One attachment's lock is held: the others' DELs and ADDs finish, then its own."""
    pods = [lab.add_pod(node) for _ in range(8)]
    stuck, others = pods[0], pods[1:]
    place = Owner("overlay", stuck.container, "eth0").place
    with ThreadPoolExecutor(1) as pool:
        with lock.held(node.run_dir, place, Steps()):
            waiting = pool.submit(node.runtime.delete, stuck)
            _all_at_once(node.runtime.delete, others)
            lab.remove_pod(lab.add_pod(node))
            assert not waiting.done()
            assert len(_host_ends(node)) == 1
        waiting.result(timeout=30)
    assert (_files(node), _host_ends(node)) == ([], [])
    for pod in pods:
        lab.remove_pod(pod)


def test_a_del_that_overtakes_its_add_leaves_nothing(lab: Lab, node: Node) -> None:
    """The runtime gives up in the middle of an ADD, kills the executable and sends the DEL at once."""
    pod, agent = lab.bare_pod(node), node.pid
    assert agent is not None
    stdin = json.dumps(node.runtime.config(node.runtime.conflist(), {})).encode()
    with tampered(agent, "sendto:delay_enter=500000:when=3"):
        words = [str(word) for word in node.namespace.inside([node.runtime.bin_dir / "overlay"])]
        with subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={**CLEAN_ENVIRON, **node.runtime.environ("ADD", pod)},
        ) as add:
            assert add.stdin is not None
            add.stdin.write(stdin)
            add.stdin.close()
            wait_for(lambda: bool(_files(node)), "the ADD is at work", timeout_s=10)
            add.kill()

        node.runtime.delete(pod)

    assert (_files(node), _host_ends(node)) == ([], [])
    assert not pod.namespace.query("link", "show", "type", "veth")
    lab.remove_pod(pod)


def test_mutated_input_never_gets_past_an_answer_in_json(lab: Lab, node: Node) -> None:
    """Bytes flipped, cut, doubled and swapped: JSON with a code or silence; then the node is as before."""
    pod, chance = lab.bare_pod(node), random.Random(SEED)
    good = node.runtime.config(node.runtime.conflist(), {"prevResult": {"cniVersion": "1.1.0"}})
    for number in range(MUTATIONS + MUTATIONS_ALONE):
        if number == MUTATIONS:
            node.kill_agent()
        verb = chance.choice(("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"))
        environ = {**node.runtime.environ(verb, pod), "CNI_NETNS": "/run/netns/none"}
        if chance.random() < 0.2:
            name = chance.choice(sorted(environ))
            environ[name] = "".join(chance.choices("abc/=;.@\x7fé\n", k=chance.randrange(40)))
        stdin = _mutated(json.dumps(good).encode(), chance)

        done = subprocess.run(
            [str(word) for word in node.namespace.inside([node.runtime.bin_dir / "overlay"])],
            input=stdin,
            env={**os.environ, **CLEAN_ENVIRON, **environ},
            capture_output=True,
            timeout=30,
            check=False,
        )

        said = (number, environ, stdin, done)
        assert done.returncode in (0, 1), said
        answer = json.loads(done.stdout or b"{}")
        assert (done.returncode == 1) == ("code" in answer), said
        assert answer.get("code") != 999, said
        assert b"Traceback" not in done.stdout + done.stderr, said
    assert "Traceback" not in node.log_text()
    assert (_files(node), _host_ends(node)) == ([], [])
    for made in lab.work.parent.glob(f"*/{lab.work.name}"):  # a run directory that a mutation named
        shutil.rmtree(made)
        with suppress(OSError):  # another lab's lies there, too
            made.parent.rmdir()
    lab.remove_pod(pod)


def _mutated(data: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randrange(1, 4)):
        at, end = sorted(chance.choices(range(len(data) + 1), k=2))
        match chance.randrange(5):
            case 0:
                data = data[:at] + chance.randbytes(chance.randrange(9)) + data[end:]
            case 1:
                data = data[:end] + data[at:]
            case 2:
                data = data[:at]
            case 3:
                data = data[:at] + bytes(reversed(data[at:end])) + data[end:]
            case _:
                word = chance.choice(
                    (b"null", b"[]", b"{}", b"1e999", b'"\\ud800"', b"-1", b"[" * 999)
                )
                data = data[:at] + word + data[at + 1 :]
    return data
