"""overlayctl uninstall: refuse with pods, do it stage by stage, look again, and say what is left."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NoReturn

from agent.config import Config
from agent.ctl import programs, show
from agent.ctl.uninstall import look
from agent.ctl.uninstall.facts import Facts, Left, deeds, kept, left
from agent.ctl.uninstall.stages import STAGES
from agent.printable import printable
from agent.sole import alone
from overlay.errors import Fatal

ASKS_ETCD = ("files",)
"""Stages that have to know what etcd holds by then; giving the lease back asks itself."""


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own."""
    verb.set_defaults(lacking=True)
    verb.add_argument("--dry-run", action="store_true", help="only say what would be done")
    verb.add_argument(
        "--force", action="store_true", help="even while pods are attached: they lose their network"
    )
    verb.add_argument(
        "--purge",
        action="store_true",
        help="files too that were changed since they were laid down, such as the settings",
    )


def uninstall(flags: argparse.Namespace, settings: Config) -> int:
    """Take this node's overlay away; 1 if it is refused or something is left, which is named with its command."""
    if os.geteuid() != 0:
        raise Fatal("only root can uninstall", hint="sudo overlayctl uninstall")
    if not flags.dry_run:
        with alone("uninstall"):
            return _uninstall(flags, settings)
    found = look.facts(settings, purge=flags.purge, etcd=True)
    without_lease = replace(found, held=replace(found.held, keys=()))  # which it would give back
    return _say(flags, list(deeds(found)), [], [], list(kept(without_lease)))


def _uninstall(flags: argparse.Namespace, settings: Config) -> int:
    found = look.facts(settings, purge=flags.purge, etcd=True)
    if found.pods and not flags.force:
        raise Fatal(
            f"{found.pods} pods are attached to this node, they would lose their network; nothing was changed",
            hint="drain the node first; or: overlayctl uninstall --force",
        )
    todo = list(deeds(found))
    troubles = carry_out(flags, settings, found)
    after = look.facts(settings, purge=flags.purge, etcd=True)
    return _say(flags, todo, troubles, list(left(after)), list(kept(after)))


def carry_out(flags: argparse.Namespace, settings: Config, found: Facts) -> list[str]:
    """Each stage by what is there when it begins. What did not go does not keep the next ones, save a living agent.

    Raises:
        Fatal: a pod was attached after ``found`` was looked at; its agent is started again.
    """
    troubles: list[str] = []
    held = found.held
    for name, stage in STAGES:
        asks = name in ASKS_ETCD and found.held.asked
        now = look.facts(settings, purge=flags.purge, etcd=asks)
        if asks:
            held = now.held
        if name == "pods" and (now.agent or now.unit):
            troubles.append("the agent could not be stopped, and would mend whatever is taken away")
            break
        if name == "pods" and now.pods and not flags.force:
            _back(now, found)
        for trouble in stage(replace(now, held=held), settings):
            troubles.append(trouble)
            print(printable(f"{name}: {trouble}"), file=sys.stderr)
    return troubles


def _back(now: Facts, found: Facts) -> NoReturn:
    """Nobody was asked about these pods. Nothing was taken away yet that an agent does not write again."""
    next_ = "start overlay-agent again"
    if found.unit:
        programs.run(["systemctl", "enable", found.unit])
        programs.run(["systemctl", "start", "--no-block", found.unit])
        next_ = f"{found.unit} is started again"
    raise Fatal(
        f"{now.pods} pods were attached while the agent was being stopped, they would lose their network; {next_}",
        hint="drain the node first; or: overlayctl uninstall --force",
    )


def _say(
    flags: argparse.Namespace,
    done: Sequence[tuple[str, str]],
    troubles: Sequence[str],
    residue: Sequence[Left],
    stays: Sequence[str],
) -> int:
    if flags.output == "json":
        show.as_json(_as_json(flags, done, troubles, residue, stays))
    else:
        _as_table(flags, done, residue, stays)
    return int(bool(residue))


def _as_json(
    flags: argparse.Namespace,
    done: Sequence[tuple[str, str]],
    troubles: Sequence[str],
    residue: Sequence[Left],
    stays: Sequence[str],
) -> dict[str, Any]:
    return {
        "done": not flags.dry_run,
        "steps": [{"stage": stage, "what": what} for stage, what in done],
        "troubles": list(troubles),
        "kept": list(stays),
        "residue": None
        if flags.dry_run
        else [{"what": it.what, "mend": it.mend} for it in residue],
    }


def _as_table(
    flags: argparse.Namespace,
    done: Sequence[tuple[str, str]],
    residue: Sequence[Left],
    stays: Sequence[str],
) -> None:
    if done:
        show.table(("STAGE", "WHAT"), done)
    for sentence in stays:
        print(printable(f"i {sentence}"))
    if flags.dry_run:
        print(f"{len(done)} things would be done; nothing was changed")
        return
    for it in residue:
        print(printable(f"! left: {it.what}; next: {it.mend}"))
    if residue:
        print(f"{len(residue)} things are left")
    else:
        print(f"{len(done)} things done; kernel, files and etcd were looked at: nothing is left")
        print(f"this program itself stays: {sys.prefix}")
