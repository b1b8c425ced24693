"""overlayctl why: its arguments, and its answer for people and machines."""

import argparse
import dataclasses
import re
from typing import Any

from rich.text import Text

from agent.config import Config
from agent.ctl import show
from agent.ctl.why.search import Asked, Search
from agent.printable import printable
from agent.why.ends import RESTART
from agent.why.hop import BROKEN, OK, UNKNOWN, Hop
from agent.why.judge import End, Verdict, judge
from agent.why.records import Store
from overlay.errors import BadConfig

_PORT = re.compile(r"(tcp|udp)/(\d{1,5})")
_COLOURS = {OK: "green", BROKEN: "bold red", UNKNOWN: "yellow"}
_CELL = 140
_BACK = "back: "
EXIT_OK, EXIT_BROKEN, EXIT_UNREACHABLE = 0, 1, 2


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own."""
    what = "a pod: NAME, NAMESPACE/NAME, its address, or the beginning of its container's id"
    verb.add_argument("pod_a", metavar="POD_A", help=f"{what}; the one that calls")
    verb.add_argument("pod_b", metavar="POD_B", help="the one that is called")
    verb.add_argument("--port", default="", metavar="tcp/80", help="judge rules for it, and try it")
    verb.add_argument("--all", action="store_true", help="every hop of the way back, too")
    verb.add_argument("--no-test", action="store_true", help="send no packets, only look")


def why(flags: argparse.Namespace, settings: Config) -> int:
    """0 the whole path is right, 1 a hop is broken or unknown, 2 nobody can be asked."""
    proto, port = _port(flags.port)
    asked = Asked(flags.pod_a, flags.pod_b, proto, port, test=not flags.no_test)
    a, b, store, same_node = Search(settings, asked).ends()
    verdict = _of_instance(judge(a, b, store, same_node=same_node, proto=proto), settings.instance)
    if flags.output == "json":
        show.as_json(_plain(a, b, verdict))
    else:
        _show(a, b, verdict, everything=flags.all)
    return _code(a, b, store, verdict)


def _of_instance(verdict: Verdict, instance: str) -> Verdict:
    """The units of a named instance have its name."""
    if not instance:
        return verdict

    def renamed(hop: Hop) -> Hop:
        mend = hop.mend.replace(RESTART, f"systemctl restart overlay-agent@{instance}")
        return dataclasses.replace(hop, mend=mend)

    first = renamed(verdict.first) if verdict.first is not None else None
    return Verdict([renamed(hop) for hop in verdict.hops], first)


def _port(text: str) -> tuple[str, int]:
    """tcp/80."""
    if not text:
        return "icmp", 0
    found = _PORT.fullmatch(text.lower())
    if not found or not 0 < int(found[2]) < 1 << 16:
        raise BadConfig(f"--port {text!r} is no port", hint="such as --port tcp/80 or udp/53")
    return found[1], int(found[2])


def _code(a: End, b: End, store: Store, verdict: Verdict) -> int:
    if verdict.first is None:
        return EXIT_OK
    if verdict.broken:
        return EXIT_BROKEN
    blind = store.fault or a.facts is None or b.facts is None
    return EXIT_UNREACHABLE if blind else EXIT_BROKEN


def _plain(a: End, b: End, verdict: Verdict) -> dict[str, Any]:
    first = verdict.first
    return {
        "from": _end(a),
        "to": _end(b),
        "ok": first is None,
        "first": dataclasses.asdict(first) if first else None,
        "hops": [dataclasses.asdict(hop) for hop in verdict.hops],
    }


def _end(end: End) -> dict[str, str]:
    return {"asked": end.spec, "address": end.address, "node": end.node, "fault": end.fault}


def _show(a: End, b: End, verdict: Verdict, *, everything: bool) -> None:
    out = show.console()
    out.print(Text(printable(f"{_told(a)} → {_told(b)}"), style="bold"))
    rows = verdict.hops if everything else _folded(verdict.hops)
    wide = [max((len(getattr(hop, key)) for hop in rows), default=0) for key in ("where", "name")]
    for hop in rows:
        line = Text.assemble(
            (f"  {printable(hop.where):<{wide[0]}}  ", ""),
            (f"{hop.name:<{wide[1]}}  ", ""),
            (f"{hop.state:<7}  ", _COLOURS[hop.state]),
            printable(hop.seen or hop.why, _CELL),
        )
        out.print(line, soft_wrap=True)
    for text, style in _sentences(verdict):
        out.print(Text(printable(text), style=style), soft_wrap=True)


def _folded(hops: list[Hop]) -> list[Hop]:
    """What is right on the way back in one line for each node: it is mostly what was right on the way there."""
    rows: list[Hop] = []
    for hop in hops:
        if hop.state != OK or not hop.name.startswith(_BACK):
            rows.append(hop)
            continue
        name, last = hop.name.removeprefix(_BACK), rows[-1] if rows else None
        if last is not None and last.name == "back" and last.where == hop.where:
            rows[-1] = dataclasses.replace(last, seen=f"{last.seen}, {name}")
        else:
            rows.append(dataclasses.replace(hop, name="back", seen=name))
    return rows


def _told(end: End) -> str:
    known = end.facts.pod if end.facts is not None else None
    name = known.name if known is not None and known.name else end.spec
    return f"{name} ({end.address or 'address unknown'} on {end.node or 'an unknown node'})"


def _sentences(verdict: Verdict) -> list[tuple[str, str]]:
    first = verdict.first
    if first is None:
        return [("every hop is right", "green")]
    said = [(_first(verdict, first), _COLOURS[first.state])]
    if first.mend:
        where = "" if first.mend_at == "etcd" else f", on {first.mend_at}"
        said.append((f"  next{where}: {first.mend}", ""))
    later = sum(hop.state == BROKEN for hop in verdict.hops) - (first.state == BROKEN)
    if later:
        said.append(
            (f"  {later} more below it may be its consequences; mend it, then ask again", "")
        )
    return said


def _first(verdict: Verdict, first: Hop) -> str:
    if first.name == "echo":
        others = [hop for hop in verdict.hops if hop.name != "echo"]
        if all(hop.state == OK for hop in others):
            unseen = "NAT and marks of this or that node, tc and XDP programs are not looked at"
            return f"every hop looks right, yet {first.why}; {unseen}"
    kind = "first broken hop" if first.state == BROKEN else "first unknown hop"
    return f"{kind}: {first.name} on {first.where}: {first.why}"
