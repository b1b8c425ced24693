"""A lab whose program was killed is taken down by what it wrote down and by its marks."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from e2e import leftovers
from e2e.lab import take_down
from e2e.netns import NETNS_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

_PROGRAM = """
import sys, time
from e2e import containerd, debianplugins, images
from e2e.lab import Lab

with Lab() as lab:
    print(lab.work, flush=True)
    node = lab.add_node("n1")
    debianplugins.link(node.runtime.bin_dir, "loopback", "ptp", "host-local")
    (node.conf_dir / "10-any.conflist").write_text(
        '{"cniVersion":"1.0.0","name":"any","plugins":[{"type":"ptp","ipam":{"type":"host-local",'
        '"dataDir":"%s/ipam","subnet":"10.9.9.0/24"}}]}' % node.work
    )
    runtime = containerd.on_node(lab, node, images.build(lab.work / "images"))
    runtime.wait_network()
    print(runtime.run_pod("orphan").fetch("127.0.0.1"), flush=True)
    time.sleep(600)
"""


def test_a_killed_labs_containers_mounts_and_cgroups_go() -> None:
    """Shims and containers outlive everything else; so do their mounts, cgroups and cached results."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        work = Path(program.stdout.readline().strip())
        try:
            assert program.stdout.readline().strip() == "orphan"
        finally:
            program.send_signal(signal.SIGKILL)
            program.wait()
            shims = [Path(note.read_text().removeprefix("unix://")) for note in _shim_notes(work)]
            seen = leftovers.mounts(work), leftovers.cgroups(work), leftovers.cached_results(work)
            take_down(work)

    assert all(seen)
    assert shims
    assert not [path for path in shims if path.exists()]
    assert (leftovers.mounts(work), leftovers.cgroups(work)) == ([], [])
    assert leftovers.cached_results(work) == []
    assert not work.exists()
    assert not [path for path in NETNS_DIR.iterdir() if work.name.rpartition("-")[2] in path.name]


def _shim_notes(work: Path) -> list[Path]:
    return sorted(work.glob("*/*/state/io.containerd.runtime.v2.task/*/*/address"))
