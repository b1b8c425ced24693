"""What others do to a node's kernel by hand or by script, what that costs, and what is said once it is mended.

Each row does harm that is seen while the agent stands still: pods are cut off, or the kernel holds something else.
"""

import json
from dataclasses import dataclass

from e2e.lab import FABRIC_ADDRESS, Lab
from e2e.netns import difference
from e2e.node import Node
from e2e.pods import Pod

PODS, OUTSIDE, STATE = "pods", "outside", "state"
"""Harm: pods of other nodes are not reached; nothing beyond the pod network is; traffic flows, for now."""
MENDED = "mended what others changed: "
_SWITCHES = (
    "ipv4/ip_forward",
    *(f"ipv4/conf/{link}/forwarding" for link in ("overlay0", "overlay.1", "eth0")),
    *(f"ipv6/conf/{link}/accept_ra" for link in ("overlay0", "overlay.1")),
)


@dataclass(frozen=True, slots=True)
class Damage:
    """``script`` and ``says`` are filled with a Side's words; ``thing`` begins the line that tells of it."""

    script: str
    says: str
    harm: str = STATE
    thing: str = MENDED


@dataclass(frozen=True, slots=True)
class Side:
    """A node that is damaged, and a pod on it that talks to one of another node."""

    node: Node
    pod: Pod
    there: Pod
    words: dict[str, str]

    def reaches(self) -> bool:
        """The other pod; a ping that does not wait long."""
        return self._ping(str(self.there.address))

    def reaches_outside(self) -> bool:
        """What knows nothing of pods, and so answers only what is masqueraded."""
        return self._ping(FABRIC_ADDRESS)

    def whole(self) -> bool:
        """Traffic flows, and the agent sees nothing to do."""
        return self.reaches() and self.reaches_outside() and not self.node.tell("plan")["steps"]

    def damage(self, script: str) -> None:
        """As an operator, or a program, would do it."""
        self.node.namespace.must("sh", "-ec", script.format(**self.words))

    def hurt(self, harm: str, before: dict[str, list[str]]) -> bool:
        """Whether it is: two pings in a row that are lost, or a kernel that is not as it was."""
        if harm == STATE:
            return bool(difference(before, self.picture()))
        ping = self.reaches if harm == PODS else self.reaches_outside
        return not ping() and not ping()

    def picture(self) -> dict[str, list[str]]:
        """All that somebody may have changed, by ip, bridge, nft and /proc, none of which asks the agent."""
        space = self.node.namespace
        neighbours = space.query("neigh", "show", "nud", "permanent")
        fdb = space.must("bridge", "fdb", "show", "dev", "overlay.1") if self._has_tunnel() else ""
        switches = [f"/proc/sys/net/{switch}" for switch in _SWITCHES]
        return {
            "links": [_link(row) for row in space.query("link", "show")],
            "addresses": [
                f"{row['ifname']} {item['local']} {item.get('address', '')}/{item['prefixlen']}"
                for row in space.query("-4", "addr", "show")
                for item in row["addr_info"]
            ],
            "routes": _rows(space.query("-4", "route", "show", "table", "all")),
            "rules": _rows(space.query("rule", "show")),
            "neighbours": _rows(neighbours),
            "fdb": sorted(fdb.splitlines()),
            "nft": space.must("nft", "list", "ruleset").splitlines(),
            "switches": space.run(["grep", "-H", "", *switches]).out.splitlines(),
        }

    def _has_tunnel(self) -> bool:
        return self.node.namespace.run(["ip", "link", "show", "overlay.1"]).code == 0

    def _ping(self, address: str) -> bool:
        words = ["ping", "-n", "-c", "1", "-W", "0.2", address]
        return self.pod.namespace.run(words).code == 0


def side(node: Node, other: Node, pod: Pod, there: Pod) -> Side:
    """``node`` is to be damaged; it knows ``other`` by now."""
    rows = node.namespace.query("neigh", "show", "dev", "overlay.1")
    words = {
        "subnet": other.subnet,
        "vtep": other.vtep,
        "mac": next(row["lladdr"] for row in rows if row["dst"] == other.vtep),
        "peer": other.address,
        "underlay": node.address,
        "mine": node.subnet,
        "own": f"{node.vtep}/32",
        "gateway": f"{node.vtep.rpartition('.')[0]}.1",
        "port": str(pod.result["interfaces"][1]["name"]),
        "far": str(there.address),
    }
    return Side(node, pod, there, words)


def three_nodes(lab: Lab) -> tuple[Side, Side, Node]:
    """Two that are damaged in turn, and one that nobody touches."""
    one, two, calm = (lab.add_node(name) for name in ("n1", "n2", "n3"))
    lab.start_nodes(one, two, calm)
    here, there = lab.add_pod(one), lab.add_pod(two)
    return side(one, two, here, there), side(two, one, there, here), calm


def _link(row: dict[str, object]) -> str:
    info = row.get("linkinfo")
    kind = info.get("info_kind") if isinstance(info, dict) else ""
    port = info.get("info_slave_data", {}) if isinstance(info, dict) else {}
    settings = info.get("info_data") if isinstance(info, dict) and kind == "vxlan" else {}
    kept = {key: row.get(key) for key in ("ifname", "address", "mtu", "flags", "master", "ifalias")}
    ours = {"kind": kind, "hairpin": port.get("hairpin"), "settings": settings}
    return json.dumps({**kept, **ours}, sort_keys=True)


def _rows(rows: list[dict[str, object]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)
