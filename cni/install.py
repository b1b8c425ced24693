"""``python -m cni.install --bin-dir DIR``: put the executable where runtimes look, atomically."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cni
from cni import front
from overlay.errors import BadConfig
from overlay.nodefile import DEFAULT_RUN_DIR, write_atomic

NAME = "overlay"
LONGEST_SHEBANG = 127
"""Linux before 5.1 cut the first line there (BINPRM_BUF_SIZE)."""
_FLAGS = " -ISE"


def install(bin_dir: Path, *, run_dir: str = DEFAULT_RUN_DIR) -> Path:
    """Write the executable (mode 0755, never setuid) by rename; returns its path.

    Raises:
        BadConfig: this Python's path cannot stand in a shebang line, or ``run_dir`` is not absolute.
        OSError: the directory cannot be written.
    """
    python = sys.executable
    if len(f"#!{python}{_FLAGS}") > LONGEST_SHEBANG or any(char.isspace() for char in python):
        raise BadConfig(
            f"{python} cannot start an executable: its path has blanks or over {LONGEST_SHEBANG} bytes",
            hint="make the virtual environment at a shorter path",
        )
    if not run_dir.startswith("/"):
        raise BadConfig(f"run-dir is {run_dir!r}, it must be an absolute path")
    path = bin_dir / NAME
    text = front.render(python=python, run_dir=run_dir, full=[python, "-I", "-c", _start()])
    write_atomic(path, text.encode(), mode=0o755)
    return path


def _start() -> str:
    """What the full program runs; the path makes it work from a checkout as well."""
    root = str(Path(cni.__file__).resolve().parent.parent)
    return f"import sys; sys.path.insert(0, {root!r}); from cni.main import main; sys.exit(main())"


def main(argv: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cni.install", description="Install the CNI executable."
    )
    parser.add_argument("--bin-dir", type=Path, default=Path("/opt/cni/bin"), help="[/opt/cni/bin]")
    parser.add_argument(
        "--run-dir", default=DEFAULT_RUN_DIR, help=f"the agent's run directory [{DEFAULT_RUN_DIR}]"
    )
    flags = parser.parse_args(argv)
    try:
        print(f"installed {install(flags.bin_dir, run_dir=flags.run_dir)}")
    except OSError as error:
        print(f"cni.install: {flags.bin_dir} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    except BadConfig as error:
        print(f"cni.install: {error} {error.hint}".rstrip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
