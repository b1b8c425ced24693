"""Throw-away network namespaces for contract tests."""

import re
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_TIMERS = re.compile(r"state \w+ |NO-CARRIER,|,LOWER_UP| linkdown| tentative")
_PROVED = "local fe80::"
"""What the kernel changes by itself: a bridge has a carrier only while it has ports, and a link-local address is proved
for one to two seconds, after which it has a route."""


@contextmanager
def namespace() -> Iterator[Path]:
    """The path of a fresh one; gone afterwards, whatever happened."""
    name = f"ovl-test-{secrets.token_hex(4)}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield Path("/run/netns") / name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


def ip(space: Path, *words: str) -> str:
    """What `ip -n NAME …` prints."""
    done = subprocess.run(
        ["ip", "-n", space.name, *words], check=True, capture_output=True, text=True
    )
    return done.stdout


def inside(space: Path, *words: str, code: int = 0) -> str:
    """Run a command in a namespace and expect an exit code."""
    done = subprocess.run(
        ["nsenter", f"--net={space}", *words], check=False, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def picture(space: Path) -> list[str]:
    """All that is configured in a namespace, as iproute2 and nft say it."""
    shown = [
        ip(space, "link").splitlines(),
        ip(space, "addr").splitlines(),
        ip(space, "route", "show", "table", "all").splitlines(),
        ip(space, "-6", "route", "show", "table", "all").splitlines(),
        ip(space, "neigh", "show", "nud", "permanent").splitlines(),
        inside(space, "nft", "list", "ruleset").splitlines(),
    ]
    lines = [line for part in shown for line in part if "valid_lft" not in line]
    lines = [line for line in lines if not line.startswith(_PROVED)]
    return [_TIMERS.sub("", line) for line in lines]


def difference(before: list[str], after: list[str]) -> list[str]:
    """Lines that came (+) or went (-)."""
    gone = [f"- {line}" for line in before if line not in after]
    return gone + [f"+ {line}" for line in after if line not in before]
