"""What a node needs besides kernel and etcd, looked at every other second: files, disks, its own threads.

Each of these can be broken while routes and leases are perfect, and then no pod starts. A thread of its own, for a
disk that hangs must hold up nobody; that this thread itself hangs is seen by whoever asks it.
"""

import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from agent.config import Config
from agent.printable import printable
from cni.netconf import PLUGIN
from overlay.errors import OverlayError
from overlay.nodefile import PAGE_NAME

log = logging.getLogger(__name__)

EVERY_S = 2.0
HUNG_S = 30.0
SWEEP_SLACK_S = 60.0
PACE_S = 20.0
LEAST_BYTES = 64 << 10
THREADS = ("sweep", "deadlines", "history")
"""That run as long as the agent does, and whose end does not end it (agent.daemon.VITAL)."""
WAYS_IN = ("new pods", "conflist", "CNI executable")
"""Troubles with which no pod starts, however ready all else is."""
Identity = tuple[int, int, int]
"""Inode, size, time of the last change."""
_FIRST_LINE = 256
"""Of a script's the kernel reads no more (BINPRM_BUF_SIZE)."""


class Outlook:
    """``promised``: pods may be attached, so their runtime must find us; ``mend`` writes the pages again and says which
    others had altered.

    ``said`` is what others know is wrong with them, by name.
    """

    def __init__(
        self,
        config: Config,
        *,
        promised: Callable[[], bool],
        mend: Callable[[], str],
        swept_s_ago: Callable[[], float],
        said: Mapping[str, Callable[[], str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._promised, self._mend = promised, mend
        self.follow(config)
        self._swept_s_ago, self._said, self._clock = swept_s_ago, said, clock
        self._found: dict[str, str] = {}
        self._pages: list[Identity | None] = []
        """As they were when they were last right."""
        self._not_before = float("-inf")
        self._looked: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outlook", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._looked = self._clock()
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()

    def follow(self, config: Config) -> None:
        """Other settings. What is looked at is named once: joining paths cost as much as looking."""
        self._config = config
        self._conflist = config.cni_conf_dir / config.marks.conflist
        self._paths = (config.run_dir / PAGE_NAME, self._conflist)
        self._program = config.cni_bin_dir / PLUGIN

    def trouble(self) -> Mapping[str, str]:
        """As of the last look."""
        late = 0.0 if self._looked is None else self._clock() - self._looked
        if late <= HUNG_S:
            return self._found
        return self._found | {
            "files": f"not looked at for {late:.0f} s: a disk hangs, or that thread has ended; "
            "next: dmesg | tail; journalctl -u overlay-agent"
        }

    @property
    def barred(self) -> str:
        """Why no pod can start here although the network is ready; empty if one can."""
        found = self.trouble()
        return next((f"{name}: {found[name]}" for name in WAYS_IN if name in found), "")

    def look(self) -> None:
        """Once."""
        found = self._disks() | self._threads()
        if self._promised():
            found |= self._ways_in()
        for name in found.keys() - self._found.keys():
            log.warning("%s: %s", name, found[name])
        self._found = {name: text for name, say in self._said.items() if (text := say())} | found
        self._looked = self._clock()

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                self.look()
            except Exception:  # without this look a status would be too good
                log.exception("the node's files could not be looked at, trying again")

    def _ways_in(self) -> dict[str, str]:
        """What a runtime needs to find us; who altered a page or took it away has it written again at once."""
        found = {}
        conflist, pages = self._conflist, self._paths
        now = [_identity(page) for page in pages]
        if now != self._pages and None not in now and self._clock() < self._not_before:
            found["conflist"] = (
                f"another program alters {conflist} or {pages[0]} again and again, so pods may get another network; "
                f"it is written again every {PACE_S:.0f} s; next: stop that program, or give it a file of its own; "
                f"ls -l --time-style=full-iso {conflist.parent}"
            )
        elif now != self._pages:
            theirs, why = self._mended()
            if self._pages and theirs:  # each time makes runtimes read it anew
                self._not_before = self._clock() + PACE_S
            self._pages = [] if why else [_identity(page) for page in pages]
            if why:
                lost = conflist if None in now[1:] else pages[0] if None in now else None
                found["conflist"] = (
                    f"{lost or 'a page'} is {'gone' if lost else 'another'}, so no pod starts, and it cannot be "
                    f"written again: {why}; next: df -h {conflist.parent}; ls -ld {conflist.parent}"
                )
        program = self._program
        if why := not_executable(program):
            found["CNI executable"] = (
                f"{program} {why}: every ADD and DEL fails; next: overlayctl install, or python -m cni.install "
                f"--bin-dir {program.parent}"
            )
        return found

    def _mended(self) -> tuple[bool, str]:
        """Have the pages written again: whether others had altered them (else we did, for another MTU), and why that
        failed, or empty."""
        try:
            return bool(self._mend()), ""
        except (OverlayError, OSError) as error:
            return True, str(error)

    def _disks(self) -> dict[str, str]:
        config = self._config
        places = {
            "run directory": config.run_dir,
            "state directory": config.state_dir,
            "CNI configuration directory": config.cni_conf_dir,
        }
        return {
            name: f"{place}: {why}; next: df -h {place}; df -i {place}"
            for name, place in places.items()
            if (why := not_writable(place))
        }

    def _threads(self) -> dict[str, str]:
        living = {thread.name for thread in threading.enumerate()}
        gone = [name for name in THREADS if name not in living]
        found = {}
        if gone:
            found["threads"] = (
                f"{', '.join(gone)} ended by itself; next: systemctl restart overlay-agent (traffic goes on)"
            )
        late = self._swept_s_ago()
        if late > 2 * self._config.sweep_interval + SWEEP_SLACK_S:
            found["sweep"] = (
                f"attachments were last looked after {late:.0f} s ago, so what dead pods left stays; "
                "next: journalctl -u overlay-agent; systemctl restart overlay-agent (traffic goes on)"
            )
        return found


def not_executable(program: Path) -> str:
    """Why a runtime cannot start it; empty if it can."""
    try:
        mode = os.stat(program).st_mode
    except OSError as error:
        return "is missing" if error.errno == errno.ENOENT else f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(mode):
        return "is no file"
    return _not_startable(program) if mode & 0o111 else "is not executable"


def _not_startable(program: Path) -> str:
    """What execve(2) would refuse of a file that has the bit."""
    try:
        with open(program, "rb", buffering=0) as file:
            line = file.read(_FIRST_LINE).split(b"\n")[0]
        if os.statvfs(program).f_flag & os.ST_NOEXEC:
            return "lies on a file system that is mounted noexec"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if line.startswith(b"\x7fELF"):
        return ""
    if not line.startswith(b"#!"):
        return "is neither a program nor a script" if line else "is empty"
    interpreter = os.fsdecode((line[2:].split() or [b""])[0])
    there = os.path.isfile(interpreter) and os.access(interpreter, os.X_OK)
    return "" if there else f"is a script for {printable(interpreter)!r}, which is missing"


def _identity(page: Path) -> Identity | None:
    try:
        found = os.stat(page)
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


def not_writable(place: Path) -> str:
    """Why nothing can be written to a directory; empty as far as its file system says so."""
    try:
        found = os.statvfs(f"{place}/")  # which only a directory has
    except NotADirectoryError:
        return "is no directory"
    except FileNotFoundError:
        return (
            "" if place.parent.is_dir() else "is missing"
        )  # made when there is something to write
    except OSError as error:
        return error.strerror or str(error)
    if found.f_flag & os.ST_RDONLY:
        return "its file system is mounted read-only"
    if found.f_blocks and found.f_bavail * found.f_frsize < LEAST_BYTES:
        return "its file system is full"
    return "its file system has no free inodes" if found.f_files and not found.f_favail else ""
