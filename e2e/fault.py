"""A daemon of a lab that is tampered with from outside: its N-th system call of one kind, or one of its threads."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from e2e.node import wait_for
from e2e.process import CommandFailed
from e2e.ptrace import DETACH, INTERRUPT, SEIZE, WALL, ptrace


@contextmanager
def tampered(pid: int, fault: str) -> Iterator[None]:
    """Within the block a fault such as ``sendto:delay_enter=500000``; counts are each thread's own, any thread's."""
    call = fault.partition(":")[0]
    with tempfile.NamedTemporaryFile(prefix="overlay-strace-") as log:
        words = ["strace", "-f", "-qq", "-o", log.name, "-e", f"trace={call}"]
        words += ["-e", f"inject={fault}", "-p", str(pid)]
        strace = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: _held(pid, strace), f"strace holds {pid}", timeout_s=30)
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            try:
                strace.wait(10)
            except subprocess.TimeoutExpired:
                strace.kill()
                strace.wait(10)


@contextmanager
def killed_at(pid: int, thread: str, call: str, when: int) -> Iterator[None]:
    """Within the block the process is killed right before one of its threads of that name makes its N-th such call."""
    words = [sys.executable, "-m", "e2e.tracer", str(pid), thread, call, str(when)]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as tracer:
        assert tracer.stdout is not None
        try:
            if tracer.stdout.readline() != b"held\n":
                raise CommandFailed(f"{' '.join(words)} ended with {tracer.wait()}")
            yield
        finally:
            tracer.kill()


@contextmanager
def halted(thread: int) -> Iterator[None]:
    """Within the block that one thread of a process stands still, whatever it was doing; the others run."""
    ptrace(SEIZE, thread)
    try:
        ptrace(INTERRUPT, thread)
        os.waitpid(thread, WALL)
        yield
    finally:
        with suppress(OSError):  # it is gone
            ptrace(DETACH, thread)
        with suppress(ChildProcessError):
            os.waitpid(thread, WALL | os.WNOHANG)


def lives(pid: int) -> bool:
    """False for a zombie as well."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _held(pid: int, strace: subprocess.Popen[bytes]) -> bool:
    """Whether every thread of a process has a tracer."""
    if strace.poll() is not None:
        raise CommandFailed(f"strace of {pid} ended with {strace.returncode}")
    tasks = Path(f"/proc/{pid}/task")
    try:
        return all(
            "TracerPid:\t0\n" not in (tasks / name / "status").read_text()
            for name in os.listdir(tasks)
        )
    except OSError:  # a thread that has just ended
        return False
