"""Answers as people read them: tables on a terminal, plain columns in a pipe, or JSON."""

import json
import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.ctl.pipe import nobody_reads
from agent.printable import printable

CELL = 400
"""Characters of a table's cell."""
WIDE = 200
"""A pipe has no width: its lines are not folded at 80."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """A verb's exit code says what it found, whether somebody reads the rest or not; rich would say 1."""
        nobody_reads()


def console() -> Console:
    """Colours only on a terminal."""
    return _Console(highlight=False, width=None if sys.stdout.isatty() else WIDE)


def as_json(answer: object) -> None:
    """For machines."""
    print(json.dumps(answer, indent=2, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns with a heading; rules and colours only on a terminal."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(printable(str(cell), CELL)) for cell in row))
    console().print(grid)
