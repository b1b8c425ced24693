"""overlayctl trace: listen inside and outside of the tunnel, print, and say at the end where packets vanish."""

import argparse
import contextlib
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from agent.config import Config
from agent.ctl.trace import filters, pcapng, target
from agent.ctl.trace.capture import Ear, Frame
from agent.ctl.trace.lines import Printer
from agent.ctl.trace.sightings import Known, Sight
from agent.ctl.trace.story import Story, within
from overlay.errors import BadConfig, OverlayError

TURN_S, LINGER_S = 0.2, 0.25
"""After the end: what is on its way is still to be seen at its second point."""
Decode = Callable[[Frame, Known], Sight | None]


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own."""
    verb.add_argument("pod", metavar="POD", help="name, IP, or the beginning of a container's id")
    verb.add_argument(
        "-w", "--write", metavar="FILE", help="write the packets as pcapng (tcpdump -r, wireshark)"
    )
    verb.add_argument(
        "-c", "--count", type=int, default=0, metavar="N", help="end after so many lines"
    )
    verb.add_argument(
        "--seconds", type=float, default=0.0, metavar="S", help="end after so many seconds"
    )
    verb.add_argument("--icmp", action="store_true", help="only ICMP (ping)")
    verb.add_argument(
        "--port", type=int, default=0, metavar="N", help="only TCP and UDP from or to this port"
    )


def trace(flags: argparse.Namespace, settings: Config) -> int:
    """0 all that was seen at one point was seen at the other, 1 something vanished, was too large, or was missed."""
    if flags.count < 0 or not flags.seconds >= 0 or not 0 <= flags.port <= 65535:
        raise BadConfig("--count, --seconds and --port must not be below 0, a port not above 65535")
    others = target.peers(settings)
    pod = target.find(settings.run_dir, flags.pod, others.by_subnet)
    ways = target.ways(settings.marks, settings.run_dir)
    known = Known(frozenset(pod.addresses), ways.port, ways.vnis)
    with contextlib.ExitStack() as stack:
        inside = stack.enter_context(contextlib.closing(Ear(pod.link)))
        program = filters.underlay(ways.port, pod.addresses)
        outside = [
            stack.enter_context(contextlib.closing(Ear(name, program))) for name in ways.underlays
        ]
        since = time.time_ns()
        file = stack.enter_context(_opened(flags.write, [pod.link, *ways.underlays]))
        _say(
            f"overlayctl trace: {pod.name} ({', '.join(map(str, pod.addresses))}) at {pod.link} and "
            f"{', '.join(ways.underlays)}, starting…"
        )
        from agent.ctl.trace import decode

        story = Story(within(ways.meshed, ways.own), others.name)
        show = Printer(story, json=flags.output == "json")
        decoders: dict[str, Decode] = dict.fromkeys(ways.underlays, decode.on_the_underlay)
        decoders[pod.link] = decode.on_the_veth
        session = _Session(flags, [inside, *outside], since, decoders, known, story, show, file)
        _say("overlayctl trace: listening; Ctrl-C ends it and says what was seen")
        session.run()
    return int(bool(show.summary(pod.link, ", ".join(ways.underlays)) or story.doubt))


@dataclass(slots=True)
class _Session:
    """``since``: all ears listen; what the first heard before would be missing at the others."""

    flags: argparse.Namespace
    ears: list[Ear]
    since: int
    decoders: dict[str, Decode]
    known: Known
    story: Story
    show: Printer
    file: BinaryIO | None
    shown: int = 0
    _places: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        """Until enough was seen, the time is over, or somebody says so."""
        self._places = {ear.link: place for place, ear in enumerate(self.ears)}
        end = time.monotonic() + self.flags.seconds if self.flags.seconds else None
        with _told_to_end() as told:
            while not told and not self._over(end):
                left = TURN_S if end is None else max(min(TURN_S, end - time.monotonic()), 0)
                select.select(self.ears, [], [], left)
                self._round(quiet=False)
            linger = time.monotonic() + LINGER_S
            while (left := linger - time.monotonic()) > 0:
                select.select(self.ears, [], [], left)
                self._round(quiet=True)
        self.story.last = max(self.story.last, time.time_ns())
        self.story.unheard = sum(ear.lost for ear in self.ears)
        behind = [ear.behind for ear in self.ears if ear.behind is not None]
        self.story.until = min(behind) if behind else None

    def _over(self, end: float | None) -> bool:
        """Enough was seen, or the time is over, or the pod is gone."""
        if self.ears[0].gone:
            _say(f"overlayctl trace: {self.ears[0].link} is gone: the pod was deleted")
            return True
        return self._enough() or (end is not None and time.monotonic() >= end)

    def _enough(self) -> bool:
        return bool(self.flags.count) and self.shown >= self.flags.count

    def _round(self, *, quiet: bool) -> None:
        """What all sockets have, in the order of its times."""
        frames = [frame for ear in self.ears for frame in ear.hear() if frame.at >= self.since]
        for frame, sight in self._sights(sorted(frames, key=lambda frame: frame.at)):
            delay = self.story.add(sight)
            if quiet or self._enough():
                continue
            self.shown += 1
            self.show.line(sight, frame.link, delay)
            if self.file is not None:
                self.file.write(
                    pcapng.packet(
                        self._places[frame.link],
                        frame.at,
                        frame.data,
                        outgoing=frame.outgoing,
                        length=frame.length,
                    )
                )
        if self.file is not None:
            self.file.flush()

    def _sights(self, frames: list[Frame]) -> Iterator[tuple[Frame, Sight]]:
        for frame in frames:
            sight = self.decoders[frame.link](frame, self.known)
            if sight is not None and self._wanted(sight):
                yield frame, sight

    def _wanted(self, sight: Sight) -> bool:
        if sight.remarks:  # a router's word is about all of them
            return True
        if self.flags.icmp or self.flags.port:
            is_icmp = self.flags.icmp and sight.protocol == "icmp"
            return is_icmp or (bool(self.flags.port) and self.flags.port in sight.ports)
        return True


@contextlib.contextmanager
def _told_to_end() -> Iterator[list[int]]:
    """What comes by SIGINT or SIGTERM is put down: an exception in between would lose packets that were just read.

    A second one is as it always is.
    """
    told: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _: object) -> None:
        told.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, note)
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _opened(path: str | None, links: list[str]) -> Iterator[BinaryIO | None]:
    """The capture file: packets are nobody's business but root's."""
    if not path:
        yield None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadConfig(f"--write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pcapng.header(links))
            yield file
    except BrokenPipeError:  # of standard output: whoever read it has gone
        raise
    except OSError as error:
        raise OverlayError(
            f"--write {path}: {error.strerror}; what was written before is there", hint=f"df {path}"
        ) from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
