"""Doing one thing inside another network namespace, in a thread that enters it and ends there.

setns(2) moves the calling thread only. A thread of its own cannot leave anybody behind in the wrong
namespace, whatever fails; what it opened (a socket) stays in the namespace it was opened in.
"""

import ctypes
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from overlay.errors import KernelRefused

Result = TypeVar("Result")

_CLONE_NEWNET = 0x40000000
"""linux/sched.h."""
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns exists from Python 3.12 on only


def run_inside(namespace: Path | str | int, work: Callable[[], Result]) -> Result:
    """Run ``work`` in a network namespace, given its path or an open descriptor of it.

    Raises KernelRefused if the namespace cannot be entered, and whatever ``work`` raises.
    """
    results: list[Result] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            _enter(namespace)
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body, name="inside-netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def _enter(namespace: Path | str | int) -> None:
    try:
        if isinstance(namespace, int):
            _setns(namespace)
        else:
            with open(namespace, "rb", buffering=0) as handle:
                _setns(handle.fileno())
    except OSError as error:
        raise KernelRefused(
            f"cannot enter network namespace {namespace}: {error.strerror}",
            errno=error.errno or errno.EIO,
            hint="ip netns list",
        ) from error


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
