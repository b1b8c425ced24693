"""Now, on the two clocks that outlive a process: the wall's, and the one that runs since this boot.

Ages are taken on the boot's clock, which nobody sets and which runs on while the machine is suspended.
Only across a reboot is the wall clock asked, and if it stands before the moment in question it is not
believed.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
FUTURE_S = 5.0
"""So far back the wall clock may stand: clocks that are kept in step differ by less."""


@dataclass(frozen=True, slots=True)
class Moment:
    """``wall`` in seconds since 1970, ``boot`` in seconds since the boot named by ``boot_id``."""

    wall: float
    boot: float
    boot_id: str

    def earlier(self, seconds: float) -> "Moment":
        """So long before this one."""
        return Moment(self.wall - seconds, self.boot - seconds, self.boot_id)

    def age(self, now: "Moment") -> float | None:
        """Seconds from this moment to ``now``; None if the clocks cannot tell."""
        if self.boot_id and self.boot_id == now.boot_id and self.boot <= now.boot:
            return now.boot - self.boot
        passed = now.wall - self.wall
        return max(0.0, passed) if passed >= -FUTURE_S else None


def boot_clock() -> float:
    """Seconds since the boot, suspended time included; never set back."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def now() -> Moment:
    """On both clocks."""
    try:
        boot_id = BOOT_ID.read_text().strip()
    except OSError:
        boot_id = ""
    return Moment(time.time(), boot_clock(), boot_id)


def utc(wall: float) -> str:
    """A wall time for people."""
    return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """A duration for people, such as 3 min 20 s."""
    whole = int(max(0.0, seconds))
    days, hours, minutes = whole // 86400, whole % 86400 // 3600, whole % 3600 // 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
