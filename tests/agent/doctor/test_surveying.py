"""All checks together: none holds up or breaks the others, and a bad one is itself a finding."""

import argparse
import threading
from pathlib import Path

import pytest

from agent import config
from agent.ctl.doctor import command, mending
from agent.ctl.doctor.finding import Finding, Fix, found
from agent.ctl.doctor.look import Look
from agent.ctl.doctor.surveying import Check, examine
from overlay.errors import KernelBusy, OverlayError


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """Of a node on which nothing is."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    flags = parser.parse_args(["--machine-id", "0" * 32, "--run-dir", str(tmp_path)])
    return Look(config.load(flags, {"OVERLAY_CONFIG": str(_empty(tmp_path))}), root=tmp_path)


def _empty(directory: Path) -> Path:
    path = directory / "agent.toml"
    path.write_text("")
    return path


def _fails(_: Look) -> list[Finding]:
    raise KernelBusy("the list changed", hint="again")


def _breaks(_: Look) -> list[Finding]:
    raise ZeroDivisionError("by zero")


def test_a_check_that_fails_or_hangs_is_a_finding_and_the_rest_is_told(look: Look) -> None:
    """The worst first; nothing to judge makes no line."""
    release = threading.Event()

    def hangs(_: Look) -> list[Finding]:
        release.wait(20)
        return []

    rows = [("fails", _fails), ("breaks", _breaks), ("hangs", hangs)]
    checks = [
        Check("good", "host", "all is well", lambda _: []),
        Check("silent", "host", "never said", lambda _: None),
        *(Check(name, "host", "", run) for name, run in rows),
        Check("bad", "host", "", lambda _: [found("place-full", "fault", "full", "make room")]),
    ]
    findings = examine(checks, look, within_s=1.0)
    release.set()
    assert [one.id for one in findings] == [
        "place-full",
        "check-failed",
        "check-failed",
        "check-late",
        "good",
    ]
    assert findings[1].title == "the check fails could not be made: the list changed"
    assert findings[1].mend == "again"
    assert "ZeroDivisionError: by zero" in findings[2].title
    assert findings[-1].title == "all is well"


def test_what_one_check_has_read_the_others_need_not_read_again(look: Look) -> None:
    """Asked once, by however many at once."""
    asked: list[int] = []

    def read() -> int:
        asked.append(1)
        return 7

    checks = [
        Check(str(n), "host", "", lambda it: [] if it.once("x", read) == 7 else None)
        for n in range(5)
    ]
    assert len(examine(checks, look)) == 5
    assert len(asked) == 1


def test_exit_codes_and_the_last_line() -> None:
    """0 with notes, 1 with anything to do, 2 where the node is down; the line names the next command."""
    note = found("conflist-other", "note", "x", "y")
    warning = found("agent-version", "warning", "x", "y")
    down = found("agent-down", "fault", "x", "y", down=True)
    fixable = found("ip-forward", "fault", "x", "y", fix=Fix("sysctl", lambda: None))
    assert [command.exit_code(it) for it in ([], [note], [note, warning], [warning, down])] == [
        0,
        0,
        1,
        2,
    ]
    assert command.summary([note]).endswith("next: overlayctl status")
    assert command.summary([fixable]).startswith("1 fault, 0 warnings, 0 notes")
    assert command.summary([fixable]).endswith("next: overlayctl doctor --fix")
    assert "doctor --bundle" in command.summary([warning])


def test_fixes_are_named_done_and_their_failures_said() -> None:
    """A dry run does nothing; notes are left alone; one that fails stops no other."""
    did: list[str] = []

    def fail() -> None:
        raise OverlayError("read-only")

    findings = [
        found("ip-forward", "fault", "x", "y", fix=Fix("one", lambda: did.append("one"))),
        found("rp-filter", "warning", "x", "y", fix=Fix("two", fail)),
        found(
            "secret-readable", "warning", "x", "y", fix=Fix("three", lambda: did.append("three"))
        ),
        found("rp-filter", "note", "x", "y", fix=Fix("four", lambda: did.append("four"))),
    ]
    assert [one.text for one in mending.mend(findings, dry_run=True)] == ["one", "two", "three"]
    assert did == []
    done = mending.mend(findings, dry_run=False)
    assert [(one.text, one.error) for one in done] == [
        ("one", ""),
        ("two", "read-only"),
        ("three", ""),
    ]
    assert did == ["one", "three"]


def test_text_of_others_cannot_write_on_the_terminal() -> None:
    """A title and a mend may hold names from etcd or the kernel."""
    finding = found("agent-degraded", "warning", "node \x1b[2J", "look\n\x07")
    assert "\x1b" not in finding.title
    assert "\n" not in finding.mend
