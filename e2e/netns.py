"""Named network namespaces of a lab, the cables between them, and a picture of all they hold."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.process import Said, kill, must, run

NETNS_DIR = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class Namespace:
    """One network namespace, by name."""

    name: str

    @property
    def path(self) -> Path:
        """What CNI_NETNS says."""
        return NETNS_DIR / self.name

    def create(self) -> None:
        """With lo up."""
        must(["ip", "netns", "add", self.name])
        self.ip("link set lo up")

    def inside(self, arguments: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs ``arguments`` in here; only the network differs from outside."""
        return ["nsenter", f"--net={self.path}", "--", *arguments]

    def ip(self, *lines: str) -> None:
        """Run ip(8) commands, one per line, stopping at the first that fails."""
        must(["ip", "-n", self.name, "-batch", "-"], stdin="\n".join(lines) + "\n")

    def run(self, arguments: Sequence[str | Path], *, stdin: str = "") -> Said:
        """Run a command in here, whatever its exit code."""
        return run(self.inside(arguments), stdin=stdin)

    def query(self, *arguments: str) -> list[dict[str, Any]]:
        """``ip -j -d ...`` in here."""
        rows: list[dict[str, Any]] = json.loads(self.must("ip", "-j", "-d", *arguments) or "[]")
        return [row for row in rows if row]

    def must(self, *arguments: str) -> str:
        """Run a command in here that has to succeed; returns what it printed."""
        return must(self.inside(arguments))


def cable(left: Namespace, left_name: str, right: Namespace, right_name: str) -> None:
    """A veth pair with one end in each namespace, made there and nowhere else; both ends up."""
    left.ip(f"link add {left_name} type veth peer name {right_name} netns {right.name}")
    left.ip(f"link set {left_name} up")
    right.ip(f"link set {right_name} up")


_COUNTERS = frozenset({"used", "confirmed", "updated", "probes", "refcnt", "hw_gw_timer"})
_TIMERS = frozenset({"hello_timer", "tcn_timer", "topology_change_timer", "gc_timer", "linklayer"})
_LEARNED = frozenset({"REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE", "NOARP"})


def picture(namespace: Namespace) -> dict[str, list[str]]:
    """All that a namespace holds, one line per object, without what changes by itself.

    Left out: timers, counters, and neighbour or FDB entries that the kernel learned from traffic
    (they age away); everything that somebody configured stays.
    """
    neighbours = [row for row in namespace.query("neigh", "show") if not _LEARNED & {*row["state"]}]
    return {
        "links": _lines(namespace.query("link", "show")),
        "addresses": _lines(namespace.query("addr", "show")),
        "routes": _lines(namespace.query("route", "show", "table", "all")),
        "routes6": _lines(namespace.query("-6", "route", "show", "table", "all")),
        "rules": _lines(namespace.query("rule", "show")),
        "neighbours": _lines(neighbours),
        "fdb": _configured(namespace.must("bridge", "fdb", "show").splitlines()),
        "nft": namespace.must("nft", "list", "ruleset").splitlines(),
    }


def _configured(entries: Iterable[str]) -> list[str]:
    return sorted(line for line in entries if {"permanent", "static"} & set(line.split()))


def _lines(rows: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(_steady(row), sort_keys=True) for row in rows)


def _steady(value: object) -> object:
    if isinstance(value, dict):
        unsteady = _COUNTERS | _TIMERS
        return {key: _steady(item) for key, item in value.items() if key not in unsteady}
    if isinstance(value, list):
        return [_steady(item) for item in value]
    return value


def difference(before: dict[str, list[str]], after: dict[str, list[str]]) -> list[str]:
    """Lines that came (+) or went (-) between two pictures."""
    found: list[str] = []
    for kind in before:
        found += [f"- {kind}: {line}" for line in before[kind] if line not in after[kind]]
        found += [f"+ {kind}: {line}" for line in after[kind] if line not in before[kind]]
    return found


def remove(name: str) -> None:
    """End what still runs in a namespace, then remove it; absent is fine."""
    if not (NETNS_DIR / name).exists():
        return
    for pid in run(["ip", "netns", "pids", name]).out.split():
        kill(int(pid))
    run(["ip", "netns", "delete", name])
