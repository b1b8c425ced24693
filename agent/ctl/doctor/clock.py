"""Is this node's clock right? Nobody here can know; but some clocks are certainly wrong."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

import overlay
from agent import recalled
from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Look
from agent.moment import now, utc

SLACK_S = 3600.0


@dataclass(frozen=True, slots=True)
class Facts:
    """``past`` are moments that have certainly been, each with its reason. ``synchronised`` None: nobody says."""

    now: float
    past: tuple[tuple[float, str], ...] = ()
    synchronised: bool | None = None


def check(look: Look) -> list[Finding]:
    """The wall clock."""
    return judge(read(look))


def judge(facts: Facts) -> list[Finding]:
    """Pure."""
    mend = "timedatectl set-ntp true; timedatectl; or: chronyc makestep"
    for moment, what in facts.past:
        if facts.now + SLACK_S < moment:
            title = f"the clock says {utc(facts.now)}, but {what} is of {utc(moment)}"
            return [found("clock-wrong", "fault", title, mend)]
    if facts.synchronised is False:
        title = f"no time server keeps this clock, which says {utc(facts.now)}"
        return [found("clock-unsynchronised", "warning", title, mend)]
    return []


def read(look: Look) -> Facts:
    """timedatectl reads the kernel's own flag, whichever program keeps the time."""
    said = look.run(("timedatectl", "show", "--property", "NTPSynchronized", "--value"))
    words = {"yes": True, "no": False}
    state_dir = look.settings.state_dir
    past = [(_mtime(Path(overlay.__file__)), "this program's own file")]
    try:
        raw = (state_dir / recalled.FILE_NAME).read_bytes()
        page = msgspec.json.decode(raw, type=recalled.Page)
        past.append((page.saved[0], "the agent's last copy of the records"))
    except (OSError, ValueError):  # none, no JSON, no UTF-8
        pass
    return Facts(now().wall, tuple(past), words.get(said.out.strip()))


def _mtime(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
