"""What overlayctl install says: what would be done, what was, and what the node thinks of it."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agent.ctl import show
from agent.ctl.install.service import Act, Outcome
from agent.ctl.install.steps import Action, Step
from agent.printable import printable

Findings = Sequence[Any]
"""Of agent.ctl.doctor, which an installation can do without."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Files, then programs; ``others`` are sentences about CNI configurations that runtimes would use instead."""

    files: tuple[Step, ...]
    acts: tuple[Act, ...]
    others: tuple[str, ...]


def whole(
    flags: argparse.Namespace,
    plan: Plan,
    *,
    done: bool,
    outcome: Outcome | None = None,
    findings: Findings = (),
) -> int:
    """The exit code: 1 if something is refused, not ready, or at fault."""
    refused = any(step.action is Action.REFUSE for step in plan.files) or (
        bool(plan.others) and not flags.force
    )
    faults = [finding for finding in findings if finding.severity == "fault"]
    late = outcome is not None and not outcome.ready
    if flags.output == "json":
        show.as_json(_as_json(plan, done, outcome, findings))
    else:
        _as_table(plan, done, outcome, findings)
    return int(refused or late or bool(faults))


def _as_json(plan: Plan, done: bool, outcome: Outcome | None, findings: Findings) -> dict[str, Any]:
    return {
        "done": done,
        "files": [
            {
                "action": step.action.value,
                "path": str(step.item.path),
                "what": step.item.what,
                "why": step.why,
                "saved": str(step.saved or ""),
            }
            for step in plan.files
        ],
        "programs": [{"words": list(act.words), "why": act.why} for act in plan.acts],
        "others": list(plan.others),
        "ready": None if outcome is None else outcome.ready,
        "waiting_for": "" if outcome is None else outcome.why,
        "findings": [
            {key: getattr(it, key) for key in ("id", "severity", "title", "why", "mend")}
            for it in findings
        ],
    }


def _as_table(plan: Plan, done: bool, outcome: Outcome | None, findings: Findings) -> None:
    rows = [(step.action.value, step.item.path, step.item.what, step.why) for step in plan.files]
    show.table(
        ("ACTION", "WHERE", "WHAT", "WHY"),
        [*rows, *(("run", " ".join(act.words), "", act.why) for act in plan.acts)],
    )
    for step in plan.files:
        if step.saved is not None:
            print(printable(f"what was there before: {step.saved}"))
    for sentence in plan.others:
        print(printable(f"! {sentence}"))
    for finding in findings:
        print(printable(f"{finding.severity}: {finding.title}; next: {finding.mend}"))
    print(printable(_verdict(plan, done, outcome)))


def _verdict(plan: Plan, done: bool, outcome: Outcome | None) -> str:
    changes = sum(step.changes for step in plan.files) + len(plan.acts)
    if not done:
        return f"{changes} things would be done; nothing was changed"
    if outcome is None:
        return f"{changes} things done; nothing was started" if changes else "unchanged"
    if not outcome.ready:
        return (
            f"laid down and started, but {outcome.why}; it goes on trying; next: overlayctl status"
        )
    return f"{changes} things done; ready" if changes else "unchanged; ready"
