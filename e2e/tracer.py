"""Kills a process right before the N-th system call of one kind that its threads of one name make.

Run as a program, since a tracer is one thread for good: ``python -m e2e.tracer PID THREAD CALL N``. It says ``held``
once every such thread is traced; what these start is traced as well. strace would trace all threads of the process,
and kill it for what a thread does that looks after something by itself.
"""

import ctypes
import os
import platform
import signal
import struct
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path

from e2e.ptrace import (
    CALL_INFO,
    CONTINUE_TO_CALL,
    FOLLOW_CLONES,
    INTERRUPT,
    MARK_CALLS,
    SEIZE,
    WALL,
    ptrace,
)

CALLS = {
    "x86_64": {"sendto": 44, "symlink": 88, "unlink": 87},
    "aarch64": {"sendto": 206, "symlink": 36, "unlink": 35},  # symlinkat and unlinkat
}
"""asm/unistd.h of each machine."""

_CALL_STOP = signal.SIGTRAP | 0x80
_ENTRY = 1
_INFO = struct.Struct("=B3xIQQQ")
"""What linux/ptrace.h's ptrace_syscall_info begins with; last, at an entry, the call's number."""


def trace(pid: int, name: str, number: int, when: int) -> None:
    """Returns once the process is killed, or none of the threads is left."""
    for thread in _named(pid, name):
        ptrace(SEIZE, thread, 0, MARK_CALLS | FOLLOW_CLONES)
        ptrace(INTERRUPT, thread)
        _follow(*os.waitpid(thread, WALL))
    print("held", flush=True)
    made: Counter[int] = Counter()
    while True:
        try:
            thread, status = os.waitpid(-1, WALL)
        except ChildProcessError:
            return
        with suppress(ProcessLookupError):  # it has been killed meanwhile
            if os.WIFSTOPPED(status) and os.WSTOPSIG(status) == _CALL_STOP:
                made[thread] += _entered(thread) == number
                if made[thread] == when:
                    os.kill(pid, signal.SIGKILL)
                    return
            _follow(thread, status)


def _named(pid: int, name: str) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # another one that has just ended
            if (task / "comm").read_text().strip() == name:
                found.append(int(task.name))
    return found


def _entered(thread: int) -> int:
    """The number of the call that a thread is about to make; -1 where it comes back from one."""
    room = ctypes.create_string_buffer(88)
    ptrace(CALL_INFO, thread, len(room), ctypes.addressof(room))
    kind, _arch, _at, _stack, number = _INFO.unpack_from(room)
    return number if kind == _ENTRY else -1


def _follow(thread: int, status: int) -> None:
    """On to the next call; a signal that came for it is handed over, a stop of the tracer's own is none."""
    if not os.WIFSTOPPED(status):
        return
    ours = os.WSTOPSIG(status) == _CALL_STOP or status >> 16
    ptrace(CONTINUE_TO_CALL, thread, 0, 0 if ours else os.WSTOPSIG(status))


if __name__ == "__main__":
    trace(int(sys.argv[1]), sys.argv[2], CALLS[platform.machine()][sys.argv[3]], int(sys.argv[4]))
