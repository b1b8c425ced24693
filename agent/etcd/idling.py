"""grpc's threads wait without looking every moment whether something has come: what comes wakes them.

A wakeup costs a core tens of microseconds on one machine and a millisecond on another; a watch waits all day.
"""

from grpc import _common

LOOK_AGAIN_S = 30.0


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
