"""The far side of a silent tunnel is asked, which direction is blocked: it probes us while we probe it.

What arrives here of its requests, and there of ours, tells more than answers that do not come: each answer needs
both directions.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from agent.config import Config
from agent.ctl import far
from agent.ctl.nodepage import page
from agent.probes.course import SMALL, Course
from agent.probes.echo import Echo
from agent.probes.packets import Request
from agent.probes.targets import Target
from overlay import schema
from overlay.errors import KernelRefused, OverlayError
from overlay.model import Address

MOST_ASKED = 16
TIMEOUT_S = 5.0
"""Its course takes three seconds and a half where nothing answers."""
ALIVE_S = 2.0
"""For those whose machine does not answer: is it there at all?"""
EVERY_S = 0.2
Answers = Mapping[str, Mapping[str, Any] | OverlayError]


def ask_far_sides(settings: Config, courses: Sequence[Course]) -> None:
    """Complete what was measured of peers that do not answer; some of them, if many."""
    puzzling = [course for course in courses if _is_puzzling(course)][:MOST_ASKED]
    own = page(settings.run_dir)
    if not puzzling or own is None:
        return
    key = schema.format_key([one.subnet for one in own.families])
    alive = {it.target.key for it in puzzling if it.measured.underlay_answers}
    lost = {it.target.key for it in puzzling} - alive
    with ThreadPoolExecutor(max_workers=2) as beside:
        asked = [
            beside.submit(_asked, settings, lost, "status", timeout_s=ALIVE_S),
            beside.submit(_asked, settings, alive, "probes", timeout_s=TIMEOUT_S, key=key),
        ]
        heard = _listen(
            [it.target for it in puzzling if it.target.key in alive],
            until=lambda: all(it.done() for it in asked),
        )
    answers = {**asked[0].result(), **asked[1].result()}
    for course in puzzling:
        take(course, answers, heard=course.target.address in heard)


def _asked(
    settings: Config, keys: set[str], verb: str, *, timeout_s: float, **more: object
) -> Answers:
    return far.ask_many(settings, sorted(keys), verb, timeout_s=timeout_s, **more) if keys else {}


def take(course: Course, answers: Answers, *, heard: bool) -> None:
    """What one far side says, and whether its own requests arrive here."""
    answer, measured = answers.get(course.target.key), course.measured
    measured.heard = measured.heard or heard
    if answer is None or isinstance(answer, OverlayError):
        measured.far_said = str(answer or "")
        return
    measured.far_answers = True
    family = course.target.family.value
    rows = [row for row in answer.get("results", ()) if isinstance(row, dict)]
    about = [row for row in rows if row.get("family") == family]
    if about:
        measured.heard_there = bool(about[0].get("heard"))


def _is_puzzling(course: Course) -> bool:
    measured = course.measured
    known = measured.refused or measured.unreachable or measured.own_rule
    return not measured.back and not known


def _listen(targets: Sequence[Target], *, until: Callable[[], bool]) -> set[Address]:
    """Go on asking, so that the far side can hear it, and hear whose requests arrive here."""
    known, heard, number = {target.address for target in targets}, set[Address](), 0
    with Echo() as echo:
        while not until():
            for target in targets:
                number += 1
                with suppress(KernelRefused):
                    size = SMALL[target.family]
                    echo.send(target.source, target.address, number=number, size=size)
            for said, _ in echo.receive(EVERY_S):
                if isinstance(said, Request) and said.source in known:
                    heard.add(said.source)
    return heard
