"""A pipe or a device where a file is looked for: nobody waits for it, and it stays what it is."""

import os
from pathlib import Path

import pytest

from agent import pages, sources
from agent.ctl.doctor.look import read_text
from agent.ctl.install import running
from overlay.errors import BadConfig
from overlay.nodefile import write_atomic

pytestmark = pytest.mark.timeout(10)


@pytest.fixture
def pipe(tmp_path: Path) -> Path:
    """Named as a configuration that sorts before ours; nobody has its other end."""
    path = tmp_path / "05-x.conf"
    os.mkfifo(path)
    return path


def test_a_pipe_among_the_configurations_holds_nobody_up(pipe: Path) -> None:
    """Neither the agent, which looks at what comes before its own, nor doctor."""
    (said,) = pages.rivals(pipe.parent)
    assert "05-x.conf sorts before" in said
    assert read_text(pipe) is None


def test_a_pipe_in_place_of_the_settings_file_is_an_error(pipe: Path) -> None:
    """Of the one that is always looked for; one that is named may be a shell's <(…)."""
    with pytest.raises(BadConfig, match="neither a file"):
        sources.from_file(pipe, set(), required=False)


def test_a_link_to_nowhere_in_its_place_is_no_absent_file(tmp_path: Path) -> None:
    """The agent would run with the default settings, and another etcd."""
    link = tmp_path / "agent.toml"
    link.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BadConfig, match="nowhere, which does not exist"):
        sources.from_file(link, set(), required=False)


def test_a_backup_that_is_put_back_is_newer_than_what_runs(tmp_path: Path) -> None:
    """Its times are those of before; the inode's is not. Nor does a link hide what it leads to."""
    saved, link = tmp_path / "saved", tmp_path / "agent.toml"
    saved.write_text("")
    link.symlink_to(saved)
    for path in (saved, link):
        os.utime(path, (1, 1), follow_symlinks=False)
    assert running.stale(os.getpid(), [link]) == f"{link} is newer than what runs"


def test_what_is_no_file_is_not_written_over(pipe: Path) -> None:
    """``doctor --bundle /dev/null`` must not make a file of it."""
    with pytest.raises(OSError, match="no file"):
        write_atomic(pipe, b"x")
    assert pipe.is_fifo()
    assert [it.name for it in pipe.parent.iterdir()] == [pipe.name]
