"""``python -m cni.install --bin-dir DIR``: put the executable where runtimes look, atomically.

There are two that do the same, compiled (``front.c``) and in Python (``front.py``).
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import cni
from cni import compiled, front
from overlay.errors import BadConfig
from overlay.nodefile import DEFAULT_RUN_DIR, write_atomic

NAME = "overlay"
MODE = 0o755
"""Never setuid: whoever may start it has the rights that it needs."""
FRONTS = ("auto", "compiled", "python")
LONGEST_SHEBANG = 127
"""Linux before 5.1 cut the first line there (BINPRM_BUF_SIZE)."""
_FLAGS = " -ISE"
_PLAIN = re.compile(r'[^\s"\\\x00-\x1f\x7f]+')


def install(
    bin_dir: Path,
    *,
    run_dir: str = DEFAULT_RUN_DIR,
    kind: str = "auto",
    program: Path = compiled.PATH,
) -> tuple[Path, str]:
    """Write the executable (mode 0755, never setuid) by rename; returns its path and which it is.

    ``kind`` is one of FRONTS, auto being compiled where ``program`` has been built.

    Raises:
        BadConfig: it cannot be made: no compiled program, or a path that cannot be written into it.
        OSError: the directory cannot be written.
    """
    return write(bin_dir, settings(run_dir), kind=kind, program=program)


def write(
    bin_dir: Path, wanted: front.Settings, *, kind: str = "auto", program: Path = compiled.PATH
) -> tuple[Path, str]:
    """The same, given all the settings."""
    data, kind = content(wanted, kind=kind, program=program)
    path = bin_dir / NAME
    write_atomic(path, data, mode=MODE)
    return path, kind


def content(
    wanted: front.Settings, *, kind: str = "auto", program: Path = compiled.PATH, root: str = ""
) -> tuple[bytes, str]:
    """The executable's bytes, and which it is; ``root`` as in `settings`.

    Raises:
        BadConfig: it cannot be made.
    """
    if kind == "auto":
        kind = "compiled" if program.exists() else "python"
    return (_compiled(program, wanted) if kind == "compiled" else _script(wanted, root)), kind


def settings(run_dir: str, *, root: str = "") -> front.Settings:
    """What an executable for this installation has to know; ``root`` is an image in which it lies for another machine.

    Raises:
        BadConfig: ``run_dir`` is not an absolute path, or this Python's path would break a message.
    """
    if not run_dir.startswith("/") or "\0" in run_dir:
        raise BadConfig(f"run-dir is {run_dir!r}, it must be an absolute path")
    python = seen_from(root, interpreter())
    if not _PLAIN.fullmatch(python):
        raise BadConfig(
            f"{python!r} cannot start an executable: its path has blanks, quotes or backslashes",
            hint="make the virtual environment at a plainer path",
        )
    code = seen_from(root, str(Path(cni.__file__).resolve().parent.parent))
    return front.Settings(run_dir, (python, "-I", "-c", _start(run_dir, code)))


def interpreter() -> str:
    """This Python by the one name that every environment has, whichever of its links it was started by."""
    usual = Path(sys.executable).with_name("python3")
    return str(usual) if usual.exists() else sys.executable


def seen_from(root: str, path: str) -> str:
    """A path as it is for who has ``root`` as his /; what lies elsewhere stays as it is."""
    inside = root.rstrip("/")
    return path.removeprefix(inside) if path.startswith(f"{inside}/") else path


def _compiled(program: Path, wanted: front.Settings) -> bytes:
    try:
        return compiled.patch(program.read_bytes(), wanted)
    except FileNotFoundError as error:
        raise BadConfig(f"there is no compiled front at {program}", hint=compiled.BUILD) from error


def _script(wanted: front.Settings, root: str) -> bytes:
    python = seen_from(root, interpreter())
    if len(f"#!{python}{_FLAGS}") > LONGEST_SHEBANG:
        raise BadConfig(
            f"{python} cannot start an executable: its path has over {LONGEST_SHEBANG} bytes",
            hint="make the virtual environment at a shorter path",
        )
    return os.fsencode(front.pack(front.render(wanted, python=python)))


def _start(run_dir: str, code: str) -> str:
    """What the full program runs; the path makes it work from a checkout as well."""
    return (
        f"import sys; sys.path.insert(0, {code!r}); from cni.main import main; "
        f"sys.exit(main({run_dir!r}))"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cni.install", description="Install the CNI executable."
    )
    parser.add_argument("--bin-dir", type=Path, default=Path("/opt/cni/bin"), help="[/opt/cni/bin]")
    parser.add_argument(
        "--run-dir", default=DEFAULT_RUN_DIR, help=f"the agent's run directory [{DEFAULT_RUN_DIR}]"
    )
    parser.add_argument(
        "--front", choices=FRONTS, default="auto", help="auto: compiled if it has been built [auto]"
    )
    flags = parser.parse_args(argv)
    try:
        path, kind = install(flags.bin_dir, run_dir=flags.run_dir, kind=flags.front)
    except OSError as error:
        print(f"cni.install: {flags.bin_dir} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except BadConfig as error:
        print(f"cni.install: {error}; {error.hint}".rstrip("; "), file=sys.stderr)
        return 1
    print(f"installed {path} ({kind} front)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
