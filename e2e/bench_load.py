"""What the agent costs while nothing happens, and how much memory it holds: the kernel's own figures.

What one wakeup costs is the machine's: on one some tens of microseconds, on a virtual one some milliseconds. So the
agent's CPU has a companion, that of a bare Python thread which does nothing but wake as often.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from e2e.node import Node
from e2e.process import conversation

BARE = """
import sys, threading, time
pause_s, until = float(sys.argv[1]), time.monotonic() + float(sys.argv[2])
waiting = threading.Condition()
print(flush=True)
with waiting:
    while time.monotonic() < until:
        waiting.wait(pause_s)
"""
BARE_S = 30.0
"""The bare one is looked at for so long at most: it does the same all the time."""
SLACK_S = 5.0
"""The bare one ends by itself, once it has been read."""


@dataclass(frozen=True, slots=True)
class Idle:
    """CPU as a share of one core in percent; of how many full comparisons; ``bare_pct`` is the companion's."""

    cpu_pct: float = 0.0
    seconds: float = 0.0
    rss_mb: float = 0.0
    peak_mb: float = 0.0
    plan_s: float = 0.0
    wakeups_s: float = 0.0
    bare_pct: float = 0.0


def cpu_s(pid: int | None) -> float:
    """CPU seconds that the living threads of a process have used, to the nanosecond."""
    return sum(int(text.split()[0]) for text in _threads(pid, "schedstat")) / 1e9


def rss_mb(pid: int | None, line: str = "VmRSS") -> float:
    """Resident memory in MB; ``VmHWM``: the most there was."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{line}:")[2].split()[0]) * 1024 / 1e6


def wakeups(pid: int | None) -> int:
    """How often the living threads of a process have gone to sleep, and so been woken: voluntary context switches."""
    return sum(
        int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
        for text in _threads(pid, "status")
    )


def _threads(pid: int | None, name: str) -> Iterator[str]:
    """A file of each; one that ends meanwhile has none."""
    for path in Path(f"/proc/{pid}/task").glob(f"*/{name}"):
        with suppress(OSError):
            yield path.read_text()


def resting(pid: int | None, seconds: float) -> tuple[float, float, float]:
    """CPU in percent of a core and wakeups a second of a process left alone for so long; and how long that was."""
    before, woken, begun = cpu_s(pid), wakeups(pid), time.monotonic()
    time.sleep(seconds)
    used, woken, passed = cpu_s(pid) - before, wakeups(pid) - woken, time.monotonic() - begun
    return 100 * used / passed, woken / passed, passed


def bare_pct(wakeups_s: float, seconds: float) -> float:
    """CPU in percent of a core of a bare Python thread that wakes so often, for so long."""
    pause_s = 1 / wakeups_s if wakeups_s > 0 else seconds
    words = [sys.executable, "-c", BARE, f"{pause_s}", f"{seconds + SLACK_S}"]
    with conversation(words) as bare:
        assert bare.stdout is not None
        bare.stdout.readline()
        used, woken, _ = resting(bare.pid, seconds)
        bare.kill()
    return used * wakeups_s / woken if woken else used


def idle(node: Node, seconds: float) -> Idle:
    """Nothing happens for so long; the agent compares the whole kernel now and then, as always. Then the bare one."""
    used, woken, passed = resting(node.pid, seconds)
    rss, peak = rss_mb(node.pid), rss_mb(node.pid, "VmHWM")
    bare = bare_pct(woken, min(seconds, BARE_S))
    return Idle(used, passed, rss, peak, whole_comparison(node), woken, bare)


def whole_comparison(node: Node) -> float:
    """Seconds of one full read and plan with nothing to do, by overlayctl's own question."""
    begun = time.monotonic()
    steps = node.tell("plan")["steps"]
    assert not steps, steps[:3]
    return time.monotonic() - begun
