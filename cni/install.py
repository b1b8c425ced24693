"""``python -m cni.install --bin-dir DIR``: put the executable where runtimes look for it, atomically."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cni
from cni import front
from overlay.nodefile import DEFAULT_RUN_DIR, write_atomic

NAME = "overlay"


def install(bin_dir: Path, *, run_dir: str = DEFAULT_RUN_DIR) -> Path:
    """Write the executable (mode 0755, never setuid) by rename; returns its path."""
    root = Path(cni.__file__).resolve().parent.parent
    start = f"import sys; sys.path.insert(0, {str(root)!r}); from cni.main import main; sys.exit(main())"
    full = [sys.executable, "-I", "-c", start]
    path = bin_dir / NAME
    write_atomic(
        path, front.render(python=sys.executable, run_dir=run_dir, full=full).encode(), mode=0o755
    )
    return path


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
    return 0


if __name__ == "__main__":
    sys.exit(main())
