"""notify: what systemd hears, and silence where there is no systemd."""

import socket
from pathlib import Path

import pytest

from agent.notify import Notifier


def test_each_message_arrives_as_systemd_reads_it(tmp_path: Path) -> None:
    """sd_notify(3): one datagram each; a status is one line."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(1)
        notifier = Notifier(str(path))
        notifier.ready()
        notifier.status("in sync\nWATCHDOG=trigger")
        notifier.watchdog()
        notifier.stopping()
        notifier.status("in sync")  # by a thread that has not ended yet

        heard = [manager.recv(4096) for _ in range(4)]
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            manager.recv(4096)

    assert heard[:3] == [b"READY=1", b"STATUS=in sync", b"WATCHDOG=1"]
    assert heard[3] == b"STOPPING=1\nSTATUS=stopped: traffic, lease and pods stay as they are"


def test_a_reload_makes_no_node_ready(tmp_path: Path) -> None:
    """READY after RELOADING ends it; before the first READY nothing is said of either."""
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(path))
        manager.settimeout(1)
        notifier = Notifier(str(path))
        for act in (notifier.reloading, notifier.reloaded, notifier.ready):
            act()
        notifier.reloading()
        notifier.reloaded()

        heard = [manager.recv(4096) for _ in range(3)]

    assert (heard[0], heard[2]) == (b"READY=1", b"READY=1")
    assert heard[1].startswith(b"RELOADING=1\nMONOTONIC_USEC=")


def test_without_a_manager_nothing_happens(tmp_path: Path) -> None:
    """Started by hand, or the manager's socket is gone."""
    Notifier("").ready()
    Notifier(str(tmp_path / "gone")).ready()
