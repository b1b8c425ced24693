"""Tables of the kernel and of the agent that are nearly full: connections, neighbours, file descriptors."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

from agent import processes
from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import PROC, Look, read_text

NEARLY = 0.85
LEAST_FILES = 1024
AGENT = "overlay-agent"
_CACHES = {"arp_cache": "net/ipv4/neigh/default", "ndisc_cache": "net/ipv6/neigh/default"}


@dataclass(frozen=True, slots=True)
class Table:
    """``most`` 0: there is no limit, or it cannot be seen from this network namespace."""

    kind: str
    name: str
    used: int
    most: int
    mend: str


def check(look: Look) -> list[Finding]:
    """All of them."""
    return judge(read(look))


def judge(tables: Iterable[Table]) -> list[Finding]:
    """Pure."""
    findings = []
    for it in tables:
        tight = it.kind == "fd-limit" and 0 < it.most < LEAST_FILES
        if it.most and (it.used >= NEARLY * it.most or tight):
            title = f"{it.name}: {it.used} of {it.most} in use"
            findings.append(found(it.kind, "warning", title, it.mend))
    return findings


def read(look: Look) -> list[Table]:
    """From /proc; conntrack's and the neighbours' limits are set in the initial network namespace only."""
    count, most = (
        _number(look.switch(f"net/netfilter/nf_conntrack_{word}")) for word in ("count", "max")
    )
    found_here = [
        Table(
            "conntrack-full",
            "conntrack",
            count,
            most,
            f"sysctl -w net.netfilter.nf_conntrack_max={2 * most}",
        )
    ]
    for name, path in _CACHES.items():
        most = _number(look.switch(f"{path}/gc_thresh3"))
        used = entries(read_text(PROC / "thread-self/net/stat" / name) or "")
        dotted = path.replace("/", ".")
        mend = f"sysctl -w {dotted}.gc_thresh3={4 * most} {dotted}.gc_thresh2={2 * most}"
        found_here.append(Table("neighbour-table", f"neighbours ({name})", used, most, mend))
    for it in processes.here((AGENT[:15],)):
        used, most = _files(it.pid)
        mend = (
            f"LimitNOFILE=65536 in: systemctl edit {look.unit()}; systemctl restart {look.unit()}"
        )
        found_here.append(
            Table("fd-limit", f"file descriptors of {it.name} ({it.pid})", used, most, mend)
        )
    return found_here


def entries(text: str) -> int:
    """The first column of /proc/net/stat/arp_cache, which is hexadecimal and the same in each row. Pure."""
    lines = text.splitlines()
    words = lines[1].split() if len(lines) > 1 else []
    try:
        return int(words[0], 16) if words else 0
    except ValueError:
        return 0


def open_files(limits: str) -> int:
    """The soft limit of /proc/PID/limits; 0 where it is not told, or there is none. Pure."""
    line = next((it for it in limits.splitlines() if it.startswith("Max open files")), "")
    words = line.split()
    return _number(words[3]) if len(words) > 3 else 0


def _files(pid: int) -> tuple[int, int]:
    try:
        used = len(os.listdir(PROC / str(pid) / "fd"))
    except OSError:
        return 0, 0
    return used, open_files(read_text(PROC / str(pid) / "limits") or "")


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
