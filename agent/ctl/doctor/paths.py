"""Do packets come back from the peers? By the agent's own probing, or where that is off, by asking a few of them now.

Of a peer that is silent its agent is asked through etcd, from the other side: so it is told which direction is dead.
"""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from agent.ctl import client, far
from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Look
from overlay.errors import OverlayError

MOST, SAMPLE, ASKED_FAR = 10, 2, 3
ASK_S, FAR_S = 4.0, 5.0
_KINDS = {"silent": "peer-silent", "lossy": "peer-lossy", "black hole": "mtu-black-hole"}
_MENDS = {
    "peer-silent": "overlayctl doctor there; is the tunnel's UDP open on the way: tcpdump -ni any udp port 8472",
    "peer-lossy": "overlayctl probe --all; ip -s link of both underlays",
    "mtu-black-hole": "Backend.MTU in the network config down to what fits, or raise the MTU on the way",
}
Row = Mapping[str, Any]


def check(look: Look) -> list[Finding] | None:
    """None where no agent answers, or there is no peer."""
    status = look.agent().status
    if status is None:
        return None
    try:
        rows = _rows(look, {}) or [
            row for key in _sample(look) for row in _rows(look, {"key": key})
        ]
    except OverlayError:  # an agent of before this verb
        return None
    return judge(rows, _from_there(look, status, rows)) if rows else None


def judge(rows: Iterable[Row], there: Mapping[str, str] | None = None) -> list[Finding]:
    """Pure; the first few of each kind, the rest counted. ``there``: the other side's view, in words, by lease key."""
    by_kind: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        if kind := _KINDS.get(str(row.get("state"))):
            more = (there or {}).get(str(row.get("key")), "")
            mend = str(row.get("next") or _MENDS[kind])
            by_kind.setdefault(kind, []).append((_title(kind, row) + more, mend))
    findings = []
    for kind, told in by_kind.items():
        findings += [found(kind, "warning", title, mend) for title, mend in told[:MOST]]
        if len(told) > MOST:
            title = f"and {len(told) - MOST} more peers"
            findings.append(found(kind, "warning", title, "overlayctl probe --all"))
    return findings


def view(row: Row | None, why: str = "") -> str:
    """What the other side's result about us adds. Pure."""
    if row is None:
        return f"; its agent does not say how it looks from there ({why})" if why else ""
    if row.get("heard"):
        return "; ours arrive there, so it is the answers that are lost on their way here"
    return "; seen from there it is the same: ours do not arrive"


def _title(kind: str, row: Row) -> str:
    who = f"{row.get('node') or row.get('key')} ({row.get('address')})"
    if why := row.get("why"):
        return f"{who}: {why}"
    if kind == "mtu-black-hole":
        return f"{who}: packets of up to {row.get('largest')} bytes come back, {row.get('full')} should"
    if kind == "peer-lossy":
        return f"{who}: {row.get('lost')} of {row.get('sent')} probes were lost"
    arrive = ", its own arrive here" if row.get("heard") else ""
    return f"{who}: none of {row.get('sent')} probes came back{arrive}"


def _rows(look: Look, more: Mapping[str, str]) -> list[Row]:
    answer = client.ask(look.settings.run_dir, "probes", timeout_s=ASK_S, **more)
    return list(_of(answer))


def _of(answer: Mapping[str, Any]) -> Iterator[Row]:
    results = answer.get("results")
    yield from (
        (row for row in results if isinstance(row, dict)) if isinstance(results, list) else ()
    )


def _sample(look: Look) -> list[str]:
    """Some of those that the kernel knows a way to, so that not every node asks the same one."""
    peers = client.ask(look.settings.run_dir, "peers", timeout_s=ASK_S).get("peers", [])
    keys = [str(row["key"]) for row in peers if str(row.get("state", "")).startswith("ok")]
    return random.sample(keys, min(SAMPLE, len(keys)))


def _from_there(look: Look, status: Row, rows: Sequence[Row]) -> dict[str, str]:
    own = str((status.get("lease") or {}).get("key", ""))
    silent = [str(row.get("key")) for row in rows if row.get("state") == "silent"]
    keys = list(dict.fromkeys(silent))[:ASKED_FAR]
    if not keys or not own:
        return {}
    try:
        answers = far.ask_many(look.settings, keys, "probes", timeout_s=FAR_S, key=own)
    except OverlayError as error:
        return dict.fromkeys(keys, view(None, str(error)))
    return {
        key: view(None, str(answer))
        if isinstance(answer, OverlayError)
        else view(next(_of(answer), None))
        for key, answer in answers.items()
    }
