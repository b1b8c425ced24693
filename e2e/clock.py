"""A wall clock of a node's agent that a test can step, by a small library loaded before the C library's own."""

import struct
from collections.abc import Mapping
from pathlib import Path

from e2e.process import must

_SOURCE = Path(__file__).parent / "clock.c"


class Clock:
    """Give ``environ`` to the agent at its start, then `step` at any time. Files go below ``work``."""

    def __init__(self, work: Path) -> None:
        self._library, self._page = work / "clock.so", work / "clock"
        self.step(0)
        must(["cc", "-O1", "-shared", "-fPIC", "-o", self._library, _SOURCE])

    @property
    def environ(self) -> Mapping[str, str]:
        """For the agent."""
        return {"LD_PRELOAD": str(self._library), "LAB_CLOCK": str(self._page)}

    def step(self, seconds: int) -> None:
        """From now on the wall clock is so much ahead of the true one (behind, if negative)."""
        with self._page.open("r+b" if self._page.exists() else "wb") as page:  # the same inode
            page.write(struct.pack("=q", seconds))
