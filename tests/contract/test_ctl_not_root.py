"""overlayctl of a user who may not open the agent's socket: nothing is guessed, and nothing done behind the agent."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl import main as overlayctl
from agent.ctl import network, status
from agent.registry import Registry
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, take

pytestmark = pytest.mark.contract

NOBODY = 65534
assert network
assert status  # imported while their files may be read


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    """With the socket of an agent that runs, and that is root's."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "cni.sock"))
        door.listen()
        (tmp_path / "cni.sock").chmod(0o600)
        yield tmp_path


@pytest.mark.parametrize("words", [("status",), ("leave", "--force")])
def test_who_may_not_ask_is_told_so(
    run_dir: Path,
    registry: Registry,
    etcd_server: Server,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
) -> None:
    """It is not said that the node is down, and its lease stays."""
    held = take(registry, 1, net=NETWORK)
    where = ["--etcd-endpoints", etcd_server.url, "--etcd-prefix", registry.prefix]
    who = ["--machine-id", held.machine_id, "--node-name", held.node, "--run-dir", str(run_dir)]
    os.seteuid(NOBODY)
    try:
        code = overlayctl.main([*words, *where, *who])
    finally:
        os.seteuid(0)
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert "this user may not ask the agent" in said.err
    assert "next: run it as root" in said.err
    assert held.key in registry.snapshot().leases
