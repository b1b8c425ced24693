"""Every line of the conformance table has a test, and no test names a line that is not there."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

from tests.conformance_rows import ROWS

ROOT = Path(__file__).resolve().parent.parent


def _named(room: str) -> Iterator[tuple[str, str]]:
    """(row, where) of each ``pytest.mark.row(…)``; read as text, so that nothing has to be imported."""
    for path in sorted((ROOT / room).rglob("test_*.py")):
        text = path.read_text()
        # Most files name none, and a tree of every module costs a second.
        for node in ast.walk(ast.parse(text)) if "mark.row" in text else ():
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.row":
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                assert node.args, f"{where} names no row"
                for argument in node.args:
                    yield str(ast.literal_eval(argument)), where


@functools.cache
def _all_named() -> list[tuple[str, str]]:
    return [*_named("tests"), *_named("e2e")]


def test_every_row_that_has_to_hold_is_shown() -> None:
    """M and S."""
    shown = {row for row, _ in _all_named()}
    missing = {key: row.asks for key, row in ROWS.items() if row.weight in "MS"}
    assert {key: asks for key, asks in missing.items() if key not in shown} == {}


def test_no_test_names_a_row_that_is_not_there() -> None:
    """A slip of the pen must not count as a proof."""
    assert [f"{where} names {row}" for row, where in _all_named() if row not in ROWS] == []


def test_the_table_is_complete() -> None:
    """1 to 80 and R1 to R28, each with a weight."""
    wanted = [str(number) for number in range(1, 81)] + [f"R{number}" for number in range(1, 29)]
    assert list(ROWS) == wanted
    assert {row.weight for row in ROWS.values()} == {"M", "S", "?"}
