"""One memory arena for the whole process.

glibc gives every thread that allocates an arena of its own, and what one thread freed is no use to the others. With
5,000 peers the agent's dozen threads held 10 MB that way. They take turns at the interpreter anyway, so that nobody
waits for the one arena.
"""

import ctypes

_M_ARENA_MAX = -8
"""malloc.h"""


def share() -> None:
    """Before the first thread starts; does nothing where the C library has no mallopt(3)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
