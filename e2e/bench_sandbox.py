"""RunPodSandbox through a real containerd, for `make bench-cni`: each side's plugin with portmap behind it.

One containerd per side, all in the node's network namespace and with all their files on the lab's tmpfs.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from e2e import debianplugins, images
from e2e.bench_sides import REFERENCE_BIN, Side
from e2e.containerd import Containerd
from e2e.images import Images
from e2e.lab import Lab
from e2e.node import Node
from e2e.podspec import sandbox_config

WARM_UP = 2


def sandbox_times(
    lab: Lab, node: Node, sides: Sequence[Side], *, rounds: int
) -> Mapping[str, list[float]]:
    """Seconds of RunPodSandbox per side's name, in turns; every sandbox is removed at once.

    Raises:
        CriFailed: a sandbox was refused.
    """
    built = images.build(lab.work / "images")
    runtimes = {side.name: _runtime(lab, node, side, built) for side in sides}
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    for number in range(-WARM_UP, rounds):
        order = list(runtimes.items())
        for name, runtime in order if number % 2 else reversed(order):
            taken = _one(runtime, f"pod{number}")
            if number >= 0:
                times[name].append(taken)
    for runtime in runtimes.values():
        runtime.close()
    return times


def _one(runtime: Containerd, name: str) -> float:
    config = sandbox_config(
        name, uid=secrets.token_hex(8), cgroup=runtime.cgroup, host_ports={}, annotations={}
    )
    begun = time.perf_counter()
    sandbox = runtime.run_sandbox(config)
    taken = time.perf_counter() - begun
    runtime.remove(sandbox)
    return taken


def _runtime(lab: Lab, node: Node, side: Side, built: Images) -> Containerd:
    """A containerd whose only network is the side's chain."""
    work = node.work / f"c-{side.name.replace('/', '-')}"
    conf_dir, bin_dir = work / "net.d", side.program.parent
    conf_dir.mkdir(parents=True)
    if bin_dir != REFERENCE_BIN:
        with suppress(FileExistsError):
            debianplugins.link(bin_dir, "loopback", "portmap")
    own = {key: value for key, value in side.config.items() if key not in ("cniVersion", "name")}
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    chain = {
        "cniVersion": side.config["cniVersion"],
        "name": side.config["name"],
        "plugins": [own, portmap],
    }
    (conf_dir / "10-side.conflist").write_text(json.dumps(chain))
    runtime = Containerd(node.namespace, work, conf_dir, bin_dir, cgroup=lab.cgroup)
    lab.clients.append(runtime)
    runtime.start(built)
    lab.record()
    runtime.wait_network()
    return runtime
