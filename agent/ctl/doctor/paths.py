"""Do packets come back from the peers? What the agent's own probing has found, where it is switched on."""

from collections.abc import Iterable, Mapping
from typing import Any

from agent.ctl import client
from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import AGENT_S, Look
from overlay.errors import OverlayError

MOST = 10
_KINDS = {"silent": "peer-silent", "lossy": "peer-lossy", "black hole": "mtu-black-hole"}

_MENDS = {
    "peer-silent": "overlayctl doctor there; is the tunnel's UDP open on the way: tcpdump -ni any udp port 8472",
    "peer-lossy": "overlayctl probe --all; ip -s link of both underlays",
    "mtu-black-hole": "Backend.MTU in the network config down to what fits, or raise the MTU on the way",
}


def check(look: Look) -> list[Finding] | None:
    """None where no agent answers, or it does not probe."""
    try:
        answer = client.ask(look.settings.run_dir, "probes", timeout_s=AGENT_S)
    except OverlayError:
        return None
    rows = next((value for value in answer.values() if isinstance(value, list)), [])
    return judge(row for row in rows if isinstance(row, dict)) if rows else None


def judge(rows: Iterable[Mapping[str, Any]]) -> list[Finding]:
    """Pure; the first few of each kind, the rest counted."""
    by_kind: dict[str, list[str]] = {}
    for row in rows:
        if kind := _KINDS.get(str(row.get("state"))):
            by_kind.setdefault(kind, []).append(_title(kind, row))
    findings = []
    for kind, titles in by_kind.items():
        findings += [found(kind, "warning", title, _MENDS[kind]) for title in titles[:MOST]]
        if len(titles) > MOST:
            more = f"and {len(titles) - MOST} more peers"
            findings.append(found(kind, "warning", more, "overlayctl probe --all"))
    return findings


def _title(kind: str, row: Mapping[str, Any]) -> str:
    who = f"{row.get('node') or row.get('key')} ({row.get('address')})"
    if kind == "mtu-black-hole":
        return f"{who}: packets of up to {row.get('largest')} bytes come back, {row.get('full')} should"
    if kind == "peer-lossy":
        return f"{who}: {row.get('lost')} of {row.get('sent')} probes were lost"
    return f"{who}: none of {row.get('sent')} probes came back"
