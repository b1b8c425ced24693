"""What a check says: one frozen value for each thing found, the good ones included. Pure.

``id`` is for good: documents, tests and other programs' rules name it. The reason why a thing matters
belongs to the id and stands in the catalogue; what exactly was found, and the command that mends it, is the check's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.ctl.doctor.catalogue import KINDS
from agent.printable import printable

Severity = Literal["ok", "note", "warning", "fault"]
ORDER: tuple[Severity, ...] = ("fault", "warning", "note", "ok")
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """``title`` says what was found, ``mend`` the command. ``fix`` does that, and is None where it is not safe.

    ``fix_text`` names what ``fix`` does, ``down`` says that this node serves no pod because of it.
    """

    id: str
    severity: Severity
    title: str
    why: str = ""
    mend: str = ""
    fix: Callable[[], None] | None = None
    fix_text: str = ""
    area: str = ""
    down: bool = False

    @property
    def is_bad(self) -> bool:
        """Somebody has to act, or at least to look."""
        return self.severity in ("warning", "fault")

    def plain(self) -> dict[str, object]:
        """For machines."""
        return {
            "id": self.id,
            "area": self.area,
            "severity": self.severity,
            "title": self.title,
            "why": self.why,
            "mend": self.mend,
            "fixable": self.fix is not None,
            "fix": self.fix_text,
        }


@dataclass(frozen=True, slots=True)
class Fix:
    """What can be done without asking anybody: it is named by ``text``, and ``undo`` says how it is taken back."""

    text: str
    do: Callable[[], None]


def found(
    kind: str,
    severity: Severity,
    title: str,
    mend: str = "",
    *,
    fix: Fix | None = None,
    down: bool = False,
) -> Finding:
    """A finding of a kind that the catalogue knows. Text of others is made harmless here."""
    known = KINDS[kind]
    return Finding(
        id=kind,
        severity=severity,
        title=printable(title, 1000),
        why=known.why,
        mend=printable(mend, 1000),
        fix=fix.do if fix else None,
        fix_text=printable(fix.text, 300) if fix else "",
        area=known.area,
        down=down,
    )


def well(check: str, area: str, title: str) -> Finding:
    """A check that found nothing."""
    return Finding(id=check, severity="ok", title=title, area=area)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first, else as they were."""
    return sorted(findings, key=lambda one: ORDER.index(one.severity))
