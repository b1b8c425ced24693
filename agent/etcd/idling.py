"""grpc's threads wait without looking every moment whether something has come: what comes wakes them.

Each thread that wakes costs a core some tenths of a millisecond, on a virtual machine some milliseconds; a watch waits
all day.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from grpc import _common

LOOK_AGAIN_S = 30.0
SLACK_NS = 4_000_000_000
_PR_SET_TIMERSLACK = 29
"""linux/prctl.h"""


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
    prctl = None
    with suppress(OSError, AttributeError):
        prctl = ctypes.CDLL(None).prctl
    if prctl is not None:
        prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(SLACK_NS), 0, 0, 0)
    try:
        yield
    finally:
        if prctl is not None:  # 0: what this thread was started with
            prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(0), 0, 0, 0)
