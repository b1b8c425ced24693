"""Debian's CNI plugins beside ours, as an administrator's bin directory has them all in one place."""

from pathlib import Path

SHIPPED = Path("/usr/lib/cni")
CHAIN = ("portmap", "bandwidth")
"""What our agent chains after itself, if present when it publishes."""


def link(bin_dir: Path, *names: str) -> None:
    """Symbolic links to the named plugins.

    Raises:
        FileNotFoundError: Debian's containernetworking-plugins is not installed.
    """
    for name in names:
        if not (SHIPPED / name).exists():
            raise FileNotFoundError(f"{SHIPPED / name} is missing: make setup")
        (bin_dir / name).symlink_to(SHIPPED / name)
