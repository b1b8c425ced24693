"""The unit of an agent: what systemd says of it, what is due because of that (pure), and doing it."""

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent.ctl import programs
from agent.ctl.client import ask
from overlay.errors import OverlayError
from overlay.marks import Marks

BOOTED = Path("/run/systemd/system")
"""sd_booted(3): there while systemd is PID 1."""
_PROPERTIES = "LoadState,ActiveState,SubState,UnitFileState,NeedDaemonReload,MainPID,NRestarts"
_LOOK_S = 0.3
READERS = {
    "systemd-networkd": ("networkctl", "reload"),
    "NetworkManager": ("nmcli", "general", "reload", "conf"),
}
"""Network managers, and how one that runs is told that its files have changed."""


@dataclass(frozen=True, slots=True)
class Service:
    """``systemd`` says whether it runs this machine. ``readers`` are the network managers that run."""

    systemd: bool
    unit: str
    loaded: bool = False
    active: str = "inactive"
    sub: str = "dead"
    enabled: bool = False
    reload_due: bool = False
    pid: int = 0
    restarts: int = 0
    readers: Collection[str] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Act:
    """A program to run, and why."""

    words: tuple[str, ...]
    why: str

    def __str__(self) -> str:
        return f"{' '.join(self.words)}: {self.why}"


def unit_of(marks: Marks) -> str:
    """The unit that runs an instance."""
    return f"{marks.unit}.service"


def due(service: Service, changed: Collection[str], stale: str) -> tuple[Act, ...]:
    """What has to be done once the files are laid down. Pure.

    ``changed`` are the readers of files that differed, ``stale`` says why a running agent has to start anew.
    """
    return tuple(_due(service, changed, stale))


def _due(service: Service, changed: Collection[str], stale: str) -> Iterator[Act]:
    for name, words in READERS.items():
        if name in changed and name in service.readers:
            yield Act(words, f"{name} reads its files anew")
    if "systemd" in changed or service.reload_due or not service.loaded:
        yield Act(("systemctl", "daemon-reload"), "units have changed")
    if not service.enabled:
        yield Act(("systemctl", "enable", service.unit), "it starts with the machine")
    if service.active not in ("active", "activating", "reloading"):
        yield Act(("systemctl", "start", "--no-block", service.unit), "it does not run")
    elif stale:
        yield Act(("systemctl", "restart", "--no-block", service.unit), stale)


def look(marks: Marks) -> Service:
    """As it is now."""
    unit = unit_of(marks)
    if not BOOTED.is_dir():
        return Service(False, unit)
    said = programs.run(["systemctl", "show", unit, f"--property={_PROPERTIES}"])
    value = programs.properties(said.out)
    running = [
        name
        for name in READERS
        if programs.run(["systemctl", "is-active", "--quiet", f"{name}.service"]).code == 0
    ]
    return Service(
        True,
        unit,
        loaded=value.get("LoadState") == "loaded",
        active=value.get("ActiveState", "inactive"),
        sub=value.get("SubState", "dead"),
        enabled=value.get("UnitFileState") == "enabled",
        reload_due=value.get("NeedDaemonReload") == "yes",
        pid=_number(value.get("MainPID")),
        restarts=_number(value.get("NRestarts")),
        readers=tuple(running),
    )


def carry_out(acts: Collection[Act]) -> None:
    """One after the other.

    Raises:
        OverlayError: one failed; what it said.
    """
    for act in acts:
        said = programs.run(act.words, timeout_s=60)
        if said.code != 0:
            why = (said.err or said.out).strip().splitlines()
            raise OverlayError(
                f"`{' '.join(act.words)}` failed: {why[-1] if why else f'exit code {said.code}'}; "
                "the files are laid down",
                hint="journalctl -xe; then again: overlayctl install",
            )


@dataclass(frozen=True, slots=True)
class Outcome:
    """``ready``: READY=1 was said. Otherwise ``why`` has what it waits for, or how it ended."""

    ready: bool
    why: str = ""


def wait_ready(
    begun: Service,
    marks: Marks,
    run_dir: Path,
    *,
    timeout_s: float,
    tell: Callable[[str], None],
) -> Outcome:
    """Until the unit is active, has failed for good, or the time is over; ``tell`` hears what it waits for.

    ``begun`` is what it was before; with a pid that of an agent which is on its way out.
    """
    until, told = time.monotonic() + timeout_s, ""
    while True:
        service = look(marks)
        if service.active == "active" and service.pid != begun.pid:
            return Outcome(True)
        why = _waits_for(run_dir)
        if service.active == "failed" or service.restarts > begun.restarts + 2:
            return Outcome(False, f"{service.unit} does not stay up: {_last_words(service.unit)}")
        if why and why != told:
            told = why
            tell(why)
        if time.monotonic() > until:
            waiting = told or f"it is {service.active} ({service.sub})"
            return Outcome(False, f"not ready within {timeout_s:g} s: {waiting}")
        time.sleep(_LOOK_S)


def _waits_for(run_dir: Path) -> str:
    with suppress(OverlayError):
        answer = ask(run_dir, "status", timeout_s=2)
        trouble = "; ".join(f"{who}: {why}" for who, why in answer["trouble"].items())
        return str(answer["waiting_for"] or trouble)
    return ""


def _last_words(unit: str) -> str:
    said = programs.run(["journalctl", "-u", unit, "-n", "3", "-o", "cat", "--no-pager"])
    return " / ".join(said.out.split("\n")).strip(" /") or f"see: journalctl -u {unit}"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0
