"""Switches that are looked at over and over: which files are kept open for it, and for how long."""

import os
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
