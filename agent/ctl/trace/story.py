"""The same packet, seen inside and outside: where a pod's packets go, and where they vanish. Pure.

A packet is known again by what no router changes. TCP is compared by its bytes: a segment may be cut or put together
between the two points. Whatever was seen in the last moment is not judged: its second sight may be yet to come.
"""

from bisect import bisect_left
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from agent.ctl.trace.sightings import Point, Sight, Way
from overlay.model import Subnet

MOST_WAITING = 50_000
MOST_FLOWS, MOST_PIECES = 2_000, 4_096
"""Of TCP: what comes in its order is one piece."""
MOST_PAIRS = 20_000
GRACE_NS, ANSWER_NS = 200_000_000, 1_000_000_000
MOST_PLACES = 5
LARGE = 1000
"""Bytes; where only packets beyond it are lost, their size is the reason."""
_Waiting = defaultdict[Hashable, deque[Sight]]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: a sentence, and the command that shows or mends it."""

    text: str
    next: str = ""


@dataclass(slots=True)
class _Lane:
    """One way: what was seen at its first point and not yet at its second, and the reverse."""

    first: _Waiting = field(default_factory=lambda: defaultdict(deque))
    second: _Waiting = field(default_factory=lambda: defaultdict(deque))
    pieces: dict[Hashable, deque[tuple[int, int]]] = field(default_factory=dict)
    """TCP data seen at the second point."""


@dataclass(slots=True)
class Story:
    """``meshed`` says of a target whether the overlay leads to it; ``name`` which node is at the other end of a sight.

    Before it is judged, ``until`` is set where not all points were read to the end, and ``unheard`` to the number of
    packets that came too fast: so many may be missing without having vanished.
    """

    meshed: Callable[[str], bool]
    name: Callable[[Sight], str]
    seen: Counter[str] = field(default_factory=Counter)
    remarks: Counter[str] = field(default_factory=Counter)
    last: int = 0
    until: int | None = None
    unheard: int = 0
    forgotten: int = 0
    most: int = MOST_WAITING
    _lanes: dict[Way, _Lane] = field(default_factory=lambda: {way: _Lane() for way in Way})
    _order: deque[tuple[_Waiting, Hashable, bool]] = field(default_factory=deque)
    _left: dict[tuple[str, str], Sight] = field(default_factory=dict)
    _sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    _back: set[tuple[str, str]] = field(default_factory=set)

    def add(self, sight: Sight) -> int | None:
        """Take one in; nanoseconds since the same packet was seen at the point before, if it was."""
        self.last = max(self.last, sight.at)
        self.remarks.update(sight.remarks)
        if sight.point is Point.WORD or sight.local:
            return None
        self.seen[f"{'tunnel' if sight.outside else 'pod'} {sight.way.value}"] += 1
        self._note(sight)
        if sight.point is Point.POD and sight.way is Way.OUT and not self.meshed(sight.target):
            return None  # nothing of the overlay's: it has no second sight
        lane = self._lanes[sight.way]
        second = sight.outside == (sight.way is Way.OUT)
        if second and sight.flow is not None:
            self._piece(lane, sight)
        mine, other = (lane.second, lane.first) if second else (lane.first, lane.second)
        if waiting := other.get(sight.key):
            before = waiting.popleft()
            if not waiting:
                del other[sight.key]
            return sight.at - before.at if second else None
        mine[sight.key].append(sight)
        self._order.append((mine, sight.key, not second))
        if len(self._order) > self.most:
            self._forget()
        return None

    def findings(self, pod_link: str, underlay: str) -> list[Finding]:
        """What vanished where, what nobody answered, and what was too large."""
        found = [self._lost(group, Way.OUT, pod_link, underlay) for group in self._missing(Way.OUT)]
        found += [self._lost(group, Way.IN, pod_link, underlay) for group in self._missing(Way.IN)]
        found += self._unanswered()
        for text, count in self.remarks.most_common(MOST_PLACES):
            found.append(
                Finding(f"{count} times: {text}", "overlayctl probe" if "MTU" in text else "")
            )
        return found

    @property
    def doubt(self) -> str:
        """Why it cannot be said that nothing vanished, where it cannot."""
        missed = []
        if self.unheard:
            missed.append(f"{self.unheard} came too fast to be captured")
        if self.forgotten:
            missed.append(f"{self.forgotten} too many to be compared")
        return " and ".join(missed)

    def other_sides(self) -> list[str]:
        """Where the rest of the way can be seen: commands, one for each of a few targets."""
        nodes = {target: self.name(first) for (_, target), first in self._left.items()}
        sides = [f"on {node}: overlayctl trace {target}" for target, node in nodes.items() if node]
        return sides[:MOST_PLACES]

    def counts(self) -> dict[str, int]:
        """By point and way."""
        names = ("pod out", "tunnel out", "tunnel in", "pod in")
        return {name.replace(" ", "_"): self.seen[name] for name in names}

    def _piece(self, lane: _Lane, sight: Sight) -> None:
        """TCP data at its second point; a flow that is given up for a newer one can no longer be compared."""
        if sight.flow not in lane.pieces and len(lane.pieces) >= MOST_FLOWS:
            del lane.pieces[next(iter(lane.pieces))]
            self.forgotten += 1
        pieces = lane.pieces.setdefault(sight.flow, deque(maxlen=MOST_PIECES))
        if pieces and pieces[-1][1] == sight.span[0]:
            pieces[-1] = (pieces[-1][0], sight.span[1])
        else:
            pieces.append(sight.span)

    def _note(self, sight: Sight) -> None:
        """Who sent to whom, and whom something came from; of more pairs than fit, the first ones."""
        if sight.way is Way.IN:
            if len(self._back) < MOST_PAIRS or (sight.target, sight.source) in self._left:
                self._back.add((sight.target, sight.source))
        elif sight.outside:
            pair = (sight.source, sight.target)
            if len(self._left) < MOST_PAIRS:
                self._left.setdefault(pair, sight)
            if pair in self._left:
                self._sent[pair] += 1

    def _missing(self, way: Way) -> Iterable[Sequence[Sight]]:
        """Seen at the first point only, by source, target and protocol; the most first."""
        lane, groups = self._lanes[way], dict[Any, list[Sight]]()
        until = (self.last if self.until is None else self.until) - GRACE_NS
        covered = {flow: _merged(spans) for flow, spans in lane.pieces.items()}
        for waiting in lane.first.values():
            for sight in waiting:
                if sight.at > until or (way is Way.OUT and not self.meshed(sight.target)):
                    continue
                if not _touches(covered.get(sight.flow, []), sight.span):
                    key = (sight.source, sight.target, sight.protocol)
                    groups.setdefault(key, []).append(sight)
        some = [group for group in groups.values() if len(group) > self.unheard]
        return sorted(some, key=len, reverse=True)[:MOST_PLACES]

    def _lost(self, group: Sequence[Sight], way: Way, pod_link: str, underlay: str) -> Finding:
        one, least = group[0], min(sight.length for sight in group)
        size = f", all of {least} bytes and more" if least > LARGE else ""
        what = f"{len(group)} {one.protocol} packets {one.source} > {one.target}{size}"
        if way is Way.OUT:
            where = (
                f"sent by the pod, not seen leaving: they vanish between {pod_link} and {underlay}"
            )
        else:
            where = f"came by {underlay}, not seen at the pod: they vanish between {underlay} and {pod_link}"
        return Finding(
            f"{what}: {where} of this node",
            f"overlayctl why {one.source} {one.target}; nft list ruleset",
        )

    def _unanswered(self) -> list[Finding]:
        """Targets to which packets left, and from which nothing came at all."""
        found = []
        for pair, first in self._left.items():
            if pair in self._back or first.at > self.last - ANSWER_NS:
                continue
            if self._sent[pair] <= self.unheard:
                continue  # the answers may be among what was not captured
            node = self.name(first) or "the other node"
            text = (
                f"{self._sent[pair]} packets {pair[0]} > {pair[1]} left for {node}, "
                f"and nothing came back from {pair[1]}"
            )
            found.append(Finding(text, f"on {node}: overlayctl trace {pair[1]}"))
        return found[:MOST_PLACES]

    def _forget(self) -> None:
        """The oldest that waits."""
        lane, key, first = self._order.popleft()
        if waiting := lane.get(key):
            waiting.popleft()
            self.forgotten += first
            if not waiting:
                del lane[key]


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same bytes as few spans in their order, none of which touches another."""
    found: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def _touches(merged: Sequence[tuple[int, int]], wanted: tuple[int, int]) -> bool:
    """Whether some of these bytes are among them."""
    place = bisect_left(merged, (wanted[1], 0)) - 1
    return place >= 0 and merged[place][1] > wanted[0]


def within(subnets: Sequence[Subnet], own: Sequence[Subnet]) -> Callable[[str], bool]:
    """A test for addresses: inside of ``subnets`` and not of ``own``."""

    def test(text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in net for net in subnets) and not any(address in net for net in own)

    return test
