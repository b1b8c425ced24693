"""What a node needs besides kernel and etcd: each of it missing is a trouble, and gone when it is back."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.ailments import Ledger
from agent.outlook import Outlook, not_executable, not_writable
from overlay.errors import KernelBusy


class Node:
    """Directories as a node has them, and a look at them."""

    def __init__(self, home: Path, *, mend: Callable[[], str] = lambda: "") -> None:
        self.promised, self.swept, self.said = True, 0.0, ""
        self.conflist, self.program = (
            home / "net.d" / "10-overlay.conflist",
            home / "bin" / "overlay",
        )
        for place in (self.conflist, self.program):
            place.parent.mkdir()
            place.write_text("#!/bin/sh\n")
        (home / "node.json").write_text("{}")
        self.program.chmod(0o755)
        config: Any = SimpleNamespace(
            run_dir=home,
            state_dir=home,
            cni_conf_dir=self.conflist.parent,
            cni_bin_dir=self.program.parent,
            sweep_interval=60.0,
            marks=SimpleNamespace(conflist=self.conflist.name),
        )
        self.now = 0.0
        self.outlook = Outlook(
            config,
            promised=lambda: self.promised,
            mend=mend,
            swept_s_ago=lambda: self.swept,
            said={"last-good copy": lambda: self.said},
            clock=lambda: self.now,
        )

    def found(self) -> dict[str, str]:
        """Of this very moment; the threads of a whole agent are not here."""
        self.outlook.look()
        found = dict(self.outlook.trouble())
        assert "sweep, deadlines, history ended" in found.pop("threads")
        return found


def test_a_node_with_all_it_needs_has_no_trouble(tmp_path: Path) -> None:
    """And one that promised nothing yet needs none of it."""
    node = Node(tmp_path)
    assert not node.found()
    node.promised = False
    node.conflist.unlink()
    node.program.unlink()
    assert not node.found()


def test_a_lost_conflist_is_written_again_or_told_with_the_reason(tmp_path: Path) -> None:
    """Runtimes start no pod without it."""

    def fails() -> str:
        raise KernelBusy("no space left on device")

    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    node = Node(tmp_path / "a", mend=fails)
    node.conflist.unlink()
    assert "no space left on device" in node.found()["conflist"]
    asked: list[int] = []

    def works() -> str:
        asked.append(1)
        return "conflist"

    well = Node(tmp_path / "b", mend=works)
    well.conflist.unlink()
    assert not well.found()
    assert asked


def test_an_executable_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    """Missing, without its bit, or no file; and no more once it is mended."""
    node = Node(tmp_path)
    node.program.chmod(0o644)
    assert "is not executable" in node.found()["CNI executable"]
    node.program.unlink()
    assert "is missing" in node.found()["CNI executable"]
    node.program.mkdir()
    assert "is no file" in node.found()["CNI executable"]
    node.program.rmdir()
    node.program.write_text("#!/bin/sh\n")
    node.program.chmod(0o755)
    assert not node.found()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"#!/gone/python -S\n", "is a script for '/gone/python', which is missing"),
        (b"#!\n", "which is missing"),
        (b"half a pro", "is neither a program nor a script"),
        (b"\x7fELF and more", ""),
    ],
)
def test_an_executable_that_execve_would_refuse_is_named(
    tmp_path: Path, content: bytes, why: str
) -> None:
    """A full disk, or a venv that was taken away, leave the bit where it was."""
    program = tmp_path / "overlay"
    program.write_bytes(content)
    program.chmod(0o755)
    assert why in (found := not_executable(program))
    assert bool(found) is bool(why)


def test_pages_that_we_write_anew_are_no_fight(tmp_path: Path) -> None:
    """An underlay's MTU that goes and comes back within a moment: the node takes pods all the time."""
    node = Node(tmp_path, mend=lambda: "")
    assert not node.found()
    for mtu in ("1350", "1450", "1350"):
        node.conflist.write_text(f"for {mtu}, and longer each time {node.now}")
        assert not node.found()
        assert not node.outlook.barred
        node.now += 1


def test_a_page_that_others_alter_or_take_is_written_again_at_once(tmp_path: Path) -> None:
    """Each look costs two stats; what cannot be written is told until it can."""
    asked: list[int] = []
    fails: list[Exception] = []

    def mend() -> str:
        asked.append(1)
        if fails:
            raise fails[0]
        return "node.json"

    node = Node(tmp_path, mend=mend)
    assert not node.found()
    assert not node.found()
    assert len(asked) == 1, "whether they are right is asked once"
    node.conflist.write_text("another program's")
    assert not node.found()
    assert len(asked) == 2
    node.conflist.write_text("another program's, again")
    assert "again and again" in node.found()["conflist"]
    assert len(asked) == 2, "a fight is paced: each time makes runtimes read it anew"
    node.now += 20
    assert not node.found()
    assert len(asked) == 3
    (tmp_path / "node.json").unlink()
    fails.append(KernelBusy("no space left on device"))
    for _ in range(2):
        assert "node.json is gone" in (told := node.found()["conflist"])
        assert "no space left on device" in told
    fails.clear()
    assert not node.found()


def test_a_sweep_that_does_not_come_and_a_look_that_hangs_are_told(tmp_path: Path) -> None:
    """Nobody would miss them for weeks."""
    node = Node(tmp_path)
    node.swept = 500.0
    assert "500 s ago" in node.found()["sweep"]
    node.now = 100.0
    assert "not looked at for 100 s" in node.outlook.trouble()["files"]


def test_what_others_say_of_themselves_is_passed_on(tmp_path: Path) -> None:
    """Under their name, while they say it."""
    node = Node(tmp_path)
    node.said = "cannot be written"
    assert node.found() == {"last-good copy": "cannot be written"}
    node.said = ""
    assert not node.found()


@pytest.mark.parametrize("missing", ["gone/deeper", "there"])
def test_a_directory_that_will_be_made_is_no_trouble(tmp_path: Path, missing: str) -> None:
    """One whose parent is missing, too, is."""
    assert bool(not_writable(tmp_path / missing)) is ("/" in missing)
    assert not not_writable(tmp_path)
    (tmp_path / "file").write_text("")
    assert not_writable(tmp_path / "file") == "is no directory"
    assert not_executable(tmp_path / "none") == "is missing"


def test_troubles_are_as_old_as_they_are_and_the_oldest_comes_first() -> None:
    """One that ended and came again is a new one."""
    now = 1_800_000_000.0
    clock, wall = [5.0], [now]
    ledger = Ledger(lambda: wall[0], lambda: clock[0])
    ledger.note({"b": "", "c": ""})
    clock[0], wall[0] = 15.0, now + 10
    ledger.note({"b": "", "a": ""})
    assert ledger.oldest_first({"a": "", "b": "", "d": ""}) == {
        "b": now,
        "a": now + 10,
        "d": now + 10,
    }
    clock[0], wall[0] = (
        16.0,
        now - 3600,
    )  # set back an hour: what is new is the youngest nevertheless
    ledger.note({"b": "", "e": ""})
    assert list(ledger.oldest_first({"e": "", "b": ""}).items()) == [
        ("b", now - 3611),
        ("e", now - 3600),
    ]
    clock[0], wall[0] = 25.0, now + 20
    ledger.note({"c": ""})
    assert ledger.oldest_first({"c": ""}) == {"c": now + 20}
