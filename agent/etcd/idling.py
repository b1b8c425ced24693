"""grpc's threads wait without looking every moment whether something has come: what comes wakes them.

A wakeup costs a core tens of microseconds on one machine and a millisecond on another; a watch waits all day.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from grpc import _common

LOOK_AGAIN_S = 30.0
SLACK_NS = 4_000_000_000
"""proc_pid_timerslack_ns(5); threads inherit it."""


def be_woken() -> bool:
    """Whoever waits for a stream's next message is woken by it, and looks by himself only every LOOK_AGAIN_S.

    grpc looks ten times a second, so that a signal handler of the main thread need not wait longer (`wait` in
    grpc/_common.py, grpc issue 19464). That was Python 2: since Python 3.2 a wait on a lock is interrupted by signals.
    All that such a wait is for is followed by ``notify_all`` (`_event_handler`, `cancel` in grpc/_channel.py).
    False: this grpc has no such limit, or it is called otherwise.
    """
    if not isinstance(getattr(_common, "MAXIMUM_WAIT_TIMEOUT", None), float | int):
        return False
    _common.MAXIMUM_WAIT_TIMEOUT = LOOK_AGAIN_S
    return True


@contextmanager
def lazily() -> Iterator[None]:
    """The timers of threads that are started within may expire late, so that several take one wakeup.

    For grpc's thread that carries a channel's events (`channel_spin`): a completion wakes it at once, but it gives up
    waiting and begins anew every 0.2 s (`_next` in grpc's completion_queue.pyx.pxi), for nothing. Not for grpc's core:
    a connection is made by timers that are due at once.
    """
    _slack(SLACK_NS)
    try:
        yield
    finally:
        _slack(0)


def _slack(nanoseconds: int) -> None:
    """Of this thread's own timers; 0: what it was started with. A kernel that does not let us costs wakeups only."""
    with suppress(OSError):
        number = os.readlink("/proc/thread-self").rpartition("/")[2]
        with open(f"/proc/{number}/timerslack_ns", "w", encoding="ascii") as file:
            file.write(str(nanoseconds))
