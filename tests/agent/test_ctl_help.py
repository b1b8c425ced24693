"""overlayctl's help: one screen for all verbs, a manual for each, and a next step for every mistake."""

import re
from pathlib import Path

import pytest

from agent.ctl import front, main, manual
from agent.ctl.parser import EXIT_USAGE, VALUED, alone, parser, verb_first
from agent.ctl.verbs import VERBS
from agent.settings import SETTINGS

NAMES = [row.name for row in front.visible()]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """The exit code, and what was printed."""
    try:
        code = main.main(list(words))
    except SystemExit as end:
        code = int(str(end.code or 0))
    out, err = capsys.readouterr()
    return code, out, err


def test_the_front_page_is_one_screen_with_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    """Grouped by task, none forgotten, none that does not exist, no wider than a terminal may be."""
    code, out, _ = said(capsys, "--help")
    lines = out.splitlines()

    assert code == 0
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 110
    assert sorted(row.name for _, rows in front.by_task() for row in rows) == sorted(NAMES)
    assert all(re.search(rf"^  [a-z ]{{9}}{name} ", out, re.MULTILINE) for name in NAMES)
    assert "__complete" not in out
    assert not [task for task, _ in front.by_task() if task == "more"], (
        "say its task in front.TASKS"
    )


def test_without_a_word_it_is_the_front_page_and_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On stderr: a script that forgot its verb must not read it as an answer."""
    code, out, err = said(capsys)

    assert (code, out, err) == (EXIT_USAGE, "", front.page())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["history", "10.5.3.7", "--all", "--timeout", "nan"],
            "--timeout nan: at most 600 seconds",
        ),
        (["history", "10.5.3.7", "--all", "--timeout", "1e308"], "at most 600 seconds"),
        (["trace", "10.5.3.7", "--seconds", "nan"], "must not be below 0"),
        (["mesh", "--wait", "nan"], "from a moment to 60 seconds"),
    ],
)
def test_a_number_that_nobody_can_wait_for_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: list[str], why: str
) -> None:
    """Not a traceback, nor a wait without end."""
    nowhere = ["--etcd-endpoints", "http://127.0.0.1:1", "--run-dir", str(tmp_path / "run")]
    code, out, err = said(capsys, *words, *nowhere, "--state-dir", str(tmp_path / "state"))
    assert (code, out) == (EXIT_USAGE, "")
    assert why in err


@pytest.mark.parametrize(
    ("word", "guess"), [("statsu", "status"), ("lease", "leases"), ("xyzzy", "")]
)
def test_a_wrong_verb_is_told_what_was_probably_meant(
    capsys: pytest.CaptureFixture[str], word: str, guess: str
) -> None:
    """And where all of them are."""
    code, _, err = said(capsys, word)

    assert code == EXIT_USAGE
    assert "next: overlayctl --help" in err
    assert (f"did you mean {guess}" in err) is bool(guess)


@pytest.mark.parametrize("name", NAMES)
def test_a_verbs_help_is_a_manual(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """A summary, a paragraph, its own options first, examples that parse, exit codes, where to go on."""
    code, out, _ = said(capsys, name, "--help")
    row = next(row for row in VERBS if row.name == name)
    found = row.manual()

    assert code == 0
    assert f"overlayctl {name}: " in out
    assert len(found.text.split()) >= 20, (
        "a paragraph, in MANUAL of its module or in agent.ctl.manuals"
    )
    assert found.examples
    assert found.see
    for part in ("\nexamples:\n", "\nexit codes:\n", "\nsettings:\n", "see also: "):
        assert part in out
    assert re.search(r"^  64  ", out, re.MULTILINE)
    assert "--etcd-cafile" not in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("name", NAMES)
def test_help_all_has_every_setting(capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Behind the verb's own options."""
    _, out, _ = said(capsys, name, "--help-all")

    assert all(f"--{row.key.replace('_', '-')} " in out for row in SETTINGS)
    assert out.index("--output") < out.index("--etcd-cafile")


@pytest.mark.parametrize(
    ("name", "example"),
    [
        (name, words)
        for row in front.visible()
        for name in [row.name]
        for words, _ in row.manual().examples
    ],
)
def test_examples_are_commands_that_exist(name: str, example: str) -> None:
    """Each names a verb, and options that it has."""
    words = re.split(r" (?:&&|\||>) ", example)[0].split()
    row = next((row for row in VERBS if row.name == words[0]), None)

    assert row is not None, f"{name}: {example}"
    options = {it for action in alone(row)._actions for it in action.option_strings}
    assert {it for it in words if it.startswith("-")} <= options, f"{name}: {example}"


@pytest.mark.parametrize("name", NAMES)
def test_other_verbs_that_a_manual_names_exist(name: str) -> None:
    """In its text and under "see also"."""
    found = next(row for row in VERBS if row.name == name).manual()
    text = " ".join([found.text, *found.see])

    assert set(re.findall(r"overlayctl ([a-z]+)", text)) <= {*NAMES, "s"}


def test_a_verb_without_a_manual_still_has_help() -> None:
    """Its row's sentence and the exit codes that all keep to."""
    bare = manual.Manual()

    assert manual.description("x", "does it", bare) == "overlayctl x: does it"
    assert "  2   down" in manual.epilog("x", bare, settings_shown=False)


@pytest.mark.parametrize(
    "words",
    [("status", "--nonsense"), ("ipam", "fly"), ("release",), ("--nonsense", "status")],
)
def test_wrong_usage_names_the_next_command(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """The verb's own help where there is a verb."""
    code, _, err = said(capsys, *words)

    assert code == EXIT_USAGE
    assert "next: overlayctl " in err


@pytest.mark.parametrize("option", VALUED)
def test_options_that_all_verbs_have_may_stand_before_the_verb(option: str) -> None:
    """As with git and kubectl; each with its value in either form, and none that comes later is moved."""
    for front_words in ([option, "gc"], [f"{option}=gc"]):
        found = verb_first([*front_words, "ipam", "release", "10.5.1.7", "--force"])
        assert found == ["ipam", *front_words, "release", "10.5.1.7", "--force"]
    flags = parser(["status"]).parse_args(verb_first([option, "json", "status"]))
    assert getattr(flags, option[2:].replace("-", "_")) == "json"


def test_an_instance_before_the_verb_is_the_one_behind_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """The whole way, with a flag of the verb's own, and the last word wins as ever."""
    where = ["--run-dir", str(tmp_path)]
    behind = said(capsys, "drift", *where, "--output", "json")
    before = said(capsys, *where, "--output", "json", "drift")
    assert before == behind
    assert verb_first(["--dry-run", "gc", "--output=json"]) == ["gc", "--dry-run", "--output=json"]
    assert verb_first(["--instance", "blue"]) == ["--instance", "blue"]
    assert said(capsys, "--version", "status")[0] == 0
    assert said(capsys, "--output", "json") == (EXIT_USAGE, "", front.page())


@pytest.mark.parametrize(
    "words",
    [
        ("help", "status"),
        ("--help", "status"),
        ("status", "-h"),
        ("--instance", "blue", "help", "status"),
    ],
)
def test_help_may_be_asked_for_in_any_order(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    """As git and others do."""
    code, out, _ = said(capsys, *words)

    assert code == 0
    assert "overlayctl status: " in out
