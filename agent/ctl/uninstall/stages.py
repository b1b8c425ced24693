"""Carrying an uninstall out, stage by stage. Each can be cut off anywhere, and run again.

What makes the runtime start pods goes first, what is needed to find the rest (settings, the list of what is installed)
last.
"""

import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from agent import connect, sole
from agent.config import Config
from agent.ctl import programs
from agent.ctl.install import manifest, service, writing
from agent.ctl.install.items import NETWORKD_DIR, NETWORKMANAGER_DIR, UNIT_DIR
from agent.ctl.uninstall import look
from agent.ctl.uninstall.facts import Facts, Fate
from cni import collect, strays
from cni.collect import Leftover
from cni.ipam import Ipam
from cni.steps import Steps
from overlay import nodefile
from overlay.dataplane import Dataplane, former
from overlay.errors import NotReady, OverlayError
from overlay.model import Action, Ruleset, Step

STOP_S, KILL_S = 12.0, 3.0
"""The unit's TimeoutStopSec and a little; SIGKILL works at once, unless the process waits for a disk."""
LOCK_S = 10.0
_POLL_S = 0.1
Trouble = Iterator[str]
Stage = Callable[[Facts, Config], Trouble]


def conflist(facts: Facts, settings: Config) -> Trouble:
    """No new pod from here on: neither by the runtime nor by a program that asks for the node's page."""
    try:
        nodefile.remove_conflist(settings.cni_conf_dir, facts.marks.conflist)
        nodefile.remove_pages(settings.run_dir)
    except OSError as error:
        yield f"{facts.conflist or settings.run_dir}: {error.strerror}"


def stop(facts: Facts, settings: Config) -> Trouble:
    """The unit, then whatever agent is still there; one that hangs is killed."""
    if facts.unit:
        said = programs.run(["systemctl", "disable", "--now", facts.unit], timeout_s=STOP_S + 5)
        if said.code == programs.LATE:
            programs.run(["systemctl", "kill", "--signal=KILL", facts.unit])
            said = programs.run(["systemctl", "disable", "--now", facts.unit], timeout_s=STOP_S)
        if said.code != 0:
            yield f"systemctl disable --now {facts.unit}: {said.err.strip()}"
    if pid := sole.running(facts.marks, settings.run_dir):
        yield from _end(pid)


def _end(pid: int) -> Trouble:
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        for number, seconds in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
                signal.pidfd_send_signal(
                    process, signal.SIGCONT
                )  # one that is stopped hears nothing
            if select.select([process], [], [], seconds)[0]:
                return
    finally:
        os.close(process)
    yield f"overlay-agent, pid {pid}, does not end"


def pods(facts: Facts, settings: Config) -> Trouble:
    """Take each attachment away as if its pod were gone. What a runtime is just at work on is waited for."""
    ipam, run_dir, until = Ipam(settings.run_dir), settings.run_dir, time.monotonic() + LOCK_S
    for place in facts.places:
        record = collect.record_of(ipam, place)
        item = Leftover(place, "uninstall", made=record.created if record else 0.0)
        try:
            while not collect.take_away(run_dir, item, Steps()):
                if time.monotonic() > until:
                    yield f"{place}: a runtime is at work on it"
                    break
                time.sleep(_POLL_S)
        except (OverlayError, OSError) as error:
            yield f"{place}: {error}"
    for stray in facts.strays:
        try:
            strays.remove(stray)
        except OverlayError as error:
            yield f"{stray.link}: {error}"


def kernel(facts: Facts, settings: Config) -> Trouble:
    """Rules, then routes, entries and devices, the last made first."""
    marks = facts.marks
    with closing(Dataplane(settings.run_dir, marks=marks)) as plane:
        steps = [Step(Action.DELETE, Ruleset(marks.table, ""))] if facts.table else []
        plane.read({})
        todo = [*steps, *facts.steps]
        for step, error in zip(todo, plane.apply(todo), strict=True):
            if error is not None:
                yield f"{step}: {error}"


def switches(facts: Facts, settings: Config) -> Trouble:
    """Back to what they were before an agent turned them; or who needs them is told what that was."""
    file = settings.run_dir / former.NAME
    if facts.others:
        homes = [it.run_dir for it in look.others(settings) if it.run_dir.is_dir()]
        for home in homes[:1]:
            former.hand_on(former.read(file), home / former.NAME)
        return
    for item in former.turned(former.read(file), look.SYSCTLS):
        if why := former.put_back(item, look.SYSCTLS):
            yield f"{item.path}: {why}"


def lease(facts: Facts, settings: Config) -> Trouble:
    """Give back what this machine holds; a machine that answers for it is another one of the same id."""
    if not facts.held.asked:
        return
    try:
        with closing(connect.registry(settings)) as store:
            found = [it for it in store.snapshot().leases.values() if look.is_mine(it, settings)]
            for held in found:
                try:
                    store.release(store.by_hand.surely_dead(held))
                except NotReady as error:  # another machine has our id, and this one
                    yield f"etcd: {error}"
    except OverlayError as error:
        yield f"etcd: {error}"


def files(facts: Facts, settings: Config) -> Trouble:
    """What was laid down and what the agent wrote. While etcd has something of ours, what it is asked with stays."""
    stay = set(facts.needed)
    if facts.switches:
        stay.add(settings.run_dir / former.NAME)
    for path in facts.inside:
        if path not in stay:
            yield from _remove(path)
    for directory in (settings.run_dir, settings.state_dir):
        with suppress(OSError):  # while something is left in it
            directory.rmdir()
    late = (*facts.settings, settings.cni_bin_dir / "overlay")
    for item in sorted(facts.laid, key=lambda it: it.path in late):
        if item.fate is Fate.OURS and item.path not in stay:
            yield from _remove(item.path)
    yield from _put_back(facts)
    if not stay:
        _forget(facts, settings)
    yield from _tell(facts)


def _put_back(facts: Facts) -> Trouble:
    """What --force had replaced, once its place is free."""
    for item in facts.laid:
        if item.fate is Fate.SAVED and item.back is not None and not os.path.lexists(item.back):
            try:
                item.path.replace(item.back)
            except OSError as error:
                yield f"{item.path}: {error.strerror}"


def _forget(facts: Facts, settings: Config) -> None:
    """The list of what is installed, and the directories that were made for it, if nothing else is in them."""
    place = manifest.path_of(facts.marks)
    noted = manifest.parse(writing.look(place))
    with suppress(OSError):
        place.unlink(missing_ok=True)
    for directory in (*reversed(noted.directories), settings.state_dir, place.parent):
        with suppress(OSError):
            directory.rmdir()


def _tell(facts: Facts) -> Trouble:
    """systemd and the network managers read their directories anew."""
    gone = {item.path.parent for item in facts.laid if item.fate is Fate.OURS}
    if not facts.service.systemd:
        return
    if service.look(facts.marks).reload_due or UNIT_DIR in gone:
        said = programs.run(["systemctl", "daemon-reload"], timeout_s=30)
        programs.run(["systemctl", "reset-failed", facts.service.unit])
        if said.code != 0:
            yield f"systemctl daemon-reload: {said.err.strip()}"
    readers = {"systemd-networkd": NETWORKD_DIR, "NetworkManager": NETWORKMANAGER_DIR}
    for name in facts.service.readers:
        if readers[name] in gone:
            programs.run(service.READERS[name])


def _remove(path: Path) -> Trouble:
    try:
        if path.is_dir() and not path.is_symlink():
            for entry in sorted(path.iterdir()):
                yield from _remove(entry)
            path.rmdir()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        yield f"{path}: {error.strerror}"


STAGES: tuple[tuple[str, Stage], ...] = (
    ("conflist", conflist),
    ("service", stop),
    ("conflist", conflist),  # an agent that lived may have written it again
    ("pods", pods),
    ("kernel", kernel),
    ("switches", switches),
    ("lease", lease),
    ("files", files),
)
"""In this order."""
