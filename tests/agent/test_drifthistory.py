"""drifthistory: bounded, counted, and there again after a restart."""

from pathlib import Path

import pytest

from agent.drifthistory import FILE_NAME, HOUR_S, MOST_KEPT, History, Keeper, read

DEED = ("route 10.5.2.0/24", "gone", "was gone", "put back", "flanneld")


class Wall:
    """A wall clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def test_the_same_deed_again_is_counted_and_comes_first() -> None:
    """One line per object and fate, with its first and last time."""
    wall = Wall()
    history = History(wall=wall)
    history.note([DEED, ("bridge overlay0", "gone", "was gone", "put back", "dockerd")])
    wall.now += 60
    history.note([DEED])

    first, second = history.page().entries
    assert (first.object, first.count, first.last - first.first) == (DEED[0], 2, 60)
    assert (second.object, second.count) == ("bridge overlay0", 1)


def test_the_oldest_go_and_a_day_is_a_day() -> None:
    """Memory and file are bounded; the count of a day forgets by the hour."""
    wall = Wall()
    history = History(wall=wall)
    history.note(
        (f"route {number}", "gone", "was gone", "put back", "") for number in range(MOST_KEPT + 9)
    )

    assert len(history.page().entries) == MOST_KEPT
    assert history.page().entries[-1].object == "route 9"
    assert history.day() == MOST_KEPT + 9
    wall.now += 25 * HOUR_S
    assert history.day() == 0


def test_a_restart_knows_it_and_goes_on_counting(tmp_path: Path) -> None:
    """Written behind everybody's back, at the latest at the end."""
    first = Keeper(tmp_path)
    since = first.history.page().since
    first.history.note([DEED])
    first.stop(wait_s=10)

    second = Keeper(tmp_path)
    second.history.note([DEED])
    page = second.history.page()
    second.stop(wait_s=10)
    assert (page.since, page.entries[0].count, second.history.day()) == (since, 2, 2)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"since": 1, "x": ' + "[" * 100_000,
        '{"since": 1e308}',
        '{"since": 1, "hours": {"1": ' + "9" * 5000 + "}}",
    ],
    ids=["torn", "deep", "no such year", "no such number"],
)
def test_a_file_that_cannot_be_read_is_set_aside(tmp_path: Path, text: str) -> None:
    """It is a convenience, never a reason not to start."""
    (tmp_path / FILE_NAME).write_text(text)

    assert read(tmp_path) is None
    assert (tmp_path / "drift.unreadable").exists()


def test_a_clock_that_was_set_back_leaves_no_day_that_does_not_end() -> None:
    """What was counted in hours that are yet to come is no part of the last day."""
    wall = Wall()
    history = History(wall=wall)
    history.note([DEED])
    wall.now -= 365 * 24 * HOUR_S
    assert history.day() == 0
    history.note([DEED])

    assert history.day() == 1
    assert len(history.page().hours) == 1
