"""The reconciler's kernel with a watch beside it: how long reads and batches take, and what became of each step."""

import time
from collections import Counter
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
        fates = ((step.action, error is None) for step, error in zip(steps, answers, strict=True))
        for (action, done), times in Counter(fates).items():
            word = "done" if done else "refused"
            self._meters.steps.add(action.name.lower(), word, times=times)
        return answers
