"""A real containerd for one node: in the node's network namespace, all its state below one directory.

    runtime = Containerd(node.namespace, node.work / "c", node.conf_dir, node.bin_dir, cgroup=lab.cgroup)
    runtime.start(images)
    pod = runtime.run_pod("web", host_ports={8080: 80})

It knows nothing of agents: any conflist in ``conf_dir`` will do, so a benchmark can compare. Entered with
nsenter, since `ip netns exec` would mount a fresh /sys without any cgroup.
"""

import json
import secrets
import signal
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from e2e import leftovers
from e2e.cri import Cri, CriFailed
from e2e.images import PAUSE, Images
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node
from e2e.podspec import sandbox_config
from e2e.process import CommandFailed, Daemon
from e2e.servingpod import ServingPod

LONGEST_SOCKET = 107
"""sun_path of unix(7), without its closing zero."""
_AT_ONCE = 8
_GIVE_UP_S = 40

_CONFIG = """\
version = 2
root = {root}
state = {state}
[grpc]
  address = {socket}
[plugins."io.containerd.internal.v1.opt"]
  path = {opt}
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = {pause}
  # Without CAP_SYS_RESOURCE nobody may lower an oom_score_adj.
  restrict_oom_score_adj = true
  # Not the machine's own /run/netns.
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = {bin_dir}
    conf_dir = {conf_dir}
  [plugins."io.containerd.grpc.v1.cri".containerd]
    # A file system of any kind below the lab will do; overlayfs would not lie on another overlayfs.
    snapshotter = "native"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      Root = {runc}
"""


def on_node(lab: Lab, node: Node, images: Images) -> "Containerd":
    """A containerd beside the node's agent, known to the lab and started."""
    place, bin_dir = node.work / "c", node.runtime.bin_dir
    runtime = Containerd(
        node.namespace, place, node.conf_dir, bin_dir, cgroup=lab.cgroup, node=node.name
    )
    lab.clients.append(runtime)
    runtime.start(images)
    lab.record()
    return runtime


class Containerd:
    """Start, kill and start it again; pods live on in between, as on any node.

    ``bin_dir`` must hold Debian's ``loopback`` too: go-cni runs it for every pod.
    """

    def __init__(
        self,
        namespace: Namespace,
        work: Path,
        conf_dir: Path,
        bin_dir: Path,
        *,
        cgroup: str,
        node: str = "",
    ) -> None:
        self.namespace, self.work, self.cgroup, self.node = namespace, work, cgroup, node
        self.conf_dir, self.bin_dir = conf_dir, bin_dir
        self.socket, self.log = work / "s", work / "containerd.log"
        self._daemon: Daemon | None = None
        self._cri: Cri | None = None
        self._imported = False
        if len(f"{self.socket}.ttrpc") > LONGEST_SOCKET:
            raise ValueError(f"{self.socket} is too long for a unix socket: set a shorter TMPDIR")
        work.mkdir(parents=True, exist_ok=True)
        self._write_config()

    def _write_config(self) -> None:
        paths = {
            "socket": self.socket,
            "pause": PAUSE,
            "bin_dir": self.bin_dir,
            "conf_dir": self.conf_dir,
            **{name: self.work / name for name in ("root", "state", "opt", "runc")},
        }
        quoted = {key: json.dumps(str(value)) for key, value in paths.items()}
        (self.work / "config.toml").write_text(_CONFIG.format(**quoted))

    # --- the process ------------------------------------------------------------------------------

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._daemon.pid if self._daemon else None

    def start(self, images: Images) -> None:
        """Returns once it answers and has the images."""
        words: list[str | Path] = ["containerd", "-c", self.work / "config.toml"]
        self._daemon = Daemon("containerd", self.namespace.inside(words), self.log)
        self._cri = Cri(self.socket)
        deadline = time.monotonic() + _GIVE_UP_S
        while not self._answers():
            if not self._daemon.alive or time.monotonic() > deadline:
                raise CommandFailed(f"containerd does not serve: {self.log_tail()}")
            time.sleep(0.02)
        if not self._imported:
            for archive in images.archives:
                self.ctr("images", "import", "--snapshotter", "native", str(archive))
            self._imported = True

    def _answers(self) -> bool:
        try:
            self.cri.call("Status", timeout_s=1)
        except CriFailed:
            return False
        return True

    def kill(self) -> None:
        """SIGKILL; shims and containers live on."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM; shims and containers live on."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._cri is not None:
            self._cri.close()
            self._cri = None
        if self._daemon is not None:
            self._daemon.end(number)
            self._daemon = None

    def close(self) -> None:
        """All pods, then the process; what resists is left to `leftovers.clear`."""
        if self._daemon is not None and self._daemon.alive:
            with suppress(CriFailed):
                self.remove_all()
        with suppress(CommandFailed):
            self.stop()

    def log_tail(self) -> str:
        """The end of what it said, for error messages."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""

    # --- questions and calls ----------------------------------------------------------------------

    @property
    def cri(self) -> Cri:
        """The connection; only while it runs."""
        if self._cri is None:
            raise CommandFailed("containerd is not running")
        return self._cri

    def ctr(self, *words: str) -> str:
        """containerd's own client, in the namespace that CRI uses."""
        program: list[str] = ["ctr", "-a", str(self.socket), "-n", "k8s.io", *words]
        return self.namespace.must(*program)

    def network(self) -> tuple[bool, str]:
        """Whether it is ready to start pods, and what it says if not."""
        status = self.cri.call("Status").status
        found = next(item for item in status.conditions if item.type == "NetworkReady")
        return bool(found.status), str(found.message)

    def wait_network(self, *, timeout_s: float = 30) -> None:
        """Until it has read a conflist."""
        deadline = time.monotonic() + timeout_s
        while not (answer := self.network())[0]:
            if time.monotonic() > deadline:
                raise CommandFailed(f"containerd has no pod network: {answer[1]}")
            time.sleep(0.02)

    def sandboxes(self) -> list[str]:
        """Ids of all pods it knows of, ready or not."""
        return [str(item.id) for item in self.cri.call("ListPodSandbox").items]

    # --- pods -------------------------------------------------------------------------------------

    def run_sandbox(self, config: Mapping[str, Any]) -> str:
        """RunPodSandbox alone; returns its id."""
        return str(self.cri.call("RunPodSandbox", config=config).pod_sandbox_id)

    def run_pod(
        self,
        name: str,
        *,
        host_ports: Mapping[int, int] | None = None,
        annotations: Mapping[str, str] | None = None,
        nameservers: Iterable[str] = (),
    ) -> ServingPod:
        """A pod with a container whose web server says the pod's name.

        Raises:
            CriFailed: containerd or a CNI plugin refused.
        """
        config = sandbox_config(
            name,
            uid=secrets.token_hex(8),
            cgroup=self.cgroup,
            host_ports=host_ports or {},
            annotations=annotations or {},
            nameservers=nameservers,
        )
        pod = ServingPod.in_sandbox(self, self.run_sandbox(config), config)
        pod.serve()
        return pod

    def address(self, sandbox: str) -> IPv4Address:
        """What kubelet would publish as the pod's address."""
        status = self.cri.call("PodSandboxStatus", pod_sandbox_id=sandbox).status
        return IPv4Address(status.network.ip)

    def netns_path(self, sandbox: str) -> Path:
        """The pod's network namespace, as CNI_NETNS names it."""
        answer = self.cri.call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        spaces = json.loads(answer.info["info"])["runtimeSpec"]["linux"]["namespaces"]
        return Path(next(item["path"] for item in spaces if item["type"] == "network"))

    def remove(self, sandbox: str) -> None:
        """Stop, then remove, as kubelet does."""
        self.cri.call("StopPodSandbox", pod_sandbox_id=sandbox)
        self.cri.call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def remove_all(self) -> None:
        """Every pod, several at once."""
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(self.remove, self.sandboxes()))

    def netns_mounts(self) -> list[Path]:
        """Pod namespaces that containerd holds on this node."""
        return [path for path in leftovers.mounts(self.work) if path.parent.name == "netns"]
