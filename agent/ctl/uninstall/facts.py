"""All that is here of one agent, and what follows: what is to be done, and what is left. Pure.

Both are said from one picture, so that a dry run, a run, and the report after it cannot contradict each other.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from agent.ctl.install.service import Service
from cni.strays import Stray
from overlay.dataplane.former import Turned
from overlay.marks import Marks
from overlay.model import Bridge, KernelObject, LinkAddress, Route, Step, Vxlan

MOST_SHOWN = 20
"""Of each kind of kernel object."""


class Fate(Enum):
    """What becomes of a file at uninstall."""

    OURS = "removed"
    CHANGED = "kept: changed since it was laid down"
    SHARED = "kept: another agent of this node needs it"
    SAVED = "put back"


@dataclass(frozen=True, slots=True)
class Laid:
    """A file of ours; ``back`` is where what was there before it goes."""

    path: Path
    fate: Fate
    back: Path | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Leases in etcd. ``asked`` is False where nothing says that there is an etcd; ``error`` why it did not answer."""

    asked: bool = False
    keys: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """One look. ``agent`` is its pid; ``places`` are the attachments with a journal, ``strays`` links without one.

    ``steps`` delete what the kernel holds. ``inside`` are the files in run and state directory that are ours,
    ``unknown`` others there. ``settings`` is what etcd is asked with, empty if it is to go. ``others`` are the other
    agents of this node, which need the switches as they are.
    """

    marks: Marks
    node: str
    service: Service
    agent: int = 0
    conflist: Path | None = None
    places: tuple[str, ...] = ()
    strays: tuple[Stray, ...] = ()
    steps: tuple[Step, ...] = ()
    table: str = ""
    switches: tuple[Turned, ...] = ()
    held: Held = field(default_factory=Held)
    laid: tuple[Laid, ...] = ()
    settings: tuple[Path, ...] = ()
    inside: tuple[Path, ...] = ()
    unknown: tuple[Path, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def pods(self) -> int:
        """Interfaces of pods that would lose their network."""
        return len(self.places) + len(self.strays)

    @property
    def needed(self) -> frozenset[Path]:
        """What etcd is asked with, while it may hold something of ours."""
        return frozenset(self.settings if self.held.keys or self.held.error else ())

    @property
    def unit(self) -> str:
        """The unit if systemd has anything to do with it, else nothing."""
        service = self.service
        there = service.enabled or service.active not in ("inactive", "failed")
        return service.unit if service.systemd and there else ""


@dataclass(frozen=True, slots=True)
class Left:
    """Something that is still there, and the command that removes it."""

    what: str
    mend: str


def deeds(facts: Facts) -> Iterator[tuple[str, str]]:
    """(stage, what is done) in order."""
    if facts.conflist:
        yield "conflist", f"remove {facts.conflist}"
    if facts.unit:
        yield "service", f"stop and disable {facts.unit}"
    if facts.agent:
        yield "service", f"end overlay-agent, pid {facts.agent}"
    for place in (*facts.places, *(stray.place for stray in facts.strays)):
        yield "pods", f"detach {place}"
    if facts.table:
        yield "kernel", f"delete table {facts.table}"
    shown, more = _few(facts.steps)
    yield from (("kernel", str(step)) for step in shown)
    if more:
        yield "kernel", f"delete {more}"
    gone = {step.object.name for step in facts.steps if isinstance(step.object, Vxlan | Bridge)}
    for item in facts.switches:
        if item.path.split("/")[-2] not in gone:
            yield "switches", f"{item.path} back from {item.now} to {item.before}"
    for key in facts.held.keys:
        yield "lease", f"give back {key}"
    asked_with = facts.settings if facts.held.error else ()
    for laid in facts.laid:
        if laid.path in asked_with:
            continue
        word = {Fate.OURS: "remove", Fate.SAVED: "put back"}.get(laid.fate)
        yield "files", f"{word} {laid.path}" if word else f"{laid.path} is {laid.fate.value}"
    for path in facts.inside:
        yield "files", f"remove {path}"


def left(facts: Facts) -> Iterator[Left]:
    """The residue: empty if the node is as it was before."""
    again = f"overlayctl uninstall{_instance(facts.marks)} --force"
    if facts.agent:
        yield Left(
            f"overlay-agent still runs, pid {facts.agent}", f"kill -9 {facts.agent}; {again}"
        )
    if facts.unit:
        yield Left(f"{facts.unit} is enabled or runs", f"systemctl disable --now {facts.unit}")
    if facts.conflist:
        yield Left(f"the conflist {facts.conflist}", f"rm {facts.conflist}")
    for place in facts.places:
        yield Left(f"the attachment {place}", again)
    for stray in facts.strays:
        yield Left(f"the pod's link {stray.link}", f"ip link delete {stray.link}")
    if facts.table:
        yield Left(f"the nft table {facts.table}", f"nft delete table {facts.table}")
    shown, more = _few(facts.steps)
    yield from (Left(str(step.object), _command(step.object)) for step in shown)
    if more:
        yield Left(more, again)
    for item in facts.switches:
        yield Left(f"{item.path} is {item.now}, it was {item.before}", item.command)
    yield from _left_in_etcd(facts)
    for laid in facts.laid:
        if laid.fate is Fate.OURS and laid.path not in facts.needed:
            yield Left(f"the file {laid.path}", f"rm {laid.path}")
        if laid.fate is Fate.SAVED:
            yield Left(f"{laid.path}, which was there before us", f"mv {laid.path} {laid.back}")
    for path in facts.inside:
        yield Left(f"the file {path}", f"rm -r {path}")
    for path in facts.unknown:
        yield Left(f"{path}, which this version does not know", f"look at it; rm -r {path}")


def kept(facts: Facts) -> Iterator[str]:
    """What stays on purpose."""
    if facts.others:
        yield f"sysctls stay as they are, and so does what {' and '.join(facts.others)} needs"
    for laid in facts.laid:
        if laid.path in facts.needed:
            yield f"{laid.path} stays until etcd has nothing of this node; --purge removes it all the same"
        elif laid.fate is Fate.CHANGED:
            yield f"{laid.path} is {laid.fate.value}; overlayctl uninstall --purge removes it"
        elif laid.fate is Fate.SHARED:
            yield f"{laid.path} is {laid.fate.value}"


def _few(steps: Sequence[Step]) -> tuple[list[Step], str]:
    """Nobody reads thousands of routes: the first of each kind, and how many more there are."""
    seen = Counter[str]()
    shown = []
    for step in steps:
        kind = type(step.object).__name__
        seen[kind] += 1
        if seen[kind] <= MOST_SHOWN:
            shown.append(step)
    rest = {kind: count - MOST_SHOWN for kind, count in seen.items() if count > MOST_SHOWN}
    return shown, ", ".join(f"{count} more of kind {kind}" for kind, count in rest.items())


def _left_in_etcd(facts: Facts) -> Iterator[Left]:
    later = f"on any node, once etcd answers: overlayctl node remove {facts.node}"
    if facts.held.error:
        yield Left(f"perhaps a lease in etcd, which does not answer ({facts.held.error})", later)
    for key in facts.held.keys:
        yield Left(f"the lease {key}", later)


def _instance(marks: Marks) -> str:
    return f" --instance {marks.instance}" if marks.instance else ""


def _command(item: KernelObject) -> str:
    match item:
        case Vxlan() | Bridge():
            return f"ip link delete {item.name}"
        case Route():
            six = " -6" if item.dst.version == 6 else ""
            return f"ip{six} route delete {item.dst} dev {item.link} proto {item.protocol}"
        case LinkAddress():
            return f"ip address delete {item.address} dev {item.link}"
    return f"ip link delete {getattr(item, 'link', '')}"
