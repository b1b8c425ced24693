"""Data planes on a real kernel, brought to rest."""

from collections.abc import Hashable, Mapping
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.model import KernelObject
from overlay.netlink.namespace import run_inside
from overlay.plan import plan


def settle(host: Path, node: Dataplane, want: Mapping[Hashable, KernelObject]) -> None:
    """Plan and apply until the kernel is as wanted; /proc/sys is that of the thread, hence inside."""

    def body() -> None:
        for _ in range(4):
            steps = plan(want, node.read(want))
            if not steps:
                return
            assert [error for error in node.apply(steps) if error] == []
        pytest.fail("never settled")

    run_inside(host, body)
