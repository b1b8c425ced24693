"""The reconciler's kernel with a watch beside it: how long reads and batches take, and what became of each step."""

import time
from collections.abc import Hashable, Mapping

from agent.kernel import Kernel
from agent.metrics.meters import Meters
from overlay.errors import OverlayError
from overlay.model import KernelObject, Step


class MeteredKernel:
    """Implements agent.kernel.Kernel by another one."""

    def __init__(self, kernel: Kernel, meters: Meters) -> None:
        self._kernel, self._meters = kernel, meters

    @property
    def changes(self) -> int:
        """The other one's."""
        return self._kernel.changes

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """A full read; one that fails took its time as well."""
        begun = time.monotonic()
        try:
            return self._kernel.read(want)
        finally:
            self._meters.reads.add(time.monotonic() - begun)

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """A batch."""
        begun = time.monotonic()
        answers = self._kernel.apply(steps)
        self._meters.applies.add(time.monotonic() - begun)
        counts: dict[tuple[str, str], int] = {}
        for step, error in zip(steps, answers, strict=True):
            labels = (step.action.name.lower(), "refused" if error else "done")
            counts[labels] = counts.get(labels, 0) + 1
        for labels, times in counts.items():
            self._meters.steps.add(*labels, times=times)
        return answers
