"""A status as lines of text: at most one screen, the oldest trouble first, each with the next command. Pure.

What is read here may come from an agent of another version, or of another node, so nothing is relied on to be there.
"""

import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from agent.moment import span
from agent.printable import printable
from overlay import __version__

LINES = 24
MOST_TROUBLES = 10
CODES = {"healthy": 0, "degraded": 1, "down": 2}
_COLOURS = {"healthy": "green", "degraded": "yellow", "down": "red"}
_CELL = 400
_NEXT = ("; next: ", "; look: ")
_LONGEST_NEXT = 44
_LABEL = 12

Facts = Mapping[str, Any]


def laid_out(answer: Facts, *, width: int, now: float | None = None) -> list[Text]:
    """All lines. Where everything in full takes more than a screen, each trouble gets one line, and ten are shown."""
    now = time.time() if now is None else now
    head = [_headline(answer, now)]
    facts = [Text(_cut(f"  {name:<{_LABEL}}{fact}", width)) for name, fact in _facts(answer)]
    notes = [str(one) for one in answer.get("notices", ())]
    rows = _troubles(answer, now)
    long = [*_folded("  i ", notes, width, "cyan"), *_in_full(rows, width)]
    if len(head) + len(facts) + len(long) <= LINES:
        return [*head, *facts, *long]
    short = [Text(_cut(f"  i {note}", width), style="cyan") for note in notes]
    room = max(1, LINES - len(head) - len(facts) - 1)  # the last line says how many more
    short = short[: max(0, room - min(len(rows), MOST_TROUBLES))]
    shown = rows[: min(MOST_TROUBLES, room - len(short))]
    more = len(rows) - len(shown) + int(answer.get("trouble_more", 0))
    rest = [Text(f"  … and {more} more: {_where_more(rows[len(shown) :])}")] if more else []
    return [*head, *facts, *short, *(_in_short(row, width) for row in shown), *rest]


def _headline(answer: Facts, now: float) -> Text:
    verdict = str(answer.get("verdict", "down"))
    since = _since(answer)
    count = len(answer.get("trouble", ())) + int(answer.get("trouble_more", 0))
    oldest = f", the oldest for {span(now - min(since.values()))}" if since else ""
    many = f": {count} trouble{'s' * (count != 1)}{oldest}" if count else ""
    mark = Text("● ", style=_COLOURS.get(verdict, "red"))
    return mark.append(printable(f"{answer.get('node', '?')} is {verdict}{many}"), style="bold")


def _facts(answer: Facts) -> Iterator[tuple[str, str]]:
    """What there is to say, in the order in which it is read."""
    if answer.get("instance"):
        yield "instance", answer["instance"]
    for name, say in _ROWS.items():
        try:
            if fact := say(answer):
                yield name, printable(fact, _CELL)
        except (KeyError, TypeError, ValueError, AttributeError):
            continue  # of another version: what it does not say is left out


def _version(answer: Facts) -> str:
    own, peers = str(answer["version"]), answer["peers"].get("versions", {})
    skew = "" if own == __version__ else f" (overlayctl is {__version__})"
    others = [
        f"{count} run{'s' * (count == 1)} {version}"
        for version, count in peers.items()
        if version != own
    ]
    return own + skew + (f"; of the peers {', '.join(others)}" if others else "")


def _subnet(answer: Facts) -> str:
    used = {one["subnet"]: one for one in answer.get("addresses", ())}
    said = [
        f"{subnet} ({used[subnet]['used']} addresses used, {used[subnet]['free']} free)"
        if subnet in used
        else subnet
        for subnet in answer["subnets"]
    ]
    draining = answer.get("draining")
    until = f"; draining: {', '.join(draining)}, until the pods there are gone" if draining else ""
    return (", ".join(said) or "none yet") + until


def _lease(answer: Facts) -> str:
    lease = answer["lease"]
    if not lease.get("key"):
        return "none"
    ttl = lease.get("ttl_s")
    renewed = f", renewed {lease['renewed_s_ago']:.0f} s ago"
    left = f", TTL {ttl:.0f} s{renewed}" if ttl else ", without expiry"
    source = " (from the last-good copy)" if lease["how"] == "remembered" else ""
    return f"{lease['key']}{left}{source}"


def _etcd(answer: Facts) -> str:
    etcd = answer["etcd"]
    heard = etcd.get("heard_s_ago")
    last = "" if heard is None else f", watch last heard {heard:.0f} s ago"
    where = ", ".join(etcd["endpoints"])
    return f"{etcd['state']} since {etcd['since']} ({where}, revision {etcd['revision']}{last})"


def _mtu(answer: Facts) -> str:
    return f"{answer['mtu']} ({answer['mtu_why']})" if answer["mtu"] else "not known yet"


def _peers(answer: Facts) -> str:
    peers = answer["peers"]
    said = [f"{peers['total']} known"]
    if "ok" in peers:
        said.append(f"{peers['ok']} ok")
    said.append(f"{peers['failing']} failing")
    said += [f"{peers[name]} {word}" for name, word in _STATES.items() if peers.get(name)]
    return ", ".join(said)


_STATES = {
    "kept": "stale (kept though etcd lost them)",
    "not_served": "not served (overlayctl peers)",
    "unreadable": "unreadable",
}


def _pods(answer: Facts) -> str:
    swept = answer["pods"]
    ailing = f", {len(swept['faults'])} with faults" if swept["faults"] else ""
    done = f"{swept['mended']} mended, {swept['collected']} left-overs taken away"
    return f"{answer['attachments']} attached{ailing}; since start {done}"


def _kernel(answer: Facts) -> str:
    day = answer.get("mended_last_day", 0)
    times = f"; others undid something {day} times within a day (overlayctl drift)" if day else ""
    return f"{answer['changes']} changes since start, {answer['mended']} mended after others{times}"


def _probes(answer: Facts) -> str:
    found = dict(answer.get("probes") or {})
    every = found.pop("interval_s", 0)
    if not every:
        return ""
    said = ", ".join(f"{count} {state}" for state, count in found.items())
    return f"{said or 'none yet'} (every {every:.0f} s)"


def _said(name: str, otherwise: str = "") -> Any:  # noqa: ANN401 - a function of the table below
    return lambda answer: answer.get(name) or otherwise


_ROWS: Mapping[str, Any] = {
    "agent": _said("unit"),
    "last words": _said("last_words"),
    "data plane": _said("forwards"),
    "version": _version,
    "subnet": _subnet,
    "lease": _lease,
    "etcd": _etcd,
    "underlay": lambda answer: answer["underlay"] or "not chosen yet",
    "devices": lambda answer: ", ".join(answer["devices"]) or "none yet",
    "mtu": _mtu,
    "peers": _peers,
    "probes": _probes,
    "pods": _pods,
    "kernel": _kernel,
    "waiting for": _said("waiting_for"),
}


# --- troubles ---------------------------------------------------------------------------------------------


def _troubles(answer: Facts, now: float) -> list[tuple[str, str, str]]:
    """(how long, what, next), the oldest first as the agent says them."""
    since = _since(answer)
    return [
        (
            span(now - since[who]) if who in since else "",
            *_split(printable(f"{str(who)[:_CELL]}: {why}"), str(who)),
        )
        for who, why in answer.get("trouble", {}).items()
    ]


def _since(answer: Facts) -> dict[str, float]:
    found = answer.get("trouble_since", {})
    return {str(who): float(at) for who, at in found.items() if isinstance(at, int | float)}


def _split(text: str, who: str) -> tuple[str, str]:
    """What is wrong, and the command that its own sentence names, or the one that shows more of its kind."""
    at = max(text.rfind(word) for word in _NEXT)
    if at >= 0:
        return text[:at], text[at + len(_NEXT[0]) :]
    return text, _next_for(who)


def _next_for(who: str) -> str:
    for start, command in _BY_NAME.items():
        if who.startswith(start):
            return command
    return f"overlayctl peers; overlayctl why {who}"


_BY_NAME = {
    "this node": "overlayctl plan; journalctl -u overlay-agent",
    "pod ": "overlayctl ipam check",
    "etcd": "overlayctl etcd",
    "new pods": "overlayctl doctor",
    "host-gw": "overlayctl peers",
    "conflist": "overlayctl doctor",
    "in the way": "overlayctl doctor",
    "underlay": "ip address; journalctl -u overlay-agent",
    "mtu": "ip link; journalctl -u overlay-agent",
    "last-good": "df -h /var/lib/overlay",
    "attachments": "journalctl -u overlay-agent",
    "agent": "systemctl status overlay-agent; journalctl -u overlay-agent",
    "flanneld": "overlayctl doctor",
    "fight": "overlayctl drift",
}


def _in_full(rows: Sequence[tuple[str, str, str]], width: int) -> list[Text]:
    found = []
    for age, what, command in rows:
        old = f" (for {age})" if age else ""
        found += _folded("  ! ", [f"{what}{old}"], width, "yellow")
        found += _folded("      next: ", [command], width, "bold")
    return found


def _in_short(row: tuple[str, str, str], width: int) -> Text:
    age, what, command = row
    short = command.split(";")[0].strip()
    tail = f" (for {age})" if age else ""
    tail += f" → {short if len(short) <= _LONGEST_NEXT else 'overlayctl status --output json'}"
    return Text("  ! " + _cut(what, width - 4 - len(tail)) + tail, style="yellow")


def _where_more(rest: Sequence[tuple[str, str, str]]) -> str:
    peers = all("overlayctl peers" in command for _, _, command in rest)
    return "overlayctl peers" if rest and peers else "overlayctl status --output json"


def _folded(head: str, texts: Sequence[str], width: int, style: str) -> list[Text]:
    found = []
    for text in texts:
        lines = textwrap.wrap(
            printable(text),
            max(20, width),
            initial_indent=head,
            subsequent_indent=" " * len(head),
            break_on_hyphens=False,
        )
        found += [Text(line, style=style) for line in lines]
    return found


def _cut(text: str, width: int) -> str:
    shown = printable(text)
    return shown if len(shown) <= width else shown[: max(1, width - 1)] + "…"
