"""How the C library keeps the process's memory: in one arena, and what is big is given back when it is freed.

glibc gives every thread that allocates an arena of its own, and what one thread freed is no use to the others. With
5,000 peers the agent's dozen threads held 10 MB that way. They take turns at the interpreter anyway, so that nobody
waits for the one arena.

A block of more than 128 KiB has a mapping of its own, until the first one that is freed moves glibc to raise that
limit, up to 32 MiB (mallopt(3)). From then on a table that has grown leaves a hole of its former size. So the
limits are fixed.
"""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""malloc.h"""
MAPPED_BYTES = 512 << 10
"""More than what is received into at a time (256 KiB): else every netlink message would cost a mapping."""
SPARE_BYTES = 1 << 20
"""So much may stay free at the end of the arena, for what is received next."""


def share() -> None:
    """Before the first thread starts; does nothing where the C library has no mallopt(3)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, MAPPED_BYTES)
        mallopt(_M_TRIM_THRESHOLD, SPARE_BYTES)
