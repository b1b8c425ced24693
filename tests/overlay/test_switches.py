"""Switches that are looked at over and over: which files are kept open for it, and for how long."""

import os
import sys
from pathlib import Path

from overlay.dataplane.switches import Switches
from overlay.model import Sysctl


def test_only_switches_that_are_watched_are_kept_open(tmp_path: Path) -> None:
    """A bridge of another name has other files; what is closed stays closed."""
    paths = ["net/ipv4/ip_forward", "net/ipv4/other"]
    (tmp_path / "net/ipv4").mkdir(parents=True)
    for path in paths:
        (tmp_path / path).write_text("1")
    switches = Switches(tmp_path)

    def kept() -> list[str]:
        found = (os.path.realpath(it) for it in Path("/proc/self/fd").iterdir())
        return sorted(it[len(f"{tmp_path}/") :] for it in found if it.startswith(str(tmp_path)))

    for names in (paths, paths[:1], paths[1:]):
        switches.watch(Sysctl(path, "1") for path in names)
        for _ in range(2):
            assert switches.turned() == frozenset()
        assert kept() == names
    switches.close()
    assert kept() == []


def test_a_look_without_news_takes_nothing_apart(tmp_path: Path) -> None:
    """It is made twice a second all day: one call, however many switches, until one reads otherwise."""
    (tmp_path / "net").mkdir()
    wanted = [Sysctl(f"net/switch{number}", "1") for number in range(20)]
    for item in wanted:
        (tmp_path / item.path).write_text("1\n")
    switches = Switches(tmp_path)

    def look() -> tuple[frozenset[Sysctl], int]:
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            found = switches.turned()
        finally:
            sys.setprofile(None)
        return found, calls

    switches.watch(wanted)
    assert look()[0] == frozenset()
    assert look() == (frozenset(), 1)
    (tmp_path / wanted[7].path).write_text("0\n")
    assert look()[0] == {Sysctl(wanted[7].path, "0")}
    look()
    assert look() == (frozenset(), 1)  # told once
    (tmp_path / wanted[7].path).write_text("1\n")
    look()
    switches.watch([*wanted[1:], Sysctl(wanted[0].path, "2")])
    assert look()[0] == {Sysctl(wanted[0].path, "1")}
    switches.close()
