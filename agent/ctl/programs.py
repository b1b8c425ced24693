"""The door of overlayctl to other programs of the machine, such as systemctl; the agent starts none.

Programs get an argument vector, never a shell, a plain environment, a deadline, and nothing on standard input.
"""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ABSENT, LATE = 127, 124
"""Exit codes as a shell and timeout(1) have them: no such program; not done within the deadline."""
MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Said:
    """What a program printed, and its exit code; minus a signal's number if one ended it."""

    code: int
    out: str = ""
    err: str = ""

    @property
    def absent(self) -> bool:
        """The machine has no such program."""
        return self.code == ABSENT


def run(arguments: Sequence[str | Path], *, timeout_s: float = 10.0) -> Said:
    """Run a program to its end; one that is absent or too slow is a value, not an error."""
    words = [str(word) for word in arguments]
    environ = {"PATH": PATH, "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"}
    environ |= {key: os.environ[key] for key in ("DBUS_SYSTEM_BUS_ADDRESS",) if key in os.environ}
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            env=environ,
            check=False,
        )
    except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
        return Said(ABSENT, "", f"{words[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Said(LATE, "", f"{words[0]}: not done within {timeout_s:g} s")
    out, err = (text[:MOST_BYTES].decode(errors="replace") for text in (done.stdout, done.stderr))
    return Said(done.returncode, out, err)


def properties(text: str) -> dict[str, str]:
    """What ``systemctl show`` printed: KEY=VALUE, line by line. Pure."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
