"""What the agent says of its probes: to overlayctl here, and to that of another node.

{"verb": "probes"}                 the last result of each endpoint, the worst first, and what was left off
{"verb": "probes", "key": KEY}     the peer of that lease is asked now, lightly: may take a few seconds
{"verb": "targets"}                whom this node can ask, and from where (never for other nodes: it may be long)
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from ipaddress import ip_address, ip_network
from typing import Any

import msgspec

from agent.probes.prober import Prober
from agent.probes.targets import Target
from overlay.errors import BadInput

MOST_BYTES = 400_000
"""Of results; what is asked from afar may have 512 kB."""


def answer(prober: Prober, question: Mapping[str, Any]) -> dict[str, Any]:
    """To the verb "probes"."""
    key = str(question.get("key", ""))
    rows = [it.row() for it in prober.once(key)] if key else prober.report()
    kept = bounded(rows)
    return {**prober.summary(), "results": kept, "left_off": len(rows) - len(kept)}


def bounded(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As many as there is room for, from the first on."""
    kept, size = [], 0
    for one in rows:
        size += len(msgspec.json.encode(one)) + 2
        if size > MOST_BYTES:
            break
        kept.append(one)
    return kept


def asked(prober: Prober) -> dict[str, Any]:
    """To the verb "targets"."""
    return {"targets": [row(target) for target in prober.targets()]}


def row(target: Target) -> dict[str, Any]:
    """For JSON."""
    wide = ("subnet", "address", "source", "underlay", "local")
    return {name: str(value) if name in wide else value for name, value in asdict(target).items()}


def target_of(said: Mapping[str, Any]) -> Target:
    """The reverse.

    Raises:
        BadInput: it is of another version.
    """
    try:
        return Target(
            key=str(said["key"]),
            node=str(said["node"]),
            subnet=ip_network(said["subnet"]),
            address=ip_address(said["address"]),
            source=ip_address(said["source"]),
            underlay=ip_address(said["underlay"]),
            local=ip_address(said["local"]),
            full=int(said["full"]),
            device=str(said["device"]),
            port=int(said["port"]),
            overhead=int(said["overhead"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"the agent's targets cannot be read: {error}; is it of another version?",
            hint="compare: overlayctl --version, overlayctl status; then: systemctl restart overlay-agent",
        ) from error
