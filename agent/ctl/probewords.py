"""What overlayctl probe prints."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from contextlib import closing as closed

from agent import connect
from agent.config import Config
from agent.ctl import show
from agent.printable import printable
from agent.probes.judge import may_be_set
from agent.probes.result import STATES, Result
from agent.probes.targets import Target
from overlay.errors import OverlayError

Pair = tuple[Target, Result]
_COLUMNS = ("NODE", "SUBNET", "WAY", "LOSS", "RTT ms", "LARGEST", "STATE")


def table(pairs: Sequence[Pair]) -> None:
    """One row per endpoint; below it what is wrong, the worst first."""
    if not pairs:
        return
    show.table(_COLUMNS, [_row(target, result) for target, result in pairs])
    for target, result in pairs:
        if result.why:
            print(printable(f"! {target.name}: {result.why}"))
            print(printable(f"    next: {result.next}"))


def detail(target: Target, result: Result) -> None:
    """One endpoint, all there is to say."""
    lines = {
        "asked": f"{target.address} from {target.source}, {_way(target)}",
        "underlay": f"{target.underlay} from {target.local} ({target.device or 'interface unknown'})"
        + (f", {result.underlay}" if result.underlay else ""),
        "loss": f"{result.lost} of {result.sent} packets",
        "rtt": f"{result.rtt_min_ms:g} / {result.rtt_ms:g} / {result.rtt_max_ms:g} ms (least, median, most)"
        if result.rtt_max_ms
        else "-",
        "largest": _largest(result),
        "state": result.state,
    }
    print(printable(f"{target.name} {target.subnet}"))
    for name, text in lines.items():
        print(printable(f"  {name:<10}{text}"))
    if result.why:
        print(printable(f"  ! {result.why}"))
        print(printable(f"    next: {result.next}"))


def alike(pairs: Sequence[Pair]) -> str:
    """What several peers have in common points at what they have in common: this node. Empty if there is nothing."""
    if len({target.key for target, _ in pairs}) < 2:
        return ""
    device = pairs[0][0].device or "DEVICE"
    if all(result.state == "silent" for _, result in pairs):
        return (
            f"nobody answers: look at this node first; next: overlayctl status; ip -s addr show dev {device}; "
            "nft list ruleset"
        )
    sizes = {result.largest + target.added for target, result in pairs}
    if len(sizes) == 1 and all(result.state == "black hole" for _, result in pairs):
        return (
            f"all paths carry the same {sizes.pop()} bytes: it may be this node's own link; next: "
            f"ip -d link show dev {device}"
        )
    return ""


def closing(results: Sequence[Result], source: str) -> str:
    """The last line: how many are how."""
    if not results:
        return "there is no other node to ask"
    count = Counter(result.state for result in results)
    parts = [f"{count[state]} {state}" for state in reversed(STATES) if count[state]]
    return f"{', '.join(parts)} (peers known from {source})"


def config_command(settings: Config, pairs: Sequence[Pair]) -> str:
    """The network config with the MTU that the worst path carries; empty if there is no such path, or no etcd."""
    holes = [
        result.largest + target.overhead
        for target, result in pairs
        if result.state == "black hole" and result.largest and target.overhead
    ]
    if not holes or not all(may_be_set(target, min(holes)) for target, _ in pairs):
        return ""
    try:
        with closed(connect.registry(settings)) as store:
            raw = store.raw_network()
        return with_mtu(settings.etcd_prefix, raw or b"", min(holes))
    except OverlayError:
        return ""


def with_mtu(prefix: str, raw: bytes, mtu: int) -> str:
    """The command; all else of the config stays as it is. Empty if that is no JSON object."""
    try:
        config = json.loads(raw)
        backend = config.get("Backend") or {}
        text = json.dumps({**config, "Backend": {**backend, "MTU": mtu}}, separators=(",", ":"))
    except (ValueError, AttributeError, TypeError, RecursionError):
        return ""
    return printable(f"etcdctl put {prefix}/config {shlex.quote(text)}", 4000)


def _row(target: Target, result: Result) -> tuple[str, ...]:
    rtt = f"{result.rtt_min_ms:g}/{result.rtt_ms:g}/{result.rtt_max_ms:g}"
    share = 100 * result.lost / result.sent if result.sent else 0.0
    return (
        target.node or "-",
        str(target.subnet),
        "tunnel" if target.port else "direct",
        f"{share:.0f}%",
        rtt if result.rtt_max_ms else "-",
        _largest(result),
        result.state,
    )


def _way(target: Target) -> str:
    return f"through the tunnel, UDP port {target.port}" if target.port else "by a plain route"


def _largest(result: Result) -> str:
    if not result.largest:
        return "-"
    return f"{result.largest} of {result.full}"
