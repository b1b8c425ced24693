"""overlayctl gc: what dead pods left behind, said or taken away, with or without an agent."""

import argparse
import time
from pathlib import Path

from agent.config import Config
from agent.ctl import nodepage, show
from cni import collect, strays, unfinished
from cni.collect import Leftover
from cni.steps import Steps
from cni.strays import Stray
from cni.unfinished import Unfinished
from overlay.errors import OverlayError

BETWEEN_LOOKS_S = 1.0
"""What was gone twice is gone; a runtime that is just moving a namespace about is done by then."""


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own."""
    verb.add_argument("--dry-run", action="store_true", help="only say what would be taken away")


def gc(flags: argparse.Namespace, settings: Config) -> int:
    """Take away what dead pods left; 1 if something could not be taken away."""
    found = survey(settings.run_dir)
    if not flags.dry_run and found:
        time.sleep(BETWEEN_LOOKS_S)
        again = survey(settings.run_dir)
        found = [item for item in found if item in again]
    rows = [_row(item) for item in found]
    failed = 0
    if not flags.dry_run:
        for row, item in zip(rows, found, strict=True):
            row["done"], ok = _take_away(settings.run_dir, item)
            failed += not ok
    if flags.output == "json":
        show.as_json(rows)
        return int(failed > 0)
    if not rows:
        print("nothing is left over")
        return 0
    columns = ("attachment", "what", "why", "done")
    show.table(
        [name.upper() for name in columns], [[row[name] for name in columns] for row in rows]
    )
    if flags.dry_run:
        print(f"left over: {len(rows)}; to take it away: overlayctl gc")
    return int(failed > 0)


def survey(run_dir: Path) -> list[Leftover | Stray | Unfinished]:
    page = nodepage.page(run_dir)
    dead = (
        []
        if page is None
        else [one for one in strays.survey(run_dir, page.bridge) if not one.netns]
    )
    return [*collect.survey(run_dir), *dead, *unfinished.survey(run_dir)]


def _row(item: Leftover | Stray | Unfinished) -> dict[str, str]:
    if isinstance(item, Unfinished):
        return {
            "attachment": "-",
            "what": str(item.path),
            "why": "its writer was killed",
            "done": "",
        }
    if isinstance(item, Stray):
        return {
            "attachment": item.place,
            "what": f"link {item.link}",
            "why": "no record, and nobody lives in its pod's namespace",
            "done": "",
        }
    what = ", ".join(item.addresses) or item.host_link or "its record"
    return {"attachment": item.place, "what": what, "why": item.why, "done": ""}


def _take_away(run_dir: Path, item: Leftover | Stray | Unfinished) -> tuple[str, bool]:
    try:
        if isinstance(item, Unfinished):
            unfinished.remove(item)
            return "taken away", True
        if isinstance(item, Stray):
            strays.remove(item)
            return "taken away", True
        done = collect.take_away(run_dir, item, Steps())
        return ("taken away", True) if done else ("left: a runtime is at work on it", True)
    except (OverlayError, OSError) as error:
        return f"failed: {error}", False


# --- ipam ---------------------------------------------------------------------------------------
