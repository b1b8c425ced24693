"""The rows of the last-good copy: encoded once, taken from the file afterwards, and never the wrong ones."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import lastgood, recalled
from agent.following import Seen
from agent.lastgood import LastGood
from agent.moment import Moment
from agent.recalled import FILE_NAME, row_of
from agent.roll import Past
from overlay.model import Lease
from overlay.netconfig import EXAMPLE
from tests.agent.one_node import lease
from tests.agent.test_lastgood import HEADER, OWN

tables = st.lists(st.dictionaries(st.integers(1, 9), st.integers(0, 2), max_size=9), min_size=2)
"""What the table is at each write: peer to the version it says."""


class Series:
    """A last-good copy that is written once per table; ``disturb`` is done to the file before each time."""

    def __init__(
        self, state_dir: Path, every: list[dict[str, Lease]], disturb: Callable[[Path], None]
    ) -> None:
        self._file, self._every, self._disturb = state_dir / FILE_NAME, every, disturb
        self.copy = LastGood(
            state_dir, HEADER, source=self._next, now=lambda: Moment(1.0, 1.0, "b"), gather_s=0.0
        )
        self.last = threading.Event()

    def _next(self) -> tuple[Past, Seen]:
        table = self._every.pop(0)
        if self._file.exists():
            self._disturb(self._file)
        if self._every:
            self.copy.changed()
        else:
            self.last.set()
        return Past(table, 17, {}), Seen(1, 17)

    def write(self) -> None:
        """All of them."""
        self.copy.held(EXAMPLE.encode(), OWN)
        self.copy.start()
        assert self.last.wait(20)
        self.copy.stop(wait_s=20)


def nothing(_file: Path) -> None:
    """Nobody touches it."""


def other_rows(file: Path) -> None:
    """Somebody's editor; the size stays."""
    file.write_bytes(file.read_bytes().replace(b"192.0.2.", b"192.0.3."))


@given(numbers=tables, disturb=st.sampled_from([nothing, other_rows, Path.unlink]))
def test_after_any_changes_the_file_has_the_last_table(
    tmp_path_factory: pytest.TempPathFactory,
    numbers: list[dict[int, int]],
    disturb: Callable[[Path], None],
) -> None:
    """Rows that stand in it are taken from there, unless it is not the file that was written."""
    made = {
        (n, version): replace(lease(n), version=f"{version}")
        for n in range(10)
        for version in range(3)
    }
    every = [{made[it].key: made[it] for it in table.items()} for table in numbers]
    state_dir = tmp_path_factory.mktemp("state")
    Series(state_dir, [*every], disturb).write()

    found = recalled.read(state_dir, HEADER, Moment(1.0, 1.0, "b"))

    assert found is not None
    assert [*found.past().leases.items()] == [*every[-1].items()]


def test_a_row_is_encoded_once_per_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of 5,000 rows cost 34 ms of CPU, and hardly any is another than at the write before."""
    encoded: list[str] = []

    def counting(item: Lease) -> recalled.Row:
        encoded.append(item.key)
        return row_of(item)

    monkeypatch.setattr(lastgood, "row_of", counting)
    first = {item.key: item for item in (lease(1), lease(2), lease(3))}
    second = {**first, lease(2).key: replace(lease(2), version="2"), lease(4).key: lease(4)}
    Series(tmp_path, [first, second], nothing).write()

    own = 1  # `held`
    assert encoded[own:] == [*first, lease(2).key, lease(4).key]
