"""What the kernel's answer to a step means: what is gone is no failure, what is in the way has a name. Pure."""

import errno

from overlay.dataplane.links import GONE
from overlay.errors import ForeignObject, KernelRefused, OverlayError
from overlay.model import RTPROT_KERNEL, Action, Family, Route, Step


def judged(step: Step, error: OverlayError | None) -> OverlayError | None:
    """The error of a step, in our words; None where the step is as good as done."""
    if not isinstance(error, KernelRefused):
        return error
    if step.action is Action.DELETE and error.errno in {*GONE, errno.EEXIST}:
        return None  # EEXIST: of the right one, which is put again where one beside it goes
    if not isinstance(step.object, Route) or error.errno != errno.EEXIST:
        return error
    if step.object.protocol == RTPROT_KERNEL:
        return None  # the kernel has made it
    if step.action is Action.ADD:
        family = "-6 " if Family.of(step.object.dst) is Family.V6 else ""
        return ForeignObject(
            f"a route to {step.object.dst} that is not ours stands in the way",
            errno=errno.EEXIST,
            hint=f"look: ip {family}route show {step.object.dst}; then delete it",
        )
    return error
