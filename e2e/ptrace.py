"""ptrace(2), as far as labs need it: the thread that seized another one is the only one that may ask more of it."""

import ctypes
import os

CONTINUE_TO_CALL, DETACH, SEIZE, INTERRUPT, CALL_INFO = 24, 17, 0x4206, 0x4207, 0x420E
MARK_CALLS, FOLLOW_CLONES = 1, 8
WALL = 0x40000000
"""linux/ptrace.h, wait(2)."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
_LIBC.ptrace.restype = ctypes.c_long


def ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> None:
    """Raises OSError, a ProcessLookupError where the thread is gone or runs."""
    if _LIBC.ptrace(request, thread, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace({request:#x}) of thread {thread}: {os.strerror(number)}")
