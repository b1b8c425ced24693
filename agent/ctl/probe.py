"""overlayctl probe: do packets reach the other nodes through the tunnel, and how large may they be?

Exit codes: 0 all is well, 1 something is lost, 2 nobody answers (or there is nobody to ask with).
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address

from rich.console import Console
from rich.progress import Progress

from agent.config import Config
from agent.ctl import probewords, show
from agent.ctl.probefar import ask_far_sides
from agent.ctl.probepeers import Peers, peers
from agent.ctl.probewall import look_here
from agent.probes.course import TABLE, THOROUGH, Course, Plan
from agent.probes.echo import Echo, may_probe
from agent.probes.engine import Engine
from agent.probes.judge import judge
from agent.probes.result import Result, worst_first
from agent.probes.targets import Target
from overlay.errors import BadConfig, NotReady

MOST_AT_ONCE = 64


def add_arguments(_name: str, verb: argparse.ArgumentParser) -> None:
    """Whom, and how thoroughly."""
    verb.add_argument(
        "peers",
        nargs="*",
        metavar="PEER",
        help="a node's name, subnet, underlay address or any address in its subnet: asked thoroughly "
        "(default: a table of all, with few packets each)",
    )
    verb.add_argument("--all", action="store_true", help="ask all of them thoroughly")


def probe(flags: argparse.Namespace, settings: Config) -> int:
    """Ask, and say what came of it."""
    if not may_probe():
        raise NotReady("raw ICMP sockets are not permitted", hint="run it as root")
    known = peers(settings)
    targets = chosen(known.targets, flags.peers)
    thorough = bool(flags.all or flags.peers)
    plan = THOROUGH if thorough else TABLE
    with _progress(len(targets), quiet=flags.output == "json") as tell:
        courses = ask(targets, plan, tell=tell)
        look_here(courses)
        ask_far_sides(settings, courses)
    by_id = {target.id: target for target in targets}
    results = judged(courses, prefix=settings.etcd_prefix)
    if flags.output == "json":
        rows = [{**it.row(), "subnet": str(by_id[it.key, it.family].subnet)} for it in results]
        show.as_json({"known_from": known.source, "results": rows})
    else:
        _say(known, results, by_id, settings, detailed=bool(flags.peers))
    return exit_code(results)


def chosen(targets: Sequence[Target], names: Sequence[str]) -> list[Target]:
    """Those that are named, or all.

    Raises:
        BadConfig: a name that is nobody's.
    """
    if not names:
        return list(targets)
    found: dict[tuple[str, int], Target] = {}
    for name in names:
        meant = [target for target in targets if _is(target, name)]
        if not meant:
            raise BadConfig(f"no peer {name!r} that this node can send to", hint="overlayctl peers")
        found |= {target.id: target for target in meant}
    return list(found.values())


def ask(
    targets: Sequence[Target], plan: Plan, *, tell: Callable[[int], None] = lambda _: None
) -> list[Course]:
    """All of them, some dozens at a time."""
    done: list[Course] = []
    waiting = list(reversed(targets))
    with Echo() as echo:
        engine = Engine(echo)
        engine.forget(target.address for target in targets)
        while waiting or len(done) < len(targets):
            while waiting and engine.busy < MOST_AT_ONCE:
                engine.add(Course(waiting.pop(), plan))
            done += engine.step(1.0)
            tell(len(done))
    return done


def judged(courses: Sequence[Course], *, prefix: str) -> list[Result]:
    """The worst first."""
    now = time.time()
    results = [judge(it.target, it.measured, at=now, prefix=prefix) for it in courses]
    return worst_first(results)


def exit_code(results: Sequence[Result]) -> int:
    """See the module."""
    if results and all(result.state == "silent" for result in results):
        return 2
    return 1 if any(result.state != "ok" for result in results) else 0


def _is(target: Target, name: str) -> bool:
    if name in (target.node, target.key, str(target.subnet), str(target.underlay)):
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.version == target.subnet.version and address in target.subnet


@contextmanager
def _progress(total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """On a terminal only; on standard error, so that a table can go elsewhere."""
    if quiet or not sys.stderr.isatty() or not total:
        yield lambda _: None
        return
    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("probing", total=total)
        words = {True: "asking the agents of those that are silent", False: "probing"}
        yield lambda done: shown.update(task, completed=done, description=words[done == total])


def _say(
    known: Peers,
    results: Sequence[Result],
    by_id: dict[tuple[str, int], Target],
    settings: Config,
    *,
    detailed: bool,
) -> None:
    pairs = [(by_id[result.key, result.family], result) for result in results]
    if detailed:
        for target, result in pairs:
            probewords.detail(target, result)
    else:
        probewords.table(pairs)
    print(probewords.closing(results, known.source))
    if words := probewords.alike(pairs):
        print(words)
    if command := probewords.config_command(settings, pairs):
        print(f"for all nodes: {command}")
