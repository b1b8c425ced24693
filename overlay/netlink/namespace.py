"""Doing one thing inside another network namespace.

setns(2) moves the calling thread only. `run_inside` does it in a thread that enters and ends there, which
cannot leave anybody behind in the wrong namespace, whatever fails. `open_inside` is for the hot path, where
a thread would cost more than the rest: it goes in, opens something, and comes back; what it opened
(a socket) stays in the namespace it was opened in.
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

CANNOT_COME_BACK = 71
"""EX_OSERR of sysexits.h."""
_CLONE_NEWNET = 0x40000000
"""linux/sched.h."""
_LIBC = ctypes.CDLL(None, use_errno=True)  # os.setns exists from Python 3.12 on only


def run_inside(namespace: Path | str | int, work: Callable[[], Result]) -> Result:
    """Run ``work`` in a network namespace, given its path or an open descriptor of it.

    Raises KernelRefused if the namespace cannot be entered, and whatever ``work`` raises.
    """
    return _in_a_thread(lambda: _enter(namespace), work)


def _in_a_thread(go: Callable[[], None], work: Callable[[], Result]) -> Result:
    results: list[Result] = []
    failures: list[BaseException] = []

    def body() -> None:
        try:
            go()
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=body, name="inside-netns")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]


def run_alone(work: Callable[[], Result]) -> Result:
    """Run ``work`` in a network namespace that is made for it, and goes when it has returned.

    Raises KernelRefused if none can be made (it takes CAP_SYS_ADMIN), and whatever ``work`` raises.
    """
    return _in_a_thread(_leave, work)


def open_inside(namespace: Path | str | int, work: Callable[[], Result]) -> Result:
    """Run a short ``work`` in a network namespace in this very thread, and come back.

    A thread that cannot come back would configure the wrong machine from then on: the process ends.

    Raises KernelRefused if the namespace cannot be entered, and whatever ``work`` raises.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            return work()
        finally:
            try:
                _setns(home)
            except OSError:
                os._exit(CANNOT_COME_BACK)
    finally:
        os.close(home)


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


def _leave() -> None:
    if _LIBC.unshare(_CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise KernelRefused(
            f"no network namespace can be made: {os.strerror(number)}", errno=number
        )


def _setns(descriptor: int) -> None:
    if _LIBC.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
