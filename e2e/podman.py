"""podman on its CNI backend for one node: containers from a directory, in networks that a lab wrote.

No image, no registry, no default directory: configuration, storage, locks and conflists lie below one
directory of the lab. What the settings are for:

- runc, since crun refuses hybrid cgroups; ``cgroups=enabled``, since runc cannot do without;
- default_ulimits, since without CAP_SYS_RESOURCE nobody may raise his own;
- file locks, since the usual ones are one segment of shared memory for the whole machine.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from e2e.images import Images
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.process import CommandFailed, Said, run
from e2e.servingpod import HTTP_PORT, fetch_words

_ENGINE = """\
[containers]
cgroups = "enabled"
cgroupns = "host"
default_ulimits = ["nofile=1024:4096", "nproc=4096:8192"]
[engine]
cgroup_manager = "cgroupfs"
runtime = "runc"
events_logger = "file"
lock_type = "file"
[network]
network_backend = "cni"
cni_plugin_dirs = [{bin_dir}]
network_config_dir = {networks}
default_network = "none-by-default"
"""
_STORAGE = """\
[storage]
driver = "vfs"
graphroot = {root}
runroot = {run}
"""
_PATIENCE_S = 60


class Podman:
    """``networks`` are conflist names; each is our plugin, then what of Debian's is wanted."""

    pid: None = None
    """No daemon; a container's conmon is found by its arguments."""

    def __init__(self, lab: Lab, node: Node, images: Images) -> None:
        self.node, self.cgroup, self.work = node, lab.cgroup, node.work / "p"
        self.networks, self.rootfs = self.work / "net", self.work / "rootfs"
        self.networks.mkdir(parents=True)
        shutil.copytree(images.rootfs, self.rootfs, symlinks=True)
        quoted = {
            "bin_dir": json.dumps(str(node.runtime.bin_dir)),
            **{
                name: json.dumps(str(path))
                for name, path in (
                    ("networks", self.networks),
                    ("root", self.work / "root"),
                    ("run", self.work / "run"),
                )
            },
        }
        (self.work / "containers.conf").write_text(_ENGINE.format(**quoted))
        (self.work / "storage.conf").write_text(_STORAGE.format(**quoted))
        lab.clients.append(self)

    def add_network(self, name: str, *chained: Mapping[str, Any], **ours: object) -> None:
        """A conflist of that name; ``ours`` are keys of our plugin's part."""
        first = {"type": "overlay", "runDir": str(self.node.run_dir), **ours}
        page = {"cniVersion": "1.0.0", "name": name, "plugins": [first, *chained]}
        (self.networks / f"{name}.conflist").write_text(json.dumps(page))

    def say(self, *words: str | Path) -> Said:
        """Run podman, whatever its exit code."""
        options: list[str | Path] = [
            *("--root", self.work / "root", "--runroot", self.work / "run"),
            *("--storage-driver", "vfs", "--tmpdir", self.work / "run" / "libpod"),
            *("--runtime-flag", f"root={self.work / 'runc'}"),  # else /run/runc
        ]
        environ = {
            "CONTAINERS_CONF": str(self.work / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.work / "storage.conf"),
            "HOME": str(self.work),
        }
        command = self.node.namespace.inside(["podman", *options, *words])
        return run(command, environ=environ, timeout_s=_PATIENCE_S)

    def must(self, *words: str | Path) -> str:
        """Run podman; CommandFailed with what it said if it refuses."""
        said = self.say(*words)
        if said.code != 0:
            raise CommandFailed(f"podman {words[0]}: {said.err.strip()}")
        return said.out

    def run(self, name: str, *options: str, networks: Sequence[str]) -> "PodmanContainer":
        """`podman run -d` of a web server that says its name; ``networks`` as ``--network`` takes them."""
        wanted = [word for network in networks for word in ("--network", network)]
        serve = f"echo {name} >/www/index.html; exec httpd -f -p {HTTP_PORT} -h /www"
        place = ["--name", name, "--cgroup-parent", self.cgroup, "--tmpfs", "/www"]
        command = ["--rootfs", str(self.rootfs), "/bin/sh", "-c", serve]
        self.must("run", "-d", *place, *wanted, *options, *command)
        made = PodmanContainer(self, name)
        # podman waits for the shell, not for the server it starts
        wait_for(lambda: made.fetch("127.0.0.1") == name, f"{name} serves", timeout_s=20)
        return made

    def close(self) -> None:
        """Every container, however it is."""
        with suppress(CommandFailed):
            self.must("rm", "--all", "--force", "--time", "0")


class PodmanContainer:
    """One container, by name."""

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman, self.name = podman, name

    def exec(self, *words: str) -> Said:
        """Run a command in it, whatever its exit code."""
        return self.podman.say("exec", self.name, *words)

    def fetch(self, address: object, port: int = HTTP_PORT) -> str:
        """What the web server at ``address`` says to it; "" if nothing."""
        return self.exec(*fetch_words(address, port)).out.strip()

    def address(self, network: str) -> str:
        """As `podman inspect` says it."""
        return str(self._network(network)["IPAddress"])

    def mac(self, network: str) -> str:
        """As `podman inspect` says it."""
        return str(self._network(network)["MacAddress"])

    def kernel_addresses(self) -> dict[str, tuple[str, str]]:
        """Interface → MAC and IPv4 address, as the kernel says it inside."""
        path = json.loads(self.podman.must("inspect", self.name))[0]["NetworkSettings"][
            "SandboxKey"
        ]
        rows = json.loads(run(["nsenter", f"--net={path}", "ip", "-j", "-4", "addr"]).out)
        links = json.loads(run(["nsenter", f"--net={path}", "ip", "-j", "link"]).out)
        macs = {row["ifname"]: row["address"] for row in links}
        return {
            row["ifname"]: (macs[row["ifname"]], row["addr_info"][0]["local"])
            for row in rows
            if row["ifname"] != "lo"
        }

    def remove(self) -> None:
        """`podman rm --force`."""
        self.podman.must("rm", "--force", "--time", "0", self.name)

    def _network(self, network: str) -> dict[str, Any]:
        inspected = json.loads(self.podman.must("inspect", self.name))[0]
        found: dict[str, Any] = inspected["NetworkSettings"]["Networks"][network]
        return found
