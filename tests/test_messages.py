"""Errors leave nobody alone: what an operator is told at the agent's start, or by overlayctl, names the next step."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl import main
from overlay import errors

ROOT = Path(__file__).resolve().parent.parent
TOLD = [
    ROOT / "agent" / f"{name}.py"
    for name in ("byhand", "config", "ground", "machine", "sole", "sources", "underlay")
]
"""Where what is said at the agent's start comes from; overlayctl has a next step for every error (agent.ctl.main)."""


def _silent(source: str) -> Iterator[str]:
    ours = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.OverlayError)
    }
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Raise) or not isinstance(node.exc, ast.Call):
            continue
        name = getattr(node.exc.func, "id", "")
        hinted = any(word.arg in ("hint", None) for word in node.exc.keywords)
        if name in ours and not hinted:
            yield f"line {node.lineno}: {name} has no hint, which names the next command"


def test_every_error_an_operator_reads_names_the_next_command() -> None:
    """The hint is printed as "next: …" below the sentence."""
    assert not [
        f"{path.relative_to(ROOT)} {why}" for path in TOLD for why in _silent(path.read_text())
    ]


def test_one_without_would_be_noticed() -> None:
    """The check above can fail."""
    assert list(_silent("raise BadConfig('no')")) == [
        "line 1: BadConfig has no hint, which names the next command"
    ]
    assert not list(_silent("raise BadConfig('no', hint='overlayctl status')"))


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (("status", "--etcd-timeout", "soon"), "next: overlay-agent --help"),
        (("ipam", "release"), "next: overlayctl ipam show"),
        (("ipam", "release", "10.9.9.9"), "next: overlayctl ipam show"),
        (("peers",), "next: systemctl status overlay-agent"),
        (("reserve", "nonsense"), "next: such as 10.5.7.0/24"),
    ],
)
def test_overlayctl_always_says_what_to_do_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], step: str
) -> None:
    """Below the sentence about what was wrong."""
    code = main.main([*words, "--run-dir", str(tmp_path)])

    assert code in (2, 64)
    assert step in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "step"),
    [
        (errors.BadConfig("x"), "overlayctl why --help"),
        (errors.StoreUnavailable("x"), "overlayctl etcd"),
        (errors.NotReady("x"), "overlayctl doctor"),
    ],
)
def test_an_error_that_names_no_step_gets_one(error: errors.OverlayError, step: str) -> None:
    """By what kind it is of."""
    assert main.next_step(error, "why") == step
