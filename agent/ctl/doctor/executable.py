"""The CNI executable: there, startable, not setuid, ours, of this version, and for this agent."""

import ast
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from agent.ctl.doctor.finding import Finding, Fix, Severity, found
from agent.ctl.doctor.look import Look
from cni import compiled, front
from cni.compiled import BLOCK_BYTES, MARK
from cni.front import Settings
from cni.install import NAME

MOST_BYTES = 16 << 20
OURS = b"overlay-agent stopped before it had answered"
"""One of its messages (cni/front.py, front.c); of the rest, hardly a word outlives every compiler."""
_ASSIGNED = re.compile(r"^(RUN_DIR|FULL) = (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Facts:
    """``run_dir`` is empty for a named agent: its conflist says where it is, the executable knows the first one's.

    ``mode`` is None where there is no such file; ``settings`` None where they cannot be read.

    ``same``: the program, without its settings, is the one that this installation has.
    """

    path: str
    run_dir: str
    installer: str = "overlayctl install"
    mode: int | None = None
    regular: bool = True
    ours: bool = True
    same: bool = True
    settings: Settings | None = None
    full: bool = True
    expected: bool = True


def check(look: Look) -> list[Finding]:
    """The one in cni_bin_dir."""
    return judge(read(look))


def judge(facts: Facts) -> list[Finding]:
    """Pure; where no agent has ever run a missing one is no fault yet."""
    path, mend = facts.path, facts.installer
    if facts.mode is None:
        severity: Severity = "fault" if facts.expected else "note"
        return [found("cni-executable", severity, f"there is no {path}", mend)]
    if not facts.regular:
        return [found("cni-executable", "fault", f"{path} is not a file", f"ls -l {path}; {mend}")]
    findings = []
    if facts.mode & 0o6000 or not facts.mode & 0o100 or facts.mode & 0o022:
        how = _oddities(facts.mode)
        fix = Fix(f"chmod 0755 {path}", lambda: os.chmod(path, 0o755))
        title = f"{path} is {how} (mode {facts.mode:04o})"
        findings.append(found("cni-executable-mode", "fault", title, fix.text, fix=fix))
    if why := _another(facts):
        findings.append(found("cni-executable-other", "warning", f"{path} {why}", mend))
    return findings


def _oddities(mode: int) -> str:
    words = {"setuid or setgid": mode & 0o6000, "not executable": not mode & 0o100}
    words["writable by others than root"] = mode & 0o022
    return ", ".join(word for word, is_so in words.items() if is_so)


def _another(facts: Facts) -> str:
    if not facts.ours:
        return "is not overlay's plugin: another program has its name"
    if facts.settings is None or not facts.same:
        return "is of another version than this overlayctl"
    if facts.run_dir and facts.settings.run_dir != facts.run_dir:
        return f"talks to the agent in {facts.settings.run_dir}, this one is in {facts.run_dir}"
    if not facts.full:
        return f"would start {facts.settings.full[0]} where no agent answers, which is not there"
    return ""


def read(look: Look) -> Facts:
    """The file, and what is in it."""
    its = look.settings
    path = its.cni_bin_dir / NAME
    expected = its.run_dir.exists() or any(its.cni_conf_dir.glob(its.marks.conflist))
    run_dir = "" if its.instance else str(its.run_dir)
    facts = Facts(str(path), run_dir, expected=expected)
    try:
        seen = path.stat()
        data = b""
        if stat.S_ISREG(seen.st_mode):
            with path.open("rb") as file:
                data = file.read(MOST_BYTES)
    except OSError:
        return facts
    settings, same = identify(data, _program())
    return Facts(
        facts.path,
        facts.run_dir,
        mode=stat.S_IMODE(seen.st_mode),
        regular=stat.S_ISREG(seen.st_mode),
        ours=OURS in data,
        same=same,
        settings=settings,
        full=settings is None or Path(settings.full[0]).exists(),
        expected=expected,
    )


def identify(data: bytes, program: bytes) -> tuple[Settings | None, bool]:
    """Its settings, and whether all else is as in ``program``, or as this version's text. Pure."""
    return _script(data) if data.startswith(b"#!") else _compiled(data, program)


def _compiled(data: bytes, program: bytes) -> tuple[Settings | None, bool]:
    start = program.find(MARK + bytes(BLOCK_BYTES - len(MARK)))
    if start < 0 or len(data) != len(program):
        return None, False
    block, end = data[start : start + BLOCK_BYTES], start + BLOCK_BYTES
    words = [word.decode(errors="replace") for word in block.rstrip(b"\0").split(b"\0")]
    if len(words) < 4:
        return None, False
    same = data[:start] == program[:start] and data[end:] == program[end:]
    return Settings(words[0], tuple(words[3:])), same


def _script(data: bytes) -> tuple[Settings | None, bool]:
    lines = data.decode(errors="replace").splitlines()
    try:
        text = str(ast.literal_eval(lines[-1].removesuffix(")")))  # as cni.front.pack leaves it
        values = {name: ast.literal_eval(value) for name, value in _ASSIGNED.findall(text)}
        full = tuple(os.fsdecode(word) for word in values["FULL"])
        settings = Settings(os.fsdecode(values["RUN_DIR"]), full)
    except (ValueError, SyntaxError, KeyError, TypeError, IndexError, MemoryError, RecursionError):
        return None, False
    python = lines[0].removeprefix("#!").partition(" ")[0]
    return settings if full else None, text == front.render(settings, python=python)


def _program() -> bytes:
    try:
        return compiled.PATH.read_bytes()
    except OSError:
        return b""
