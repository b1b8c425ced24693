"""Rules of the house that no linter knows: sizes, names, no subprocess, a valid unit file."""

import ast
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("overlay", "agent", "cni")
STARTS_PROGRAMS = "cni/delegate.py"
"""The one door to other programs: IPAM plugins that a CNI configuration names."""
MOST_LINES = 300
MOST_FUNCTION_LINES = 60
MOST_POSITIONAL = 5
LONGER = {
    # One table of frozen values: split, the ownership table would stand apart from what it rules.
    "overlay/model.py": 350,
}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def _files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


EVERY_FILE = _files(*PRODUCT, "e2e", "tests")


@pytest.mark.parametrize("path", EVERY_FILE, ids=_name)
def test_a_file_has_one_job_and_says_which(path: Path) -> None:
    """At most 300 lines, a module docstring, and a name that means something."""
    text = path.read_text()
    most = LONGER.get(_name(path), MOST_LINES)
    assert len(text.splitlines()) <= most, (
        f"{_name(path)} is longer than {most} lines: split it by jobs"
    )
    assert not text or ast.get_docstring(ast.parse(text)), f"{_name(path)} has no module docstring"
    assert path.stem not in VAGUE_NAMES, f"{_name(path)}: name it after what it knows"


@pytest.mark.parametrize("path", EVERY_FILE, ids=_name)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """At most 60 lines and five positional parameters (self not counted)."""
    for function in _functions(ast.parse(path.read_text())):
        where = f"{_name(path)}:{function.lineno} {function.name}"
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        assert length <= MOST_FUNCTION_LINES, f"{where} has {length} lines"
        names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
        count = len([name for name in names if name not in ("self", "cls")])
        assert count <= MOST_POSITIONAL, f"{where} takes {count} positional parameters"


@pytest.mark.parametrize(
    "path", [path for path in _files(*PRODUCT) if _name(path) != STARTS_PROGRAMS], ids=_name
)
def test_the_product_starts_no_process(path: Path) -> None:
    """No subprocess, os.system, os.popen or os.spawn*: kernel and etcd are spoken to in process."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert all(alias.name != "subprocess" for alias in node.names), _name(path)
        if isinstance(node, ast.ImportFrom):
            assert node.module != "subprocess", _name(path)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            assert not called.startswith(("os.system", "os.popen", "os.spawn")), (
                f"{_name(path)}: {called}"
            )


def test_the_unit_file_is_valid(tmp_path: Path) -> None:
    """systemd reads every key of overlay-agent.service; a stub stands in for the agent."""
    analyze = shutil.which("systemd-analyze")
    assert analyze, "systemd-analyze is missing (make setup)"
    stub = tmp_path / "overlay-agent"
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    unit = tmp_path / "overlay-agent.service"
    shipped = (ROOT / "systemd" / unit.name).read_text()
    unit.write_text(
        shipped.replace("ExecStart=/opt/overlay/bin/overlay-agent", f"ExecStart={stub}")
    )
    done = subprocess.run(
        [analyze, "verify", "--recursive-errors=no", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert unit.name not in done.stderr, done.stderr
