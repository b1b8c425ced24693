"""What others wrote is shown on one line, and no terminal obeys it."""

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import logs
from agent.ctl import show
from agent.printable import printable

EVIL = "\x1b[31mred\x1b]0;title\x07\nline\r\x9b2J\u202eback"


@given(st.text(), st.integers(1, 50))
def test_whatever_it_was_it_is_printable_and_bounded(text: str, most: int) -> None:
    """An escape takes at most ten characters."""
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= 10 * most + 1


def test_harmless_text_stays_as_it_is() -> None:
    """Umlauts and all."""
    assert printable("lease 10.5.7.0-24 of näme: ok") == "lease 10.5.7.0-24 of näme: ok"


def test_a_hostile_key_stays_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    """One line per record, whatever its key holds; a long one is cut."""
    show.table(("KEY", "NOTE"), [(EVIL, "one"), ("k" * 100_000, "two")])

    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 10
    assert r"\x1b[31mred\x1b]0;title\x07\nline\r\x9b2J\u202eback" in lines[1]
    assert all(line.isprintable() for line in lines)


def test_a_log_line_is_one_line() -> None:
    """Nobody else writes lines of ours; only a traceback has several."""
    log, page = logging.getLogger("tests.printable"), io.StringIO()
    handler = logging.StreamHandler(page)
    for formatter in logs.FORMATTERS.values():
        handler.setFormatter(formatter)
        log.addHandler(handler)
        log.propagate = False
        log.warning("record unreadable key=%s", EVIL)

    assert len(page.getvalue().splitlines()) == 2
    assert "\x1b" not in page.getvalue()
