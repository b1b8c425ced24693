"""Errors leave nobody alone: what an operator is told by overlayctl, or at the agent's start, names the next step."""

import ast
from collections.abc import Iterator
from pathlib import Path

from overlay import errors

ROOT = Path(__file__).resolve().parent.parent
TOLD = (
    *sorted((ROOT / "agent" / "ctl").rglob("*.py")),
    *(ROOT / "agent" / f"{name}.py" for name in ("byhand", "config", "machine", "sole", "sources")),
)
"""Where errors come from that people read as they stand."""
_INTERNAL = {"BadInput", "Retryable", "Compacted"}
"""Bytes that do not decode: caught, and told in other words, by who asked for them."""


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
        if name in ours - _INTERNAL and not hinted:
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
