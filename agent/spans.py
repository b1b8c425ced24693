"""From lines of the address history to who had what from when to when, and the answer to a question. Pure."""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cni import diary
from cni.diary import Line
from cni.record import LAST_SECOND
from overlay.errors import BadInput

LEAST_CONTAINER = 6
"""So many digits of a container's id name it."""
SECOND_S = 1.0
"""A moment is a second long: times are shown so, and who asks again by what was shown must find it."""
LATE_S = 120.0
"""A DEL may be written down so long after its attachment was found gone."""


@dataclass(frozen=True, slots=True)
class Span:
    """One attachment. ``until`` is None while it lasts; ``how`` it ended, empty while it lasts."""

    first: Line
    until: float | None = None
    how: str = ""

    @property
    def owner(self) -> tuple[str, str, str]:
        """Whose it was."""
        return self.first.owner


@dataclass(frozen=True, slots=True)
class Asked:
    """``who`` is an address, a pod (name, or namespace/name) or a container id; ``at`` and ``since`` are moments."""

    who: str
    at: float | None = None
    since: float | None = None

    @property
    def address(self) -> str:
        """In the form that lines have, however it is written (10.5.3.7/24, [fd00::7]); empty if it is none."""
        text = self.who.partition("/")[0].strip("[]")
        try:
            return str(ipaddress.ip_address(text))
        except ValueError:
            return ""


def asked(question: Mapping[str, Any]) -> Asked:
    """Raises BadInput."""
    who = question.get("who")
    if not isinstance(who, str) or not 0 < len(who) <= 512:
        raise BadInput(f"who = {str(who)[:60]!r} is neither an address nor a pod")
    moments = [question.get(name) for name in ("at", "since")]
    for moment in moments:
        wrong = isinstance(moment, bool) or not isinstance(moment, int | float | None)
        if wrong or (moment is not None and not 0 <= moment < LAST_SECOND):
            raise BadInput(f"{str(moment)[:60]!r} is no moment, wanted are seconds since 1970")
    return Asked(who, *moments)


def spans(lines: Iterable[Line]) -> list[Span]:
    """In the order in which they began. An end without a beginning says nothing; of one told twice the first counts."""
    found: list[Span] = []
    last: dict[tuple[str, str, str], int] = {}
    for line in lines:
        at = last.get(line.owner)
        present = found[at] if at is not None else None
        if line.do == diary.ADD:
            # The same moment is the same line, carried over; another one may be earlier, where a clock was set back.
            if present is None or (present.until is not None and line.at != present.first.at):
                last[line.owner] = len(found)
                found.append(Span(line))
        elif present is not None and at is not None and _ends(line, present):
            found[at] = Span(present.first, max(line.at, present.first.at), line.do)
    return sorted(found, key=lambda span: span.first.at)


def _ends(line: Line, present: Span) -> bool:
    if present.until is None:
        return True
    late = line.do == diary.DEL and present.how == diary.GONE
    return late and line.at <= present.until <= line.at + LATE_S


def matching(found: Sequence[Span], wish: Asked, *, now: float) -> list[Span]:
    """Those that are asked for, the youngest first."""
    chosen = [span for span in found if _is_meant(span.first, wish)]
    if wish.at is not None:
        at, end = wish.at, wish.at + SECOND_S
        chosen = [it for it in chosen if it.first.at < end and (it.until is None or at < it.until)]
    if wish.since is not None:
        since = wish.since
        chosen = [it for it in chosen if (now if it.until is None else it.until) >= since]
    return chosen[::-1]


def _is_meant(line: Line, wish: Asked) -> bool:
    if wish.address:
        return wish.address in line.addresses
    named = line.pod and (line.pod == wish.who or line.pod.endswith(f"/{wish.who}"))
    container = len(wish.who) >= LEAST_CONTAINER and line.container.startswith(wish.who)
    return bool(named or container)


def row(span: Span) -> dict[str, Any]:
    """As JSON."""
    line = span.first
    return {
        "from": line.at,
        "until": span.until,
        "end": span.how,
        "pod": line.pod,
        "container": line.container,
        "network": line.network,
        "ifname": line.ifname,
        "addresses": list(line.addresses),
    }
