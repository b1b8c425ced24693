"""All checks at once, each in a thread of its own, none of which can hold up or break the others.

A check that fails, or is not done in time, is itself a finding. The threads are daemons: what hangs in the kernel
or in another program does not keep overlayctl from ending.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.config import Config
from agent.ctl.doctor.finding import Finding, found, in_order, well
from agent.ctl.doctor.look import Look
from overlay.errors import OverlayError

log = logging.getLogger(__name__)

WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Check:
    """``title`` says what is so where it finds nothing; ``name`` is the id of that line.

    ``run`` returns None where there was nothing to judge, of which no line is made.
    """

    name: str
    area: str
    title: str
    run: Callable[[Look], list[Finding] | None]


def examine(checks: Sequence[Check], look: Look, *, within_s: float = WITHIN_S) -> list[Finding]:
    """What they found, the worst first; a line for each that found nothing."""
    answers: queue.SimpleQueue[tuple[Check, list[Finding]]] = queue.SimpleQueue()
    for check in checks:
        threading.Thread(
            target=lambda it=check: answers.put((it, _one(it, look))),
            name=f"check-{check.name}",
            daemon=True,
        ).start()
    done: dict[str, list[Finding]] = {}
    deadline = time.monotonic() + within_s
    while len(done) < len(checks):
        try:
            check, findings = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            break
        done[check.name] = findings
    late = [check for check in checks if check.name not in done]
    done |= {check.name: [_late(check, within_s)] for check in late}
    return in_order([one for check in checks for one in done[check.name]])


def _one(check: Check, look: Look) -> list[Finding]:
    try:
        findings = check.run(look)
    except OverlayError as error:
        title = f"the check {check.name} could not be made: {error}"
        return [found("check-failed", "warning", title, error.hint)]
    except Exception as error:
        log.debug("check %s", check.name, exc_info=True)
        title = f"the check {check.name} could not be made: {type(error).__name__}: {error}"
        return [
            found(
                "check-failed", "warning", title, "overlayctl doctor --bundle FILE, and report it"
            )
        ]
    if findings is None:
        return []
    return findings or [well(check.name, check.area, check.title)]


def _late(check: Check, within_s: float) -> Finding:
    title = f"the check {check.name} was not done within {within_s:g} s"
    return found(
        "check-late", "warning", title, "again, when the machine is less busy: overlayctl doctor"
    )


def survey(
    settings: Config,
    *,
    look: Look | None = None,
    only: Sequence[str] = (),
    within_s: float = WITHIN_S,
) -> list[Finding]:
    """Examine this node; ``only`` names checks or areas. Needs neither an agent, nor etcd, nor a network config."""
    from agent.ctl.doctor.checks import CHECKS  # each imports what it looks at

    chosen = [row for row in CHECKS if not only or {row.name, row.area} & set(only)]
    return examine(chosen, look or Look(settings), within_s=within_s)
