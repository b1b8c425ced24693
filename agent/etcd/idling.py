"""grpc's threads wait without looking every moment whether something has come: what comes wakes them.

A wakeup costs a core tens of microseconds on one machine and a millisecond on another; a watch waits all day.
"""

import ctypes

from grpc import _common
from grpc._cython import cygrpc

LOOK_AGAIN_S = 30.0
GRPCS_MS = 200
_PERIOD, _TYPE = "g_interrupt_check_period_ms", b"int"
_address_in = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


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


def sleep_on() -> bool:
    """The thread that carries a channel's events looks by itself only every LOOK_AGAIN_S; for a process whose main
    thread makes no calls.

    grpc's core wakes it for each event, the end of the channel included. grpc's Python has it look five times a second
    all the same, for the sake of signals, which Python hands out in the main thread alone (`_next` in
    grpc/_cython/_cygrpc/completion_queue.pyx.pxi): a call that is made there, with its deadline, would hold up a
    signal's handler until it ends. The number is one of C; Cython shows it to other modules of C, with its type.
    False: this grpc has no such number, or another one than GRPCS_MS, which may mean something else.
    """
    capsule = getattr(cygrpc, "__pyx_capi__", {}).get(_PERIOD)
    if capsule is None:
        return False
    try:
        number = ctypes.c_int.from_address(_address_in(capsule, _TYPE))
    except ValueError:  # it has another type
        return False
    wanted = round(LOOK_AGAIN_S * 1000)
    if number.value not in (GRPCS_MS, wanted):
        return False
    number.value = wanted
    return True
