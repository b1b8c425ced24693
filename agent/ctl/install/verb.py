"""overlayctl install: plan, say, do, start, wait for READY, and look with doctor's eyes."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from agent import config, pages, sources
from agent.config import Config
from agent.ctl.install import manifest, running, say, service, settingsfile, site, steps, writing
from agent.ctl.install.items import (
    TEMPLATE_UNIT,
    TLS_FILES,
    UNIT,
    UNIT_DIR,
    USUAL_CONF_DIR,
    Item,
    drop_in,
    items,
    tls_path,
)
from agent.ctl.install.service import Act, Service
from agent.ctl.install.steps import Step
from agent.printable import printable
from agent.sole import alone
from cni.install import FRONTS
from overlay.errors import BadConfig, Fatal, OverlayError


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own; each setting that is given goes into the settings' file, if there is none yet."""
    verb.set_defaults(lacking=True)
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    verb.add_argument(
        "--root",
        metavar="DIR",
        default="/",
        help="lay it down in an image below DIR, and start nothing",
    )
    verb.add_argument(
        "--no-start", action="store_true", help="only lay the files down; run no systemctl"
    )
    verb.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long READY is waited for; the agent goes on trying after it [60]",
    )
    verb.add_argument(
        "--front", choices=FRONTS, default="auto", help="the CNI executable: compiled or Python"
    )
    verb.add_argument(
        "--force",
        action="store_true",
        help="replace files of others (kept beside), and go on beside another CNI that wins",
    )


def install(flags: argparse.Namespace, settings: Config) -> int:
    """Lay this version down on the node, start it, and say what doctor thinks."""
    changes = flags.root == "/" and not flags.dry_run
    with alone("install") if changes else nullcontext():
        return _install(flags, settings)


def _install(flags: argparse.Namespace, settings: Config) -> int:
    root = Path(flags.root).resolve()
    alive = flags.root == "/" and not flags.no_start
    _see_that_it_can_be(flags, alive)
    now = service.look(settings.marks) if alive else Service(False, "")
    found, made = _files(flags, settings, root)
    others = pages.rivals(writing.below(root, settings.cni_conf_dir), settings.marks.conflist)
    whole = say.Plan(found, _acts(found, now, settings) if alive else (), ())
    if not settings.instance:
        whole = replace(whole, others=tuple(others))
    if flags.dry_run:
        return say.whole(flags, whole, done=False)
    _refuse(whole, force=flags.force)
    writing.carry_out(whole.files, root, made)
    if not alive:
        return say.whole(flags, whole, done=True)
    whole = replace(whole, acts=_acts(whole.files, service.look(settings.marks), settings))
    service.carry_out(whole.acts)
    anew = any(act.words[1] in ("start", "restart") for act in whole.acts)
    outcome = service.wait_ready(
        now if anew else replace(now, pid=-1),
        settings.marks,
        settings.run_dir,
        timeout_s=flags.timeout,
        tell=lambda why: print(printable(f"waiting for READY: {why}"), file=sys.stderr),
    )
    return say.whole(flags, whole, done=True, outcome=outcome, findings=_doctor(settings))


def _see_that_it_can_be(flags: argparse.Namespace, alive: bool) -> None:
    if flags.config or os.environ.get(sources.ENV_PREFIX + "CONFIG"):
        raise BadConfig(
            "install lays down /etc/overlay/agent.toml (with --instance NAME: /etc/overlay/NAME.toml), no other "
            "settings' file",
            hint="leave --config out, and give the settings as flags",
        )
    if flags.root == "/" and os.geteuid() != 0:
        raise Fatal("only root can install", hint="sudo overlayctl install")
    if alive and not service.BOOTED.is_dir():
        raise Fatal(
            "systemd does not run here, so nothing could start the agent; nothing was changed",
            hint="overlayctl install --no-start lays the files down; then start overlay-agent yourself",
        )


def _files(
    flags: argparse.Namespace, settings: Config, root: Path
) -> tuple[tuple[Step, ...], tuple[Path, ...]]:
    """What would be written, the list of it included, and the directories that are made for it."""
    marks, file = settings.marks, config.file_of(settings.instance)
    before = writing.look(writing.below(root, manifest.path_of(marks)))
    known = manifest.parse(before)
    stated = writing.look(writing.below(root, file))
    untouched = stated.kind is not steps.Kind.ABSENT and steps.digest(stated) == known.files.get(
        file
    )
    given = settingsfile.given(flags, os.environ)
    if untouched:
        given = settingsfile.stated(root, file) | given
    elif stated.kind is not steps.Kind.ABSENT:
        settingsfile.see_that_it_agrees(flags, site.settings_of(given, marks), root, file)
    # One executable serves all agents of a node, and knows the first one's directory; conflists name the others'.
    first = settings
    if settings.instance:
        first = config.load(argparse.Namespace(config=None, instance=None), {}, root=root)
    wished = site.wishes(
        marks,
        given,
        settings={
            "run_dir": str(first.run_dir),
            "bridge": settings.bridge,
            "cni_bin_dir": str(settings.cni_bin_dir),
        },
        written=(settings.cni_conf_dir, settings.run_dir, settings.state_dir),
        config_file=file,
        config_is_ours=untouched,
        root=root,
        kind=flags.front,
    )
    wanted = items(wished)
    looked = [place for item in wanted for place in (item.path, steps.beside(item))]
    present = {place: writing.look(writing.below(root, place)) for place in looked}
    files = steps.plan(wanted, present, known.files, force=flags.force)
    places = [step.item.path for step in files if step.changes]
    # Runtimes' directories are made here, and so gone after an uninstall, before the unit would make them: its own
    # ExecStartPre makes the usual one whichever the settings name.
    places += [manifest.path_of(marks)]
    places += [it / marks.conflist for it in (settings.cni_conf_dir, USUAL_CONF_DIR / "net.d")]
    made = writing.missing(places, root)
    listed = manifest.item(manifest.after(known, files, made), marks)
    return (*files, *_listed(listed, before)), made


def _listed(item: Item, before: steps.Present) -> tuple[Step, ...]:
    """The list is ours alone, so that what is there is never anybody's wish."""
    return steps.plan([item], {item.path: before}, {item.path: steps.digest(before)})


def _acts(files: Sequence[Step], now: Service, settings: Config) -> tuple[Act, ...]:
    """By what will be changed and, once it is, by what is newer than what runs."""
    name = TEMPLATE_UNIT if settings.instance else UNIT
    read = [config.file_of(settings.instance), UNIT_DIR / name, drop_in(settings.marks)]
    read += [tls_path(settings.marks, key) for key in TLS_FILES]
    coming = [step.item.path for step in files if step.changes and step.item.path in read]
    stale = running.stale(now.pid, read) if now.pid else ""
    if now.pid and not stale and coming:
        stale = f"{coming[0]} changes"
    changed = {step.item.reader for step in files if step.changes}
    return service.due(now, changed, stale)


def _refuse(whole: say.Plan, *, force: bool) -> None:
    """Before anything is touched.

    Raises:
        Fatal: something of others is in the way.
    """
    refused = [f"{step.item.path}: {step.why}" for step in steps.refusals(whole.files)]
    if refused:
        raise Fatal(
            f"{'; '.join(refused)}; nothing was changed",
            hint="look at it and move it away; or replace it, which keeps it beside: overlayctl install --force",
        )
    if whole.others and not force:
        raise Fatal(
            f"{'; '.join(whole.others)}; nothing was changed",
            hint="move it out of that directory once its pods are gone; or: overlayctl install --force",
        )


def _doctor(settings: Config) -> say.Findings:
    """Its findings; none where this version has no doctor."""
    try:
        doctor = importlib.import_module("agent.ctl.doctor")
    except ModuleNotFoundError:
        return ()
    try:
        return [finding for finding in doctor.survey(settings) if finding.severity != "ok"]
    except OverlayError as error:  # to look is a courtesy: the node is installed
        print(printable(f"overlayctl doctor cannot look: {error}"), file=sys.stderr)
        return ()
