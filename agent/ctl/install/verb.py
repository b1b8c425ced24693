"""overlayctl install: plan, say, do, start, wait for READY, and look with doctor's eyes."""

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent import config, pages, sources
from agent.config import Config
from agent.ctl import show
from agent.ctl.install import manifest, running, service, site, steps, writing
from agent.ctl.install.items import TEMPLATE_UNIT, TLS_FILES, UNIT, UNIT_DIR, Item, items
from agent.ctl.install.service import Act, Outcome, Service
from agent.ctl.install.steps import Action, Step
from agent.printable import printable
from agent.settings import SETTINGS
from cni.install import FRONTS
from overlay.errors import BadConfig, Fatal

Findings = Sequence[Any]


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


@dataclass(frozen=True, slots=True)
class Plan:
    """Files, then programs; ``others`` are sentences about CNI configurations that runtimes would use instead."""

    files: tuple[Step, ...]
    acts: tuple[Act, ...]
    others: tuple[str, ...]


def install(flags: argparse.Namespace, settings: Config) -> int:
    """Lay this version down on the node, start it, and say what doctor thinks."""
    root = Path(flags.root).resolve()
    alive = flags.root == "/" and not flags.no_start
    _see_that_it_can_be(flags, alive)
    now = service.look(settings.marks) if alive else Service(False, "")
    found = _files(flags, settings, root)
    others = pages.rivals(writing.below(root, settings.cni_conf_dir), settings.marks.conflist)
    whole = Plan(found, _acts(found, now, settings) if alive else (), ())
    if not settings.instance:
        whole = replace(whole, others=tuple(others))
    if flags.dry_run:
        return _say(flags, whole, done=False)
    _refuse(whole, force=flags.force)
    writing.carry_out(whole.files, root)
    if not alive:
        return _say(flags, whole, done=True)
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
    return _say(flags, whole, done=True, outcome=outcome, findings=_doctor(settings))


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


def _files(flags: argparse.Namespace, settings: Config, root: Path) -> tuple[Step, ...]:
    """What would be written, the list of it included."""
    marks, file = settings.marks, config.file_of(settings.instance)
    given = _given(flags)
    known_settings = site.settings_of(given, marks)
    if writing.look(writing.below(root, file)).kind is not steps.Kind.ABSENT:
        _see_that_it_agrees(flags, known_settings, root, file)
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
        config_file=file,
        root=root,
        kind=flags.front,
    )
    wanted = items(wished)
    before = writing.look(writing.below(root, manifest.path_of(marks)))
    known = manifest.parse(before)
    present = {item.path: writing.look(writing.below(root, item.path)) for item in wanted}
    files = steps.plan(wanted, present, known.files, force=flags.force)
    places = [step.item.path for step in files if step.changes]
    made = writing.missing([*places, manifest.path_of(marks)], root)
    listed = manifest.item(manifest.after(known, files, made), marks)
    return (*files, *_listed(listed, before))


def _listed(item: Item, before: steps.Present) -> tuple[Step, ...]:
    """The list is ours alone, so that what is there is never anybody's wish."""
    return steps.plan([item], {item.path: before}, {item.path: steps.digest(before)})


def _given(flags: argparse.Namespace) -> dict[str, str]:
    """What the settings' file is to say: flags, and the variables that this shell would have given to an agent."""
    known = {row.key for row in SETTINGS} - {"instance"}
    named = sources.from_environment(os.environ, {*known, "instance"})
    by_flags = {key: value for key in known if (value := getattr(flags, key, None)) is not None}
    found = {key: value for key, (value, _) in named.items() if key != "instance"} | by_flags
    paths = {key: str(Path(found[key]).absolute()) for key in TLS_FILES if found.get(key)}
    return found | paths


def _see_that_it_agrees(
    flags: argparse.Namespace, given: Mapping[str, str], root: Path, file: Path
) -> None:
    """A file that is there stays as it is, so a flag that says otherwise would say it in vain.

    Raises:
        Fatal: one does.
    """
    alone = argparse.Namespace(config=None, instance=flags.instance)
    stated = config.load(alone, {}, root=root)
    parse = {row.key: row.parse for row in SETTINGS}
    for key, text in sorted(given.items()):
        if parse[key](text) != getattr(stated, key):
            value = getattr(stated, key)
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            shown = "another one" if key == "etcd_password" else repr(shown)
            raise Fatal(
                f"{file} is there already, and its {key} is {shown}; nothing was changed",
                hint=f"change it in {file}, then: overlayctl install without --{key.replace('_', '-')}",
            )


def _acts(files: Sequence[Step], now: Service, settings: Config) -> tuple[Act, ...]:
    """By what will be changed and, once it is, by what is newer than what runs."""
    name = TEMPLATE_UNIT if settings.instance else UNIT
    read = [config.file_of(settings.instance), UNIT_DIR / name]
    read += [Path(path) for key in TLS_FILES if (path := getattr(settings, key))]
    coming = [step.item.path for step in files if step.changes and step.item.path in read]
    stale = running.stale(now.pid, read) if now.pid else ""
    if now.pid and not stale and coming:
        stale = f"{coming[0]} changes"
    changed = {step.item.reader for step in files if step.changes}
    return service.due(now, changed, stale)


def _refuse(whole: Plan, *, force: bool) -> None:
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


def _doctor(settings: Config) -> Findings:
    """Its findings; none where this version has no doctor."""
    try:
        doctor = importlib.import_module("agent.ctl.doctor")
    except ModuleNotFoundError:
        return ()
    return [finding for finding in doctor.survey(settings) if finding.severity != "ok"]


def _say(
    flags: argparse.Namespace,
    whole: Plan,
    *,
    done: bool,
    outcome: Outcome | None = None,
    findings: Findings = (),
) -> int:
    """The exit code: 1 if something is refused, not ready, or at fault."""
    refused = any(step.action is Action.REFUSE for step in whole.files) or (
        bool(whole.others) and not flags.force
    )
    faults = [finding for finding in findings if finding.severity == "fault"]
    late = outcome is not None and not outcome.ready
    if flags.output == "json":
        show.as_json(_as_json(whole, done, outcome, findings))
    else:
        _as_table(whole, done, outcome, findings)
    return int(refused or late or bool(faults))


def _as_json(
    whole: Plan, done: bool, outcome: Outcome | None, findings: Findings
) -> dict[str, Any]:
    return {
        "done": done,
        "files": [
            {
                "action": step.action.value,
                "path": str(step.item.path),
                "what": step.item.what,
                "why": step.why,
                "saved": str(step.saved or ""),
            }
            for step in whole.files
        ],
        "programs": [{"words": list(act.words), "why": act.why} for act in whole.acts],
        "others": list(whole.others),
        "ready": None if outcome is None else outcome.ready,
        "waiting_for": "" if outcome is None else outcome.why,
        "findings": [
            {key: getattr(it, key) for key in ("id", "severity", "title", "why", "mend")}
            for it in findings
        ],
    }


def _as_table(whole: Plan, done: bool, outcome: Outcome | None, findings: Findings) -> None:
    rows = [(step.action.value, step.item.path, step.item.what, step.why) for step in whole.files]
    show.table(
        ("ACTION", "WHERE", "WHAT", "WHY"),
        [*rows, *(("run", " ".join(act.words), "", act.why) for act in whole.acts)],
    )
    for step in whole.files:
        if step.saved is not None:
            print(printable(f"what was there before: {step.saved}"))
    for sentence in whole.others:
        print(printable(f"! {sentence}"))
    for finding in findings:
        print(printable(f"{finding.severity}: {finding.title}; next: {finding.mend}"))
    print(printable(_verdict(whole, done, outcome)))


def _verdict(whole: Plan, done: bool, outcome: Outcome | None) -> str:
    changes = sum(step.changes for step in whole.files) + len(whole.acts)
    if not done:
        return f"{changes} things would be done; nothing was changed"
    if outcome is None:
        return f"{changes} things done; nothing was started" if changes else "unchanged"
    if not outcome.ready:
        return (
            f"laid down and started, but {outcome.why}; it goes on trying; next: overlayctl status"
        )
    return f"{changes} things done; ready" if changes else "unchanged; ready"
