"""A program that has the tunnel's UDP port is named by a command that shows it; the kernel only says "in use"."""

import os
import socket
from contextlib import closing
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.netlink.namespace import run_inside
from overlay.plan import plan
from tests.contract.planes import settle
from tests.contract.spaces import inside, ip
from tests.contract.test_dataplane_kernel import wanted

pytestmark = pytest.mark.contract


def test_a_program_that_has_the_tunnels_port_is_named(space: Path, tmp_path: Path) -> None:
    """And once it has ended, the tunnel comes up."""
    ip(space, "link", "add", "eth0", "up", "type", "veth", "peer", "name", "far0")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")
    want = wanted()

    def blocked() -> Dataplane:
        dataplane = Dataplane(tmp_path)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
            program.bind(("0.0.0.0", 8472))
            errors = dataplane.apply(plan(want, dataplane.read(want)))
            first = next(error for error in errors if error)
            assert str(first) == "overlay.1 cannot be brought up: somebody else has UDP port 8472"
            command = first.hint.removeprefix("look: ").partition(";")[0]
            assert f"pid={os.getpid()}" in inside(space, *command.split())
        return dataplane

    with closing(run_inside(space, blocked)) as dataplane:
        settle(space, dataplane, want)
    assert "UP" in ip(space, "link", "show", "overlay.1")
