"""overlayctl uninstall and a pod that comes after it was asked whether there are any."""

import argparse
from pathlib import Path

import pytest

from agent import config
from agent.ctl.uninstall import look, verb
from overlay.errors import Fatal
from overlay.netlink.namespace import run_inside
from tests.contract.cni_node import Node

pytestmark = pytest.mark.contract


def test_a_pod_that_came_meanwhile_keeps_its_network(node: Node, pod: Path, tmp_path: Path) -> None:
    """It is a refusal like any other, only later: without --force nobody's pod is detached."""
    file = tmp_path / "agent.toml"
    places = {"run_dir": node.run_dir} | {
        key: tmp_path / key for key in ("state_dir", "cni_conf_dir", "cni_bin_dir")
    }
    file.write_text("".join(f'{key} = "{path}"\n' for key, path in places.items()))
    flags = argparse.Namespace(config=str(file), instance=None, force=False, purge=False)
    settings = config.load(flags, {})

    def race() -> None:
        found = look.facts(settings, purge=False, etcd=False)
        assert found.pods == 0
        node.add(pod)
        verb.carry_out(flags, settings, found)

    with pytest.raises(Fatal, match="1 pods were attached while"):
        run_inside(node.space, race)

    assert len(node.links()) == 1
    assert len(node.journals()) == 1
