"""The same cold start by flanneld, the program itself, where `make bench FLANNELD=path` gives one."""

import time
from pathlib import Path

from e2e.bench_ear import Ear
from e2e.lab import Lab
from e2e.netns import remove
from e2e.process import Daemon


def cold_start(lab: Lab, name: str, program: Path, count: int) -> float:
    """Seconds from exec to the kernel holding a route to each of ``count`` leases."""
    _, space = lab.add_machine(name)
    words = space.inside(
        [
            *(program, "-iface=eth0", f"-subnet-file={lab.work / name}.env"),
            *(f"-etcd-endpoints={lab.etcd.url}", "-ip-masq=false"),
        ]
    )
    with Ear(space, routes_only=True) as ear:
        begun = time.monotonic()
        daemon = Daemon(f"flanneld {name}", words, lab.work / f"{name}.log")
        lab.track(daemon)
        try:
            _, last = ear.wait_routes(count, timeout_s=300)
        finally:
            daemon.end()
            remove(space.name)
    return last - begun
