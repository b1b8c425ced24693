"""The main thread sleeps until it is wanted, whoever wants it and in whichever thread the kernel delivers a signal."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.signals import Signals

pytestmark = pytest.mark.timeout(20)
HEARD = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture
def signals() -> Iterator[Signals]:
    """Heard, and given back to whoever heard them before."""
    before = {number: signal.getsignal(number) for number in HEARD}
    made = Signals()
    made.hear()
    yield made
    signal.set_wakeup_fd(-1)
    for number, handler in before.items():
        signal.signal(number, handler)


def when_asleep(act: threading.Thread) -> None:
    """Start it once the main thread sleeps."""
    state = Path(f"/proc/self/task/{os.getpid()}/stat")

    def wait() -> None:
        while state.read_text().rpartition(")")[2].split()[0] != "S":
            os.sched_yield()
        act.start()

    threading.Thread(target=wait).start()


def to_itself(number: int) -> threading.Thread:
    """A thread that gets a signal in place of the main thread."""
    return threading.Thread(
        target=lambda: signal.pthread_kill(threading.get_ident(), number), name="other"
    )


def test_a_signal_that_another_thread_gets_wakes_the_sleeper(signals: Signals) -> None:
    """The kernel chooses the thread; an operator's reload is not to wait for the next signal."""
    when_asleep(to_itself(signal.SIGHUP))
    assert signals.reload()
    when_asleep(to_itself(signal.SIGTERM))
    assert not signals.reload()


def test_of_two_signals_at_once_none_is_lost(signals: Signals) -> None:
    """A reload that is asked for while one is made is made; a stop is final."""
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.reload()
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.reload()
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGINT)
    assert not signals.reload()
    assert not signals.reload()


def test_a_thread_can_have_the_process_end(signals: Signals) -> None:
    """However often it says so: the pipe may be full."""

    def end() -> None:
        for _ in range(100_000):
            signals.stop()

    when_asleep(threading.Thread(target=end))
    assert not signals.reload()
