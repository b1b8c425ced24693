"""Completion: every option of every verb, and no word that a shell would obey; with real shells in tests/contract."""

from argparse import SUPPRESS
from pathlib import Path

import pytest

from agent.ctl import completion, front, main
from agent.ctl.completion import harmless
from agent.ctl.parser import alone
from agent.ctl.verbs import Verb
from tests.examples import HOSTILE_WORDS


def test_only_words_that_no_shell_obeys_pass() -> None:
    """Names come from etcd and from runtimes."""
    assert harmless([*HOSTILE_WORDS, "n1.example.org", "10.5.1.0/24", "fd00::1"]) == [
        "n1.example.org",
        "10.5.1.0/24",
        "fd00::1",
    ]


@pytest.mark.parametrize("row", front.visible(), ids=lambda row: row.name)
def test_every_option_of_every_verb_is_offered(row: Verb) -> None:
    """Made from the parsers, so nothing can be forgotten."""
    words = next(it for it in completion.verbs() if it.name == row.name)
    own = {word for it in alone(row)._actions if it.help != SUPPRESS for word in it.option_strings}

    assert {"--output", "--help", *own} <= set(words.options)


@pytest.mark.parametrize("kind", ["pod", "node", "subnet"])
def test_where_no_agent_runs_there_is_nothing_to_offer(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No word, and no complaint into somebody's command line."""
    code = main.main(["__complete", kind, "--run-dir", str(tmp_path)])

    assert (code, *capsys.readouterr()) == (0, "", "")
