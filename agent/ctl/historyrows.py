"""What nodes answer of their address histories, believed as far as it has our form. Pure."""

from dataclasses import dataclass, field
from typing import Any

from cni.record import LAST_SECOND


@dataclass(slots=True)
class Found:
    """``rows`` with the node they come from; ``silent`` says of each node that did not answer why."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)
    skipped: int = 0
    left_off: int = 0
    subnet: str = ""
    begins: dict[str, float] = field(default_factory=dict)
    """Where each node's history begins: of what was before nobody knows."""

    def take(self, node: str, answer: dict[str, Any]) -> None:
        """A node's answer; what is no row of ours is passed over."""
        rows = answer.get("rows")
        for one in rows if isinstance(rows, list) else ():
            if isinstance(one, dict) and (row := _row(one)):
                self.rows.append({"node": node, **row})
        if isinstance(oldest := answer.get("oldest"), int | float):
            self.begins[node] = float(oldest)
        self.skipped += _number(answer.get("skipped"))
        self.left_off += _number(answer.get("left_off"))


def _row(one: dict[str, Any]) -> dict[str, Any]:
    """What another node's agent says of one attachment, without what is not of its form; nothing if too little is."""
    began, until, addresses = one.get("from"), one.get("until"), one.get("addresses")
    if not _is_moment(began):
        return {}
    words = {name: one.get(name) for name in ("end", "pod", "container", "network", "ifname")}
    return {
        "from": began,
        "until": until if _is_moment(until) else None,
        **{name: word if isinstance(word, str) else "" for name, word in words.items()},
        "addresses": list(map(str, addresses)) if isinstance(addresses, list | tuple) else [],
    }


def _is_moment(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value < LAST_SECOND  # type: ignore[operator]


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
