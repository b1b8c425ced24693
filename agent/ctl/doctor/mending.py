"""The safe fixes: each is named, done through a door, and what it was for is looked at again by the caller."""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.ctl.doctor.finding import Finding
from overlay.errors import OverlayError


@dataclass(frozen=True, slots=True)
class Done:
    """One fix: what it is, for which finding, and why it failed if it did; ``dry``: it was only named."""

    id: str
    text: str
    error: str = ""
    dry: bool = False

    def plain(self) -> dict[str, object]:
        """For machines."""
        return {
            "id": self.id,
            "fix": self.text,
            "error": self.error,
            "done": not (self.error or self.dry),
        }


def mend(findings: Sequence[Finding], *, dry_run: bool) -> list[Done]:
    """Do what can be done; one that fails stops no other. Notes are nobody's trouble and stay."""
    return [_one(it, dry_run) for it in findings if it.fix is not None and it.is_bad]


def _one(finding: Finding, dry_run: bool) -> Done:
    if dry_run or finding.fix is None:
        return Done(finding.id, finding.fix_text, dry=True)
    try:
        finding.fix()
    except OverlayError as error:
        return Done(finding.id, finding.fix_text, str(error))
    except OSError as error:
        return Done(finding.id, finding.fix_text, error.strerror or str(error))
    return Done(finding.id, finding.fix_text)
