"""A daemon of a lab whose N-th system call of one kind is tampered with, by strace(1) from outside."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.node import wait_for


@contextmanager
def tampered(pid: int, fault: str) -> Iterator[None]:
    """Within the block a fault such as ``rename:signal=KILL:when=2`` or ``sendto:delay_enter=500000``.

    The counts are each thread's own: a request that is served by a thread of its own starts at nothing.
    """
    call = fault.partition(":")[0]
    with tempfile.NamedTemporaryFile(prefix="overlay-strace-") as log:
        words = ["strace", "-f", "-qq", "-o", log.name, "-e", f"trace={call}"]
        words += ["-e", f"inject={fault}", "-p", str(pid)]
        strace = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            wait_for(lambda: _traced(pid), f"strace holds {pid}", timeout_s=10)
            yield
        finally:
            strace.send_signal(signal.SIGINT)
            try:
                strace.wait(10)
            except subprocess.TimeoutExpired:
                strace.kill()
                strace.wait(10)


def _traced(pid: int) -> bool:
    """Whether every thread of a process has a tracer."""
    tasks = Path(f"/proc/{pid}/task")
    return all(
        "TracerPid:\t0\n" not in (tasks / name / "status").read_text() for name in os.listdir(tasks)
    )
