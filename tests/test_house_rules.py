"""Rules of the house that no linter knows: sizes, names, no subprocess."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("overlay", "agent", "cni")
STARTS_PROGRAMS = {"cni/delegate.py", "agent/ctl/programs.py"}
"""The doors to other programs: IPAM plugins that a CNI configuration names; systemctl and the like for overlayctl."""
MOST_LINES = 300
MOST_FUNCTION_LINES = 60
MOST_POSITIONAL = 5
LONGER = {
    # One table of frozen values: split, the ownership table would stand apart from what it rules.
    "overlay/model.py": 400,
}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}


def _files(*rooms: str) -> list[Path]:
    return [path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))]


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _functions(node: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """By statements: ast.walk would pass over every expression of a hundred thousand lines, which takes seconds."""
    for name in _BLOCKS:
        for inner in getattr(node, name, ()):
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                yield inner
            yield from _functions(inner)


_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")


EVERY_FILE = _files(*PRODUCT, "e2e", "tests")


def test_a_file_has_one_job_and_says_which() -> None:
    """At most 300 lines, a module docstring, and a name that means something."""
    assert not [why for path in EVERY_FILE for why in _oddities(path)]


def test_a_function_fits_on_a_screen() -> None:
    """At most 60 lines and five positional parameters (self not counted)."""
    assert not [why for path in EVERY_FILE for why in _sprawl(path)]


def test_the_product_starts_no_process() -> None:
    """No subprocess, os.system, os.popen or os.spawn*: kernel and etcd are spoken to in process."""
    product = [path for path in _files(*PRODUCT) if _name(path) not in STARTS_PROGRAMS]
    assert not [why for path in product for why in _programs(path)]


def test_the_unit_ring_starts_no_process_and_never_sleeps() -> None:
    """That is what tests/contract is for; a sleep hides behind an Event that nobody has, too."""
    ring = [path for path in _files("tests") if "contract" not in path.relative_to(ROOT).parts]
    found = [(_name(path), it[0]) for path in ring for it in _SLOW.finditer(path.read_text())]
    assert not found


_SLOW = re.compile(
    r"^ *(?:import|from) (?:subprocess|multiprocessing|pty)\b|\bsleep\(|\bEvent\(\)\.wait\(", re.M
)


def _oddities(path: Path) -> Iterator[str]:
    text, name = path.read_text(), _name(path)
    most = LONGER.get(name, MOST_LINES)
    if len(text.splitlines()) > most:
        yield f"{name} is longer than {most} lines: split it by jobs"
    if text and not text.startswith(('"""', 'r"""')):
        yield f"{name} has no module docstring"
    if path.stem in VAGUE_NAMES:
        yield f"{name}: name it after what it knows"


def _sprawl(path: Path) -> Iterator[str]:
    for function in _functions(ast.parse(path.read_bytes())):
        where = f"{_name(path)}:{function.lineno} {function.name}"
        length = (function.end_lineno or function.lineno) - function.lineno + 1
        if length > MOST_FUNCTION_LINES:
            yield f"{where} has {length} lines"
        names = [argument.arg for argument in function.args.posonlyargs + function.args.args]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > MOST_POSITIONAL:
            yield f"{where} takes {count} positional parameters"


def _programs(path: Path) -> Iterator[str]:
    text = path.read_text()
    if not re.search(r"subprocess|\bos\.(system|popen|spawn)", text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import) and any(one.name == "subprocess" for one in node.names):
            yield f"{_name(path)} imports subprocess"
        if isinstance(node, ast.ImportFrom) and node.module == "subprocess":
            yield f"{_name(path)} imports from subprocess"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            called = f"{node.value.id}.{node.attr}"
            if called.startswith(("os.system", "os.popen", "os.spawn")):
                yield f"{_name(path)}: {called}"
