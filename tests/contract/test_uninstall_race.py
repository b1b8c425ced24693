"""overlayctl uninstall and what comes meanwhile: a pod after it was asked whether there are any, another uninstall."""

import argparse
import os
from pathlib import Path

import pytest

from agent import config
from agent.ctl.uninstall import look, verb
from agent.sole import alone
from overlay.errors import Fatal
from overlay.netlink.namespace import run_inside
from tests.contract.cni_node import Node

pytestmark = pytest.mark.contract


def _flags(node: Node, tmp_path: Path) -> argparse.Namespace:
    """With settings whose directories are all the test's own."""
    file = tmp_path / "agent.toml"
    places = {"run_dir": node.run_dir} | {
        key: tmp_path / key for key in ("state_dir", "cni_conf_dir", "cni_bin_dir")
    }
    file.write_text("".join(f'{key} = "{path}"\n' for key, path in places.items()))
    return argparse.Namespace(config=str(file), instance=None, force=False, purge=False)


def test_a_pod_that_came_meanwhile_keeps_its_network(node: Node, pod: Path, tmp_path: Path) -> None:
    """It is a refusal like any other, only later: without --force nobody's pod is detached."""
    flags = _flags(node, tmp_path)
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


def test_what_a_killed_writer_left_in_the_runtimes_directories_is_seen(
    node: Node, tmp_path: Path
) -> None:
    """A temporary file of our conflist and of our executable; those of others are none of our business."""
    settings = config.load(_flags(node, tmp_path), {})
    conf_dir, bin_dir = settings.cni_conf_dir, settings.cni_bin_dir
    ours = {
        conf_dir / ".10-overlay.conflist.0123456789ab.tmp",
        bin_dir / ".overlay.ba9876543210.tmp",
    }
    others = {
        *(
            conf_dir / f".{name}.0123456789ab.tmp"
            for name in ("10-overlay.conflist.d", "10-other.conf")
        ),
        *(bin_dir / name for name in (".overlay.tmp", ".overlay-x.0123456789ab.tmp", "overlayfs")),
    }
    for path in (*ours, *others):
        path.parent.mkdir(exist_ok=True)
        path.touch()

    found = run_inside(node.space, lambda: look.facts(settings, purge=False, etcd=False))

    assert ours <= {*found.inside}
    assert not others & {*found.inside, *found.unknown}


def test_one_at_a_time_lays_down_or_takes_away(space: Path) -> None:
    """The second one says who is at work and what to do; once that one has ended it is free."""

    def second() -> None:
        with alone("install"):
            raise AssertionError("both are at work")

    def race() -> None:
        with alone("uninstall"), pytest.raises(Fatal, match=f"at work .*pid {os.getpid()}") as said:
            second()
        assert said.value.hint == "when that one has ended: overlayctl install"
        with alone("uninstall"):
            pass

    run_inside(space, race)
