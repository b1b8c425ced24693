"""Pings that never stop: 20 a second between pods, each one accounted for.

    pings = Pings(lab)
    pings.between(pods)
    with pings.window() as window:
        ...                     # whatever must not cost a packet
    window.sent, window.lost

One ping(8) process per pair; it writes a line per answer with its sequence number. A packet counts as lost
when its answer has not come GRACE_S after the window's end; that time is counted in pings sent, so that it does not
pass while a busy machine does not let ping run.
"""

import re
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from e2e.lab import Lab
from e2e.node import wait_for
from e2e.pods import Pod
from e2e.process import CommandFailed, Daemon

INTERVAL_S = 0.05
GRACE_S = 5.0
"""An answer that is there is printed when ping(8) runs next: on a busy machine not at once."""
_SEQUENCE = re.compile(rb"icmp_seq=(\d+)")
_WRAP = 1 << 16


class Account:
    """What one ping process has sent and got back, from what it prints. Pure."""

    def __init__(self) -> None:
        self.sent = 0
        """Each line names a number that was sent; with -O there is one at the latest at the next number."""
        self.answered = 0
        """The highest number with an answer."""
        self._open: set[int] = set()

    def read(self, text: bytes) -> None:
        """Take in whole lines."""
        for line in text.splitlines():
            if match := _SEQUENCE.search(line):
                number = self._unwrapped(int(match[1]))
                self._open.update(range(self.sent + 1, number + 1))
                self.sent = max(self.sent, number)
                if b" bytes from " in line:
                    self._open.discard(number)
                    self.answered = max(self.answered, number)

    def lost(self, after: int, to: int) -> list[int]:
        """Numbers in (after, to] without an answer so far."""
        return sorted(number for number in self._open if after < number <= to)

    def _unwrapped(self, number: int) -> int:
        """ICMP counts to 65,535: the number of its kind that is nearest to the last one."""
        return number + _WRAP * round((self.sent - number) / _WRAP)


class Pinger:
    """One pair; runs until `close`."""

    def __init__(self, here: Pod, there: Pod, work: Path, *, every_s: float) -> None:
        self.name = f"{here.name}→{there.name}"
        self.nodes, self.pods = {here.node, there.node}, {here.name, there.name}
        self.account = Account()
        self._log = work / f"ping-{here.name}-{there.name}.log"
        self._log.unlink(missing_ok=True)
        words = ["ping", "-n", "-D", "-O", "-i", f"{every_s}", str(there.address)]
        self._daemon = Daemon(f"ping {self.name}", here.namespace.inside(words), self._log)
        self._read_to = 0

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._daemon.pid

    def close(self) -> None:
        """End it."""
        self._daemon.end()

    def update(self) -> Account:
        """Read what it has written since last time."""
        if not self._daemon.alive:
            raise CommandFailed(f"ping {self.name} ended: {self._log.read_text()[-300:]}")
        with self._log.open("rb") as log:
            log.seek(self._read_to)
            text = log.read()
        whole = text.rfind(b"\n") + 1
        self._read_to += whole
        self.account.read(text[:whole])
        return self.account


@dataclass(slots=True)
class Window:
    """Counts of one stretch of time, complete once its block has ended. ``gaps``: lost numbers by pair."""

    sent: int = 0
    lost: int = 0
    gaps: dict[str, list[int]] = field(default_factory=dict)


class Pings:
    """All pairs of a lab, each every ``every_s`` seconds. ``total`` counts every window so far."""

    def __init__(self, lab: Lab, *, every_s: float = INTERVAL_S) -> None:
        self.total = Window()
        self._every_s = every_s
        self._lab = lab
        self._pingers: list[Pinger] = []
        self._counted: dict[Pinger, int] = {}
        """Up to which number the last window has looked."""

    def between(self, pods: Sequence[Pod]) -> None:
        """Each pair of pods of different nodes; returns once all of them have answered."""
        self._start([(one, other) for place, one in enumerate(pods) for other in pods[place + 1 :]])

    def among(self, old: Sequence[Pod], pod: Pod) -> None:
        """A new one and each of the others."""
        self._start([(other, pod) for other in old])

    def _start(self, pairs: Sequence[tuple[Pod, Pod]]) -> None:
        work = self._lab.work
        made = [
            Pinger(*pair, work, every_s=self._every_s)
            for pair in pairs
            if pair[0].node != pair[1].node
        ]
        self._pingers += made
        self._lab.clients.extend(made)
        self._lab.record()
        for pinger in made:
            wait_for(lambda it=pinger: _answers(it), f"ping {pinger.name}", timeout_s=20)  # type: ignore[misc]

    def end(self, pod: Pod) -> None:
        """No more pings from or to that pod."""
        for pinger in [it for it in self._pingers if pod.name in it.pods]:
            pinger.close()
            self._pingers.remove(pinger)
            self._lab.clients.remove(pinger)

    def flow(self, *, timeout_s: float) -> None:
        """Wait until each pair has had an answer from now on."""
        since = {it: it.update().sent for it in self._pingers}
        for it, number in since.items():
            wait_for(
                lambda it=it, number=number: it.update().answered > number,  # type: ignore[misc]
                f"ping {it.name} answered again",
                timeout_s=timeout_s,
            )

    @contextmanager
    def window(self, *, without: Collection[str] = (), seamless: bool = False) -> Iterator[Window]:
        """Count what is sent within the block; pairs that touch a node of ``without`` are not looked at.

        ``seamless``: and what was sent since the last window that looked at the pair.
        """
        looked = [it for it in self._pingers if not it.nodes & set(without)]
        since = {it: it.update().sent for it in looked}
        if seamless:
            since |= {it: self._counted[it] for it in looked if it in self._counted}
        self._counted.clear()
        window = Window()
        try:
            yield window
        finally:
            self._settle(window, {it: since[it] for it in looked if it in self._pingers})

    def _settle(self, window: Window, since: dict[Pinger, int]) -> None:
        until = {it: it.update().sent for it in since}
        self._counted = dict(until)

        grace = GRACE_S / self._every_s

        def settled() -> bool:
            accounts = [(it.update(), first, until[it]) for it, first in since.items()]
            return all(
                one.sent >= to + grace or not one.lost(first, to) for one, first, to in accounts
            )

        with suppress(CommandFailed):  # what is missing is told below
            wait_for(settled, "answers", timeout_s=10 * GRACE_S)
        for it, first in since.items():
            gaps = it.update().lost(first, until[it])
            window.sent += until[it] - first
            window.lost += len(gaps)
            if gaps:
                window.gaps[it.name] = gaps
        self.total.sent += window.sent
        self.total.lost += window.lost
        for name, gaps in window.gaps.items():
            self.total.gaps[f"{name} at {time.strftime('%H:%M:%S')}"] = gaps


def _answers(pinger: Pinger) -> bool:
    account = pinger.update()
    recent = max(account.sent - 2, 0)
    return account.sent > 2 and len(account.lost(recent - 2, recent)) == 0
