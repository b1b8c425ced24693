"""One attachment, one verb at a time; others never wait."""

import threading
from pathlib import Path

import pytest

from cni import lock
from cni.owner import Owner
from cni.steps import Steps
from overlay.errors import NotReady

ONE, OTHER = Owner("overlay", "c1", "eth0"), Owner("overlay", "c2", "eth0")


def _try(run_dir: Path, owner: Owner) -> tuple[threading.Thread, threading.Event]:
    entered = threading.Event()

    def enter() -> None:
        with lock.held(run_dir, owner.place, Steps()):
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    return thread, entered


@pytest.mark.row("16")
def test_the_same_attachment_waits_and_another_does_not(tmp_path: Path) -> None:
    """Between threads of one process as well, where record locks of the old kind would not hold."""
    with lock.held(tmp_path, ONE.place, Steps()):
        waiting, mine = _try(tmp_path, ONE)
        _, others = _try(tmp_path, OTHER)
        assert others.wait(20)
        assert not mine.is_set()
    assert mine.wait(20)
    waiting.join(20)


@pytest.mark.row("R14")
def test_nobody_waits_longer_than_the_deadline(tmp_path: Path) -> None:
    """And the error names what was waited for."""
    seconds = iter(range(1000))
    with lock.held(tmp_path, ONE.place, Steps()):
        hurried = Steps(limit_s=20, clock=lambda: float(next(seconds)))
        with pytest.raises(NotReady, match="lock"), lock.held(tmp_path, ONE.place, hurried):
            pass


def test_a_sweep_does_not_wait_at_all(tmp_path: Path) -> None:
    """It comes again later."""
    with lock.held(tmp_path, ONE.place, Steps()), lock.tried(tmp_path, ONE.place) as free:
        assert not free
    with lock.tried(tmp_path, ONE.place) as free:
        assert free


def test_a_failure_inside_lets_go(tmp_path: Path) -> None:
    """The next verb is served."""
    with pytest.raises(ZeroDivisionError), lock.held(tmp_path, ONE.place, Steps()):
        raise ZeroDivisionError
    assert _try(tmp_path, ONE)[1].wait(20)


def test_a_run_directory_that_cannot_be_made_may_be_retried(tmp_path: Path) -> None:
    """Code 11 with the path."""
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(NotReady, match="run"), lock.held(tmp_path / "run", ONE.place, Steps()):
        pass
