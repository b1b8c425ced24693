"""What the agent costs while nothing happens, and how much memory it holds: the kernel's own figures."""

import time
from dataclasses import dataclass
from pathlib import Path

from e2e.node import Node


@dataclass(frozen=True, slots=True)
class Idle:
    """CPU as a share of one core in percent; of how many full comparisons."""

    cpu_pct: float
    seconds: float
    rss_mb: float
    peak_mb: float
    plan_s: float


def cpu_s(pid: int | None) -> float:
    """CPU seconds that the living threads of a process have used, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(path.read_text().split()[0]) for path in tasks) / 1e9


def rss_mb(pid: int | None, line: str = "VmRSS") -> float:
    """Resident memory in MB; ``VmHWM``: the most there was."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{line}:")[2].split()[0]) * 1024 / 1e6


def idle(node: Node, seconds: float) -> Idle:
    """Nothing happens for so long; the agent compares the whole kernel now and then, as always."""
    before, begun = cpu_s(node.pid), time.monotonic()
    time.sleep(seconds)
    used, passed = cpu_s(node.pid) - before, time.monotonic() - begun
    rss, peak = rss_mb(node.pid), rss_mb(node.pid, "VmHWM")
    return Idle(100 * used / passed, passed, rss, peak, whole_comparison(node))


def whole_comparison(node: Node) -> float:
    """Seconds of one full read and plan with nothing to do, by overlayctl's own question."""
    begun = time.monotonic()
    steps = node.tell("plan")["steps"]
    assert not steps, steps[:3]
    return time.monotonic() - begun
