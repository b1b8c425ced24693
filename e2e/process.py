"""Commands and daemons of a lab: run one and see what it said, or start one and end it by its id."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CLEAN_ENVIRON = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
}
"""What every command of a lab sees: a developer's OVERLAY_ or ETCDCTL_ variables never reach it."""


class CommandFailed(Exception):
    """A command of the lab ended with another code than 0; the text has what it said."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str


def run(
    arguments: Sequence[str | Path],
    *,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
    timeout_s: float = 30,
) -> Said:
    """Run to the end, whatever the code. ``environ`` is added to CLEAN_ENVIRON."""
    done = subprocess.run(
        [str(word) for word in arguments],
        input=stdin,
        env={**CLEAN_ENVIRON, **(environ or {})},
        timeout=timeout_s,
        capture_output=True,
        text=True,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def must(arguments: Sequence[str | Path], *, stdin: str = "", timeout_s: float = 30) -> str:
    """Run to the end and return what it printed; any code but 0 is CommandFailed."""
    said = run(arguments, stdin=stdin, timeout_s=timeout_s)
    if said.code != 0:
        words = " ".join(str(word) for word in arguments)
        raise CommandFailed(
            f"`{words}` ended with {said.code}: {said.err.strip() or said.out.strip()}"
        )
    return said.out


def conversation(arguments: Sequence[str | Path]) -> subprocess.Popen[str]:
    """A module of ours that is spoken with, line by line; in a session of its own, as a Daemon is."""
    return subprocess.Popen(
        [str(word) for word in arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=CLEAN_ENVIRON,
        text=True,
        start_new_session=True,
        cwd=Path(__file__).parent.parent,
    )


def start_time(pid: int) -> str:
    """The kernel's start time of a process ("" if it is gone): tells a pid from its reuse."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


class Daemon:
    """A process in the background, in a session of its own so that Ctrl-C reaches only the lab."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str | Path],
        log: Path,
        *,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._environ = {**CLEAN_ENVIRON, **(environ or {})}
        with log.open("ab") as output:
            self._child = self._spawn(arguments, output)

    def _spawn(self, arguments: Sequence[str | Path], output: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [str(word) for word in arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environ,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._child.pid

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self._child.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send a signal and go on."""
        self._child.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM, *, timeout_s: float = 30) -> int:
        """Send a signal and wait; returns the exit code (negative: ended by that signal)."""
        if self.alive:
            self._child.send_signal(number)
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait(timeout_s)
            raise CommandFailed(
                f"{self.name} did not end {timeout_s:g} s after {number.name}"
            ) from None


def kill(pid: int) -> None:
    """SIGKILL, and no complaint if it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
