"""The directories: is there room, can they be written, does the run directory go with a reboot."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import PROC, Look, read_text

FULL, NEARLY = 0.98, 0.90
_MEMORY = ("tmpfs", "ramfs", "zram")


@dataclass(frozen=True, slots=True)
class Place:
    """A directory, or where it will be made. ``used`` and ``inodes`` are shares; inodes 0 where there is no limit."""

    what: str
    path: str
    kind: str
    options: frozenset[str]
    used: float
    inodes: float
    exists: bool
    writable: bool


def check(look: Look) -> list[Finding]:
    """All that the agent and the plugin write to, and what is started from."""
    return judge(read(look))


def judge(places: Iterable[Place]) -> list[Finding]:
    """Pure."""
    findings: list[Finding] = []
    for it in places:
        findings += _room(it)
        if it.what == "bin":
            if "noexec" in it.options:
                title = f"{it.path} is mounted noexec"
                findings.append(
                    found("bin-dir-noexec", "fault", title, f"mount -o remount,exec {it.path}")
                )
            continue
        if it.what == "run" and it.exists and it.kind not in _MEMORY:
            title = f"{it.path} is on {it.kind}, not on a tmpfs"
            mend = "run_dir below /run, or: mount -t tmpfs tmpfs DIR before the agent starts"
            findings.append(found("run-dir-not-tmpfs", "warning", title, mend))
        if not it.writable and "ro" in it.options:
            title = f"{it.path} is mounted read-only"
            findings.append(
                found("place-unwritable", "fault", title, f"mount -o remount,rw {it.path}")
            )
        elif not it.writable:
            title = f"{it.path} cannot be written"
            findings.append(
                found("place-unwritable", "fault", title, f"ls -ld {it.path}; chmod u+w {it.path}")
            )
    return _once(findings)


def _room(it: Place) -> list[Finding]:
    found_here = []
    for share, of, look in ((it.used, "space", "df"), (it.inodes, "inodes", "df -i")):
        if share < NEARLY:
            continue
        kind, severity = (
            ("place-full", "fault") if share >= FULL else ("place-nearly-full", "warning")
        )
        title = f"{it.path} has {share:.0%} of its {of} in use"
        mend = f"{look} {it.path}; make room"
        found_here.append(found(kind, "fault" if severity == "fault" else "warning", title, mend))
    return found_here


def _once(findings: list[Finding]) -> list[Finding]:
    return list({(one.id, one.title): one for one in findings}.values())


def read(look: Look) -> list[Place]:
    """By statvfs(3) and this process's mounts."""
    its = look.settings
    mounts = mounted(read_text(PROC / "thread-self/mountinfo") or "")
    wanted = {
        "run": its.run_dir,
        "state": its.state_dir,
        "conf": its.cni_conf_dir,
        "bin": its.cni_bin_dir,
    }
    return [place for what, path in wanted.items() if (place := _place(what, path, mounts))]


def _place(what: str, path: Path, mounts: dict[str, tuple[str, frozenset[str]]]) -> Place | None:
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        found_there, real = os.statvfs(there), os.path.realpath(there)
        writable = os.access(there, os.W_OK) or os.geteuid() != 0  # the agent is root
    except OSError:
        return None
    held = found_there.f_blocks - found_there.f_bfree
    usable = held + found_there.f_bavail  # what is reserved for root counts as full, as df has it
    inodes = found_there.f_files
    kind, options = next(
        (mounts[point] for point in _upwards(real) if point in mounts), ("", frozenset())
    )
    return Place(
        what,
        str(path),
        kind,
        options,
        used=held / usable if usable else 0.0,
        inodes=(inodes - found_there.f_ffree) / inodes if inodes else 0.0,
        exists=path.exists(),
        writable=writable,
    )


def _upwards(path: str) -> list[str]:
    return [path, *map(str, Path(path).parents)]


def mounted(mountinfo: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Kind and options by mount point, the last mount counts; of /proc/PID/mountinfo (proc(5)). Pure."""
    found_here = {}
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        words, more = before.split(), after.split()
        if dash and len(words) > 5 and more:
            options = {*words[5].split(","), *(more[2].split(",") if len(more) > 2 else ())}
            point = words[4].replace("\\040", " ").replace("\\011", "\t")
            found_here[point] = (more[0], frozenset(options))
    return found_here
