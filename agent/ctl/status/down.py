"""What can be said of a node whose agent does not answer: systemd's word, its last line, and that traffic goes on."""

from collections.abc import Mapping
from typing import Any

from agent.config import Config
from agent.ctl import programs
from agent.ctl.nodepage import page
from agent.printable import printable
from overlay.dataplane.entries import Entries
from overlay.errors import OverlayError
from overlay.family import Family
from overlay.netlink import Netlink
from overlay.netlink.messages import route_dump
from overlay.netlink.parse import parse_route

SHOWN = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "StateChangeTimestamp")
_PATIENCE_S = 3.0


def facts(settings: Config, error: OverlayError) -> dict[str, Any]:
    """In the form of an agent's own answer, as far as it goes."""
    unit = settings.marks.unit
    here = page(settings.run_dir)
    return {
        "verdict": "down",
        "error": str(error),
        "node": settings.node_name,
        "instance": settings.instance,
        "unit": _unit(unit),
        "last_words": _last_words(unit),
        "forwards": _forwards(settings),
        "subnets": [str(one.subnet) for one in here.families] if here else [],
        "trouble": {"agent": f"{error}; next: {error.hint or f'systemctl status {unit}'}"},
    }


def _unit(unit: str) -> str:
    """systemd's view in words; empty where there is no systemd."""
    said = programs.run(
        ["systemctl", "show", f"{unit}.service", "-p", ",".join(SHOWN)], timeout_s=_PATIENCE_S
    )
    if said.code:
        return ""
    return in_words(programs.properties(said.out))


def in_words(found: Mapping[str, str]) -> str:
    """Such as: failed since Sun 2026-11-29 14:02:11 UTC (exit-code), restarted 3 times. Pure."""
    if found.get("LoadState") == "not-found":
        return "no unit of systemd: overlayctl install"
    state, sub = found.get("ActiveState", ""), found.get("SubState", "")
    if not state:
        return ""
    since = f" since {found['StateChangeTimestamp']}" if found.get("StateChangeTimestamp") else ""
    result = found.get("Result", "")
    why = f" ({result})" if result not in ("", "success") else ""
    count = found.get("NRestarts", "0")
    again = f", restarted {count} times" if count not in ("", "0") else ""
    return printable(f"{state} ({sub}){since}{why}{again}", 200)


def _last_words(unit: str) -> str:
    said = programs.run(
        ["journalctl", "-u", f"{unit}.service", "-n", "1", "-o", "cat", "--no-pager", "-q"],
        timeout_s=_PATIENCE_S,
    )
    return "" if said.code else printable(said.out.strip(), 200)


def _forwards(settings: Config) -> str:
    """What the kernel does by itself: routes that bear our mark."""
    try:
        with Netlink() as netlink:
            count = _peers(netlink, settings.marks.route_protocol)
    except OverlayError as error:
        return printable(f"not known: {error}", 200)
    pods = sum(1 for _ in (settings.run_dir / "attachments").glob("*/*.json"))
    if not count:
        return f"no route to any peer; {pods} pods are attached"
    return f"still forwards to {count} peers, for {pods} pods: traffic goes on"


def _peers(netlink: Netlink, protocol: int) -> int:
    """How many subnets of others the kernel has a way to, by the family that has most."""
    entries = Entries(netlink)
    return max(
        len(
            {
                route.dst
                for route in entries.dump(route_dump(family, protocol=protocol), parse_route)
            }
        )
        for family in Family
    )
