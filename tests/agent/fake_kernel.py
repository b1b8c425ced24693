"""A kernel in a dictionary, with named one-shot failures; the contract is agent.reconcile.Kernel."""

from collections.abc import Hashable, Mapping

from overlay.errors import KernelBusy, OverlayError
from overlay.model import Action, KernelObject, Step
from overlay.plan import record


class FakeKernel:
    """``fail_next`` maps an object's key to the error its next step gets; ``fail_reads`` counts down."""

    def __init__(self) -> None:
        self.state: dict[Hashable, KernelObject] = {}
        self.changes = 0
        self.reads = 0
        self.fail_next: dict[Hashable, OverlayError] = {}
        self.fail_reads = 0
        self.log: list[Step] = []

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """Everything, as it is."""
        self.reads += 1
        if self.fail_reads:
            self.fail_reads -= 1
            raise KernelBusy("the dump was interrupted")
        return dict(self.state)

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """In order; a failure stops nothing else. A new link starts empty, as the real one does."""
        return [self._one(step) for step in steps]

    def _one(self, step: Step) -> OverlayError | None:
        error = self.fail_next.pop(step.object.key, None)
        if error is None:
            record(self.state, step)
            self.changes += 1
            self.log.append(step)
        return error

    def lose(self, key: Hashable) -> None:
        """Somebody else deletes an object."""
        del self.state[key]

    def deleted(self) -> list[str]:
        """What has been removed so far, in words."""
        return [str(step.object) for step in self.log if step.action is Action.DELETE]
