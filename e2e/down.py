"""`make demo-down`: takes down labs that were kept, or whose program crashed; never one in use."""

import json
import sys
import tempfile
from pathlib import Path

from e2e.lab import MEMORY, WORK_GLOB, take_down
from e2e.process import start_time


def main() -> int:
    """Returns 0."""
    roots = {Path(tempfile.gettempdir()), MEMORY}
    found = sorted(work for root in roots for work in root.glob(WORK_GLOB))
    for work in found:
        if owner := _owner(work):
            print(f"{work.name}: in use by process {owner}, left alone")
            continue
        take_down(work)
        print(f"{work.name}: taken down")
    if not found:
        print("no lab is standing")
    return 0


def _owner(work: Path) -> int:
    """The process that still uses the lab, or 0."""
    try:
        pid, started = json.loads((work / "lab.json").read_text())["owner"]
    except (OSError, ValueError, KeyError):
        return 0
    return int(pid) if started and start_time(pid) == started else 0


if __name__ == "__main__":
    sys.exit(main())
