"""What pods have left on a node: links, addresses held, journals, port mappings, namespaces, caches."""

import re
from pathlib import Path

from e2e import leftovers
from e2e.node import Node

_PODS_LINKS = ("ovl", "veth", "bwp")
"""Ours, Debian's bridge and ptp plugins', Debian's bandwidth plugin's."""
_PER_POD = re.compile(r"CNI-[DS]N-|^-A CNI-FORWARD .*-[sd] ")
"""Rules of Debian's plugins for one pod; the chains that frame them stay for ever."""


def of(node: Node) -> list[str]:
    """One line per object, sorted; a node without pods has none."""
    links = [
        f"link {row['ifname']}"
        for row in node.namespace.query("link", "show")
        if (row.get("linkinfo") or {}).get("info_slave_kind") == "bridge"
        or row["ifname"].startswith(_PODS_LINKS)
    ]
    return sorted([*links, *_files(node), *_rules(node), *_runtimes(node.work)])


def _files(node: Node) -> list[str]:
    """Allocations and journals."""
    return [
        f"file {path.relative_to(node.run_dir)}"
        for room in ("ipam", "attachments")
        for path in (node.run_dir / room).rglob("*")
        if not path.is_dir() and not path.name.startswith(".")
    ]


def _rules(node: Node) -> list[str]:
    saved = node.namespace.must("iptables-save").splitlines()
    return [line for line in saved if _PER_POD.search(line)]


def _runtimes(work: Path) -> list[str]:
    """Namespaces a runtime still holds, and results it would feed to a DEL."""
    held = [f"mount {path}" for path in leftovers.mounts(work) if path.parent.name == "netns"]
    return held + [f"cache {path.name}" for path in leftovers.cached_results(work)]
