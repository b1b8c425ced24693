"""Lines of the address history: whatever a disk makes of the file, what was written whole is read."""

import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import diary
from cni.diary import Line

TEXT = st.text(max_size=30)
LINES = st.lists(
    st.builds(
        Line,
        at=st.floats(0, 4e9),
        do=st.sampled_from([diary.ADD, diary.DEL, diary.GONE, diary.REBOOT]),
        network=TEXT,
        container=TEXT,
        ifname=TEXT,
        pod=TEXT,
        addresses=st.lists(st.ip_addresses().map(str), max_size=2).map(tuple),
        boot=TEXT,
    ),
    max_size=8,
)


def some(number: int = 1, do: str = diary.ADD) -> Line:
    """A line."""
    return Line(
        100.0 + number, do, "overlay", f"c{number}", "eth0", f"default/p{number}", ("10.5.3.7",)
    )


@given(LINES)
def test_lines_come_back_as_they_were_written(lines: list[Line]) -> None:
    """All of them, in order."""
    assert diary.parse(b"".join(map(diary.encode, lines))) == (lines, 0)


@given(lines=LINES, torn=st.integers(0, 400), junk=st.binary(max_size=60))
def test_a_torn_line_and_garbage_cost_no_other(lines: list[Line], torn: int, junk: bytes) -> None:
    """What follows is appended behind a newline of its own."""
    half = diary.encode(some())[: torn % len(diary.encode(some()))].rstrip(b"}\n")
    whole = b"".join(map(diary.encode, lines))
    found, skipped = diary.parse(half + whole + junk + diary.encode(some(2)))
    assert [line for line in found if line in lines or line == some(2)][-1] == some(2)
    assert all(line in found for line in lines)
    assert skipped <= 1 + 1 + junk.count(b"\n")


@given(st.binary(max_size=300))
def test_garbage_alone_is_counted_or_nothing(data: bytes) -> None:
    """It never fails."""
    found, skipped = diary.parse(data)
    assert len(found) + skipped <= data.count(b"\n") + 1


def test_the_file_is_made_with_its_directory_and_for_root_alone(tmp_path: Path) -> None:
    """At the first line."""
    assert not diary.append(tmp_path / "state", [some(1)])
    assert not diary.append(tmp_path / "state", [some(2), some(3)])
    path = tmp_path / "state" / diary.DIRECTORY / diary.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert diary.parse(path.read_bytes()) == ([some(1), some(2), some(3)], 0)


def test_what_cannot_be_written_is_said_and_raises_nothing(tmp_path: Path) -> None:
    """No directory, a link that leads elsewhere, and a file that nobody turned over."""
    (tmp_path / "file").write_text("")
    assert "Not a directory" in diary.append(tmp_path / "file", [some()])
    home = tmp_path / diary.DIRECTORY
    home.mkdir()
    (home / diary.NAME).symlink_to(tmp_path / "elsewhere")
    assert diary.append(tmp_path, [some()])
    assert not (tmp_path / "elsewhere").exists()
    (home / diary.NAME).unlink()
    with (home / diary.NAME).open("wb") as file:
        file.truncate(diary.TWICE + 1)
    assert "more than" in diary.append(tmp_path, [some()])


@pytest.mark.parametrize("field", ["pod", "container"])
def test_names_that_are_too_long_are_not_written(field: str) -> None:
    """Nor would they be read."""
    fields = {"network": "n", "container": "c", "ifname": "e", field: "x" * diary.MOST_LINE}
    assert diary.encode(Line(1.0, diary.ADD, **fields)) == b""  # type: ignore[arg-type]
