"""What the agent says of its probes: to overlayctl here, and to that of another node.

{"verb": "probes"}                 the last result of each endpoint, the worst first, and what was left off
{"verb": "probes", "key": KEY}     the peer of that lease is asked now, lightly: may take a few seconds
{"verb": "targets"}                whom this node can ask, and from where (never for other nodes: it may be long)
"""

from collections.abc import Mapping
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
    kept, size = [], 0
    for row in rows:
        size += len(msgspec.json.encode(row))
        if size > MOST_BYTES:
            break
        kept.append(row)
    return {**prober.summary(), "results": kept, "left_off": len(rows) - len(kept)}


def asked(prober: Prober) -> dict[str, Any]:
    """To the verb "targets"."""
    return {"targets": [_row(target) for target in prober.targets()]}


def _row(target: Target) -> dict[str, Any]:
    wide = ("subnet", "address", "source", "underlay", "local")
    return {name: str(value) if name in wide else value for name, value in asdict(target).items()}


def target_of(row: Mapping[str, Any]) -> Target:
    """The reverse of what `asked` says.

    Raises:
        BadInput: it is of another version.
    """
    try:
        return Target(
            key=str(row["key"]),
            node=str(row["node"]),
            subnet=ip_network(row["subnet"]),
            address=ip_address(row["address"]),
            source=ip_address(row["source"]),
            underlay=ip_address(row["underlay"]),
            local=ip_address(row["local"]),
            full=int(row["full"]),
            device=str(row["device"]),
            port=int(row["port"]),
            overhead=int(row["overhead"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"the agent's targets cannot be read: {error}; is it of another version?"
        ) from error
