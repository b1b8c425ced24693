"""Pages: written in order and by rename where runtimes look, kept, withdrawn on order only; and rivals are named."""

import argparse
import ctypes
import json
import os
import struct
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import FrameType

import pytest

from agent import config
from agent.pages import Pages, rivals
from overlay.desired import Me
from overlay.errors import NotReady
from overlay.marks import Marks
from overlay.nodefile import CONFLIST_NAME, NodePage, read_page
from tests.examples import ME, NETWORK

_LIBC = ctypes.CDLL(None, use_errno=True)
_EVENT = struct.Struct("iIII")
_CREATE, _FROM, _TO, _DELETE = 0x100, 0x40, 0x80, 0x200  # linux/inotify.h
READ_BY_RUNTIMES = (".conf", ".conflist", ".json")


def _settings(home: Path) -> config.Config:
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    words = {
        "--node-name": "n1",
        "--machine-id": "0" * 32,
        "--run-dir": home / "run",
        "--state-dir": home / "state",
        "--cni-conf-dir": home / "net.d",
        "--cni-bin-dir": home / "bin",
    }
    flags = [str(word) for pair in words.items() for word in pair]
    return config.load(parser.parse_args(flags), {})


class Watched:
    """inotify(7) on directories: what a runtime would hear of."""

    def __init__(self, *directories: Path) -> None:
        self._fd = _LIBC.inotify_init1(os.O_NONBLOCK)
        self._names = {
            _LIBC.inotify_add_watch(
                self._fd, os.fsencode(item), _CREATE | _FROM | _TO | _DELETE
            ): item
            for item in directories
        }

    def events(self) -> list[tuple[str, int, str]]:
        """(directory, what, file name) since the last time."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            watch, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0").decode()
            found.append((self._names[watch].name, mask, name))
            at += _EVENT.size + length
        return found

    def close(self) -> None:
        """End it."""
        os.close(self._fd)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With the directories that the agent writes to, and portmap installed."""
    for name in ("run", "net.d", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "portmap").touch()
    return tmp_path


@pytest.fixture
def watched(home: Path) -> Iterator[Watched]:
    """Both of them."""
    made = Watched(home / "run", home / "net.d")
    yield made
    made.close()


@pytest.mark.row("R2", "R4")
def test_the_conflist_comes_last_and_by_rename_in_its_directory(
    home: Path, watched: Watched
) -> None:
    """containerd hears only of a rename within it; the name before is one that no runtime reads."""
    assert Pages(_settings(home)).publish(NETWORK, ME)
    moves = [event for event in watched.events() if event[1] in (_FROM, _TO)]
    last, before = moves[-1], moves[-2]
    assert [item[:2] for item in (before, last)] == [("net.d", _FROM), ("net.d", _TO)]
    assert last[2] == CONFLIST_NAME
    assert not before[2].endswith(READ_BY_RUNTIMES)
    pages = [name for room, mask, name in moves if (room, mask) == ("run", _TO)]
    assert set(pages) == {"node.json", "subnet.env"}
    assert len(moves) == 6


@pytest.mark.row("R2")
def test_a_steady_state_writes_nothing(home: Path, watched: Watched) -> None:
    """A write makes runtimes reload; a change writes once more, by rename as well."""
    pages = Pages(_settings(home))
    pages.publish(NETWORK, ME)
    watched.events()
    assert not pages.publish(NETWORK, ME)
    assert pages.keep() == ""
    assert watched.events() == []
    assert pages.publish(NETWORK, replace(ME, bridge="cni0"))
    assert ("run", _TO, "node.json") in watched.events()


def test_a_round_after_which_nothing_is_another_makes_no_page(home: Path) -> None:
    """It is asked after each round of the loop; other settings, another node, or pages withdrawn are made anew."""
    settings = _settings(home)
    pages, made = Pages(settings), 0

    def count(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal made
        made += event == "call" and frame.f_code is NodePage.__init__.__code__

    def published(me: Me = ME) -> tuple[bool, bool]:
        nonlocal made
        made = 0
        sys.setprofile(count)
        try:
            return pages.publish(NETWORK, me), made > 0
        finally:
            sys.setprofile(None)

    assert published() == (True, True)
    assert published() == (False, False)
    assert published(replace(ME)) == (False, True)
    pages.follow(replace(settings, node_name="n2"))
    assert published() == (True, True)
    pages.withdraw(conflist=True)
    assert published() == (True, True)


@pytest.mark.row("R7")
def test_the_conflist_suits_old_and_new_libcni(home: Path) -> None:
    """Old ones read cniVersion only, new ones take the highest; a plugin that is missing is not named."""
    Pages(_settings(home)).publish(NETWORK, ME)
    found = json.loads((home / "net.d" / CONFLIST_NAME).read_text())
    assert (found["cniVersion"], found["cniVersions"]) == ("1.0.0", ["0.4.0", "1.0.0", "1.1.0"])
    assert [item["type"] for item in found["plugins"]] == ["overlay", "portmap"]


@pytest.mark.row("R3")
@pytest.mark.parametrize("spoil", ["conflist", "directory", "changed", "page"])
def test_what_somebody_took_or_changed_is_written_again(home: Path, spoil: str) -> None:
    """And named, for the log."""
    pages = Pages(_settings(home))
    pages.publish(NETWORK, ME)
    path = home / "net.d" / CONFLIST_NAME
    before = path.read_bytes()
    match spoil:
        case "changed":
            path.write_text("{}")
        case "page":
            (home / "run" / "node.json").write_text("{")
        case _:
            path.unlink()
    if spoil == "directory":
        path.parent.rmdir()
    assert pages.keep() == ("node.json" if spoil == "page" else str(path))
    assert (path.read_bytes(), pages.keep()) == (before, "")


@pytest.mark.row("R4")
@pytest.mark.parametrize("conflist", [True, False])
def test_withdrawing_keeps_the_conflist_unless_told_otherwise(
    home: Path, watched: Watched, conflist: bool
) -> None:
    """Without it a runtime cannot even take pods down; when it goes, it goes first."""
    pages = Pages(_settings(home))
    pages.publish(NETWORK, ME)
    watched.events()
    pages.withdraw(conflist=conflist)
    gone = [name for _, mask, name in watched.events() if mask == _DELETE]
    assert gone == ([CONFLIST_NAME] if conflist else []) + ["node.json", "subnet.env"]
    assert pages.keep() == ""
    assert pages.publish(NETWORK, ME)


@pytest.mark.parametrize("stuck", ["net.d/10-overlay.conflist", "run/node.json"])
def test_what_cannot_be_taken_away_keeps_no_other_page(home: Path, stuck: str) -> None:
    """With a page of a lost subnet the plugin would go on giving its addresses; and the loop that asks must live."""
    pages = Pages(_settings(home))
    pages.publish(NETWORK, ME)
    (home / stuck).unlink()
    (
        home / stuck
    ).mkdir()  # unlink(2) refuses it, root's as well, as it does on a disk that is read-only
    pages.withdraw(conflist=True)
    left = [path for room in ("run", "net.d") for path in (home / room).iterdir()]
    assert left == [home / stuck]
    with pytest.raises(NotReady):
        read_page(home / "run")


@pytest.mark.row("R1")
def test_what_sorts_before_ours_is_named(tmp_path: Path) -> None:
    """Runtimes take the first; only one that cannot be read fails containerd altogether."""
    for name, text in {
        "00-broken.conflist": "{",
        "05-list.json": "[]",
        "10-flannel.conflist": '{"name":"x"}',
        "10-calico.conf.tmp": "{",
        "99-loopback.conf": "{}",
        CONFLIST_NAME: "{}",
    }.items():
        (tmp_path / name).write_text(text)
    said = rivals(tmp_path)
    assert [sentence.split(" ")[0] for sentence in said] == [
        str(tmp_path / name)
        for name in ("00-broken.conflist", "05-list.json", "10-flannel.conflist")
    ]
    assert ["takes none at all" in sentence for sentence in said] == [True, True, False]
    assert all("look: cat" in sentence for sentence in said)
    assert rivals(tmp_path / "absent") == []


def test_two_agents_have_a_conflist_each_and_neither_is_the_others_rival(home: Path) -> None:
    """The first one's stays what runtimes take by default; a foreign one is said to both."""
    settings = _settings(home)
    first, blue = (
        Pages(settings),
        Pages(replace(settings, instance="blue", run_dir=home / "blue")),
    )
    first.publish(NETWORK, ME)
    blue.publish(NETWORK, replace(ME, instance="blue", bridge="ovl-blue"))
    directory, theirs = home / "net.d", Marks("blue").conflist
    assert [path.name for path in sorted(directory.iterdir())] == [CONFLIST_NAME, theirs]
    body = json.loads((directory / theirs).read_text())
    assert body["name"] == "overlay-blue"
    assert body["plugins"][0] == {"type": "overlay", "runDir": str(home / "blue")}
    assert rivals(directory) == rivals(directory, theirs) == []
    (directory / "10-flannel.conflist").write_text("{}")
    assert len(rivals(directory)) == len(rivals(directory, theirs)) == 1

    blue.withdraw(conflist=True)
    assert first.keep() == ""
    assert not (directory / theirs).exists()
