"""What overlayctl trace prints: a line for each packet, and the summary; or JSON, one object a line."""

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from agent.ctl import show
from agent.ctl.trace.sightings import Point, Sight, Way
from agent.ctl.trace.story import Finding, Story
from agent.printable import printable

_STYLES = {Point.POD: "", Point.TUNNEL: "cyan", Point.DIRECT: "blue", Point.WORD: "yellow"}
PLACE = 22


@dataclass(slots=True)
class Printer:
    """To standard output, at once: somebody watches, or a pipe does."""

    story: Story
    json: bool = False
    _console: Console | None = None

    def line(self, sight: Sight, link: str, delay: int | None) -> None:
        """One packet; ``delay`` is that since its point before, in nanoseconds."""
        if self.json:
            self._object(_plain(sight, link, delay))
            return
        since = "" if delay is None else f"  +{delay / 1000:.0f} µs"
        outer = f"  [{sight.outer}]" if sight.outer else ""
        text = f"{clock(sight.at)}  {self._place(sight):<{PLACE}}  {sight.inner}{outer}{since}"
        parts = Text(printable(text), style=_STYLES[sight.point])
        if sight.remarks:
            parts.append(printable(f"  !! {'; '.join(sight.remarks)}"), style="bold red")
        self._print(parts)

    def summary(self, pod_link: str, underlay: str) -> list[Finding]:
        """Counts at each point, and what follows from them, which is returned as well."""
        counts = self.story.counts()
        findings = self.story.findings(pod_link, underlay)
        if self.json:
            told = [{"text": it.text, "next": it.next} for it in findings]
            about = {"unheard": self.story.unheard, "forgotten": self.story.forgotten}
            sides = {"other_sides": self.story.other_sides()}
            self._object({"type": "summary", **counts, **about, "findings": told, **sides})
            return findings
        self._print(Text(""))
        self._print(Text("seen", style="bold"))
        for name, what in (
            ("pod_out", f"sent by the pod ({pod_link})"),
            ("tunnel_out", f"left for other nodes ({underlay})"),
            ("tunnel_in", f"came from other nodes ({underlay})"),
            ("pod_in", f"reached the pod ({pod_link})"),
        ):
            self._print(Text(printable(f"  {counts[name]:>7}  {what}")))
        for finding in findings:
            self._finding(finding)
        if self.story.doubt:
            text = f"of these packets {self.story.doubt}: whether some vanished cannot be said"
            self._print(
                Text(
                    text if not findings else f"of these packets {self.story.doubt}", style="yellow"
                )
            )
        elif not any(counts.values()) and not findings:
            self._print(Text("no packet from or to the pod was seen", style="yellow"))
        elif not findings:
            self._print(Text("nothing vanished on this node", style="green"))
        for side in self.story.other_sides():
            self._print(Text(printable(f"  the other side: {side}")))
        return findings

    def _finding(self, finding: Finding) -> None:
        self._print(Text(printable(f"! {finding.text}"), style="yellow"))
        if finding.next:
            self._print(Text(printable(f"  next: {finding.next}")))

    def _place(self, sight: Sight) -> str:
        out = sight.way is Way.OUT
        far = self.story.name(sight) or "?"
        match sight.point:
            case Point.POD:
                return "pod → veth" if out else "veth → pod"
            case Point.TUNNEL:
                return f"→ tunnel to {far}" if out else f"← tunnel from {far}"
            case Point.DIRECT:
                return f"→ direct to {far}" if out else f"← direct from {far}"
            case Point.WORD:
                return "→ a router's word" if out else "← a router's word"

    def _object(self, value: dict[str, Any]) -> None:
        print(json.dumps(value), flush=True)

    def _print(self, text: Text) -> None:
        if self._console is None:
            self._console = show.console()
        self._console.print(text, soft_wrap=True)
        sys.stdout.flush()


def clock(at: int) -> str:
    """``11:04:05.123456``, of this machine's time zone nobody asks: UTC."""
    seconds, rest = divmod(at, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%H:%M:%S}.{rest // 1000:06d}"


def _plain(sight: Sight, link: str, delay: int | None) -> dict[str, Any]:
    return {
        "type": "packet",
        "at": sight.at / 1e9,
        "link": link,
        "point": sight.point.value,
        "way": sight.way.value,
        "source": sight.source,
        "target": sight.target,
        "protocol": sight.protocol,
        "ports": list(sight.ports),
        "length": sight.length,
        "inner": sight.inner,
        "outer": sight.outer,
        "vni": sight.vni,
        "far": sight.far,
        "remarks": list(sight.remarks),
        "since_ns": delay,
    }
