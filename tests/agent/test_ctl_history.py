"""overlayctl history: times and addresses as people write them, and answers of other nodes."""

import time

import pytest

from agent.ctl.history import local, moment, sentence
from agent.ctl.historyrows import Found
from agent.spans import Asked
from overlay.errors import BadConfig

NOW = 1_800_000_000.0


def test_times_as_people_write_them() -> None:
    """A time of day is the last one; what is none is refused."""
    for text in ("14:02", "00:00:30", "23:59"):
        at = moment(text, NOW)
        assert at is not None
        assert NOW - 86400 < at <= NOW
        assert local(at).split()[1].startswith(text)
    assert moment("2026-11-29T14:02+00:00", NOW) == moment("2026-11-29 14:02Z", NOW) == 1795960920.0
    assert moment("", NOW) is None
    for bad in ("noon", "25:00", "2026-13-01", "14.02"):
        with pytest.raises(BadConfig, match="is no time"):
            moment(bad, NOW)


def test_a_time_of_summer_is_meant_in_summer_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked in winter, and shown as it was asked."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        assert local(moment("2026-07-01T14:02", NOW)) == "2026-07-01 14:02:00 CEST"
        assert local(moment("2026-12-01T14:02", NOW)) == "2026-12-01 14:02:00 CET"
        after = moment("2026-03-29T10:00", NOW)  # the clock was put forward that night
        assert after is not None
        assert local(moment("23:00", after)) == "2026-03-28 23:00:00 CET"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["10.5.3.7", "10.5.3.7/24"])
def test_an_address_may_be_written_in_any_way(text: str) -> None:
    """As `ip address` shows it, or as a URL has it."""
    assert Asked(text).address == "10.5.3.7"
    assert Asked("[FD00:0::7]").address == Asked("fd00::7/64").address == "fd00::7"
    assert Asked("shop/web-1").address == ""


def test_what_another_node_answers_is_believed_as_far_as_it_has_our_form() -> None:
    """It cannot speak for another node, and nothing of it ends the program."""
    found = Found()
    rows = [{"from": 1, "node": "n9", "until": "x", "addresses": 7, "pod": ["a"]}, {"from": "x"}, 5]
    found.take("n2", {"rows": [*rows, {"from": float("nan")}], "skipped": "many"})
    assert [(it["node"], it["until"], it["addresses"]) for it in found.rows] == [("n2", None, [])]
    assert "a pod without a name on n2" in sentence(found.rows[0], Asked("10.5.3.7", at=2))
