"""What the reconciler needs of the kernel: overlay.dataplane.Dataplane, or a fake with the same contract."""

from collections.abc import Hashable, Mapping
from typing import Protocol

from overlay.errors import OverlayError
from overlay.model import KernelObject, Step


class Kernel(Protocol):
    """What the reconciler needs of overlay.dataplane.Dataplane."""

    @property
    def changes(self) -> int:
        """State-changing operations the kernel has accepted since the process began."""

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """Everything in the kernel that bears our mark."""

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """Carry out steps in order; one result per step."""
