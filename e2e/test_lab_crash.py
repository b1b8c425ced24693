"""A lab whose program was killed is taken down by what it wrote down and by its marks."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e import leftovers
from e2e.lab import take_down
from e2e.netns import NETNS_DIR
from e2e.node import wait_for
from e2e.process import start_time

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

_PROGRAM = """
import time
from e2e import containerd, debianplugins, images
from e2e.lab import Lab
from e2e.podman import Podman

LIST = (
    '{"cniVersion":"1.0.0","name":"any","plugins":[{"type":"ptp","ipam":{"type":"host-local",'
    '"dataDir":"%s/ipam","subnet":"10.9.9.0/24"}}]}'
)
with Lab() as lab:
    print(lab.work, flush=True)
    node, built = lab.add_node("n1"), images.build(lab.work / "images")
    debianplugins.link(node.runtime.bin_dir, "loopback", "ptp", "host-local")
    RUNTIME
    print("standing", flush=True)
    time.sleep(600)
"""
_CONTAINERD = """
    (node.conf_dir / "10-any.conflist").write_text(LIST % node.work)
    runtime = containerd.on_node(lab, node, built)
    runtime.wait_network()
    runtime.run_pod("orphan")
"""
_PODMAN = """
    podman = Podman(lab, node, built)
    (podman.networks / "any.conflist").write_text(LIST % node.work)
    podman.run("orphan", networks=["any"])
"""
_CLUSTER = """
import time
from e2e.cluster import Cluster
from e2e.lab import Lab
from e2e.stage import NamespaceProxy, Stage

with Lab() as lab:
    print(lab.work, flush=True)
    cluster = Cluster(lab)
    cluster.start()
    lab.clients.append(NamespaceProxy(lab.fabric, "127.0.0.1:2999", "127.0.0.1:2379"))
    Stage(lab, cluster.ctl).begin(lab.add_node("n1"), lab.add_node("n2"))
    cluster.members[0].hang()
    print("standing", flush=True)
    time.sleep(600)
"""

_MACHINE = """
import time
from pathlib import Path
from e2e.lab import MEMORY, Lab
from e2e.systemdnode import SystemdNode

with Lab(root=MEMORY) as lab:
    print(lab.work, flush=True)
    node = SystemdNode(lab, "n1", Path("LAYER"))
    node.boot()
    node.bare_pod()
    print("standing", flush=True)
    time.sleep(600)
"""


@contextmanager
def _killed(runtime: str, *, program: str = _PROGRAM) -> Iterator[Path]:
    """The directory of a lab whose program was killed while a container ran."""
    program = program.replace("    RUNTIME\n", runtime)
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        work = Path(child.stdout.readline().strip())
        assert work.is_dir()
        try:
            said = child.stdout.readline().strip()
            child.send_signal(signal.SIGKILL)
            child.wait()
            assert said == "standing"
            yield work
        finally:
            child.kill()
            take_down(work)


def _left(work: Path) -> list[Path]:
    """Everything that is still there of a lab."""
    mark = work.name.rpartition("-")[2]
    return [
        *(path for path in NETNS_DIR.iterdir() if mark in path.name),
        *leftovers.mounts(work),
        *leftovers.cgroups(work),
        *leftovers.cached_results(work),
        *([work] if work.exists() else []),
    ]


def test_a_killed_labs_containerd_pods_go() -> None:
    """Shims and containers outlive everything else; so do mounts, cgroups, sockets, cached results."""
    with _killed(_CONTAINERD) as work:
        sockets = leftovers.shim_sockets(work)
        assert sockets
        assert leftovers.mounts(work)
        assert leftovers.cgroups(work)
        assert leftovers.cached_results(work)

        take_down(work)
        assert _left(work) == []
        assert not [path for path in sockets if path.exists()]


def test_a_killed_labs_podman_containers_go() -> None:
    """podman's namespaces are in /run/netns under names of its own; those of the lab go too."""
    with _killed(_PODMAN) as work:
        spaces = [path for path in NETNS_DIR.glob("netns-*") if _lives_in(path, work)]
        assert spaces
        assert leftovers.cached_results(work)

        take_down(work)
        assert _left(work) == []
        assert not [path for path in spaces if path.exists()]


def test_a_killed_labs_etcd_cluster_goes() -> None:
    """Members (one of them hung), agents, pings, a proxy, and all their namespaces."""
    with _killed("", program=_CLUSTER) as work:
        page = json.loads((work / "lab.json").read_text())
        pids = [pid for pid, _ in page["processes"]]
        assert len(pids) == 3 + 2 + 1 + 1
        assert all(Path(f"/proc/{pid}").exists() for pid in pids)

        take_down(work)
        assert _left(work) == []
        wait_for(
            lambda: not any(start_time(pid) == begun for pid, begun in page["processes"]),
            "all processes are gone",
            timeout_s=20,
        )


def test_a_killed_labs_machine_goes(machine_layer: Path) -> None:
    """PID 1 and all it has started; its mounts and pods were in namespaces that go with it."""
    with _killed("", program=_MACHINE.replace("LAYER", str(machine_layer))) as work:
        members = [Path("/proc", str(pid)) for pid in leftovers.members(work)]
        assert len({*members}) >= 3  # the one that waits for it, PID 1, journald, dbus
        assert not leftovers.mounts(work)

        take_down(work)
        assert _left(work) == []
        wait_for(
            lambda: not any(it.exists() for it in members), "all processes are gone", timeout_s=20
        )


def _lives_in(space: Path, work: Path) -> bool:
    """Whether a process of the lab's cgroups has that namespace."""
    wanted = leftovers.inode(space)
    spaces = [Path(f"/proc/{pid}/ns/net") for pid in leftovers.members(work)]
    return wanted != 0 and wanted in map(leftovers.inode, spaces)
