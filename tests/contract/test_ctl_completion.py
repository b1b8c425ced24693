"""Completion as real shells do it: bash with its tables and functions, zsh at a terminal."""

import os
import pty
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl import completion, front
from tests.examples import HOSTILE_WORDS

BASH, ZSH = shutil.which("bash"), shutil.which("zsh")
CLEAR = "\x15"
"""Ctrl-U: the line is empty again."""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both, and an overlayctl that answers ``__complete`` with words of which some are hostile."""
    home = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh"):
        (home / shell).write_text(completion.text(shell))
    program = home / "overlayctl"
    words = "\\n".join(["web-1", "web-2", "10.5.1.7", *HOSTILE_WORDS]).replace("'", "")
    program.write_text(f"#!/bin/sh\nprintf '%b\\n' '{words}'; echo \"$@\" >> {home}/asked\n")
    program.chmod(0o755)
    return home


def offered(scripts: Path, line: str) -> list[str]:
    """What bash has after TAB at the end of a line."""
    words = line.split(" ")
    text = (
        f"source bash; COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _overlayctl; "
    )
    done = subprocess.run(
        [str(BASH), "--norc", "-c", text + 'printf "%s\\n" "${COMPREPLY[@]}"'],
        cwd=scripts,
        env={"PATH": f"{scripts}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return [word for word in done.stdout.split("\n") if word]


def test_bash_offers_verbs_options_values_and_places(scripts: Path) -> None:
    """By what stands before: a verb, its options, the values of an option, its words."""
    verbs = {row.name for row in front.visible()}

    assert verbs <= set(offered(scripts, "overlayctl "))
    assert offered(scripts, "overlayctl sta") == ["status"]
    assert offered(scripts, "overlayctl help sta") == ["status"]
    assert offered(scripts, "overlayctl ipam ") == ["show", "check", "release", "export"]
    assert offered(scripts, "overlayctl ipam --output ") == ["table", "json"]
    assert offered(scripts, "overlayctl gc --dry") == ["--dry-run"]
    assert offered(scripts, "overlayctl init --backend h") == ["host-gw"]
    assert offered(scripts, "overlayctl status nonsense more ") == []
    assert offered(scripts, "overlayctl --instance blue sta") == ["status"]
    assert offered(scripts, "overlayctl --output ") == ["table", "json"]
    assert offered(scripts, "overlayctl --instance blue ipam sh") == ["show"]
    assert "--etcd-cafile" not in offered(scripts, "overlayctl status --")


def test_bash_asks_the_node_for_what_only_it_knows_and_evaluates_none_of_it(scripts: Path) -> None:
    """A pod's name is no command; where the agent is, is passed on."""
    found = offered(scripts, "overlayctl ipam --run-dir /r release web")

    assert found == ["web-1", "web-2"]
    assert offered(scripts, "overlayctl node remove 10.") == ["10.5.1.7"]
    assert not (scripts / "pwned").exists()
    assert "__complete pod --run-dir /r" in (scripts / "asked").read_text()


def test_bash_offers_files_where_a_file_is_wanted(scripts: Path) -> None:
    """Such as --config."""
    assert offered(scripts, "overlayctl status --config over") == ["overlayctl"]


class Terminal:
    """A zsh that sits at a terminal."""

    def __init__(self, home: Path) -> None:
        pid, self.master = pty.fork()
        if pid == 0:  # pragma: no cover - the child
            os.chdir(home)
            environ = {"PATH": f"{home}:/usr/bin:/bin", "HOME": str(home), "TERM": "dumb"}
            os.execve(str(ZSH), ["zsh", "-f", "-i"], environ)
        self.pid = pid
        self.seen = ""

    def until(self, word: str) -> None:
        """Read on until it shows a word."""
        ends = time.monotonic() + 20
        while word not in self.seen:
            assert time.monotonic() < ends, self.seen
            try:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
            except OSError:
                pytest.fail(f"zsh ended: {self.seen}")

    def type(self, text: str) -> None:
        """Keys."""
        self.seen = ""
        os.write(self.master, text.encode())

    def close(self) -> None:
        """Hang up."""
        os.close(self.master)
        os.waitpid(self.pid, 0)


@pytest.fixture(scope="module")
def terminal(scripts: Path) -> Iterator[Terminal]:
    """With the completion loaded."""
    made = Terminal(scripts)
    made.type("PS1='> '; autoload -Uz compinit; compinit -u -D; source ./zsh; echo load''ed\n")
    made.until("loaded")
    yield made
    made.close()


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("overlayctl dri", "overlayctl drift"),
        ("overlayctl ipam sh", "ipam show"),
        ("overlayctl --instance blue dri", "blue drift"),
        ("overlayctl gc --dr", "gc --dry-run"),
        ("overlayctl status --output js", "output json"),
        ("overlayctl node remove web-2", "remove web-2 "),
    ],
)
def test_zsh_completes_at_a_terminal(terminal: Terminal, typed: str, completed: str) -> None:
    """The line as it stands after TAB."""
    terminal.type(f"{CLEAR}{typed}\t")
    terminal.until(completed)


def test_zsh_evaluates_nothing_that_others_wrote(terminal: Terminal, scripts: Path) -> None:
    """A list of pods is shown, and that is all."""
    terminal.type(f"{CLEAR}overlayctl ipam release we\t\t")
    terminal.until("web-1")
    assert not (scripts / "pwned").exists()
