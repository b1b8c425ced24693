"""overlayctl doctor: the findings as a table or JSON, the fixes, the exit code."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from agent.config import Config, file_of
from agent.ctl import show
from agent.ctl.doctor import gathering, mending
from agent.ctl.doctor.catalogue import AREAS
from agent.ctl.doctor.checks import CHECKS
from agent.ctl.doctor.finding import ORDER, Finding, found, in_order
from agent.ctl.doctor.look import Look
from agent.ctl.doctor.surveying import survey
from agent.printable import printable
from agent.storehealth import human
from overlay.errors import BadConfig

_SIGN = {
    "fault": ("✗", "red"),
    "warning": ("!", "yellow"),
    "note": ("i", "cyan"),
    "ok": ("✓", "green"),
}


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own. Settings that cannot be read are a finding like any other."""
    verb.set_defaults(lenient=True, unread=None)
    verb.add_argument(
        "--verbose", action="store_true", help="one line for each check that found nothing"
    )
    verb.add_argument(
        "--fix", action="store_true", help="do what is safe and can be taken back, and look again"
    )
    verb.add_argument(
        "--dry-run", action="store_true", help="with --fix: only say what would be done"
    )
    verb.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="this check or area alone; may be repeated",
    )
    verb.add_argument(
        "--bundle",
        metavar="FILE",
        type=Path,
        help="write a support archive (tar.gz), secrets removed",
    )


def doctor(flags: argparse.Namespace, settings: Config) -> int:
    """0 all well or notes only, 1 warnings or faults, 2 this node serves no pods."""
    known = {word for row in CHECKS for word in (row.name, row.area)}
    if strange := [word for word in flags.only if word not in known]:
        raise BadConfig(
            f"--only {strange[0]}: no check and no area", hint=f"one of: {', '.join(sorted(known))}"
        )
    look = Look(settings, config_file=config_file(flags, settings))
    findings = _all(flags, settings, look)
    done: list[mending.Done] = []
    if flags.fix:
        done = mending.mend(findings, dry_run=flags.dry_run)
        if not flags.dry_run and any(not one.error for one in done):
            look = Look(settings, config_file=look.config_file)
            findings = _all(flags, settings, look)
    size = gathering.bundle(look, findings, flags.bundle) if flags.bundle else 0
    if flags.output == "json":
        show.as_json(
            {
                "bundle": str(flags.bundle) if flags.bundle else None,
                "verdict": verdict(findings),
                "counts": counts(findings),
                "findings": [one.plain() for one in findings],
                "fixes": [one.plain() for one in done],
            }
        )
    else:
        _show(findings, done, verbose=flags.verbose)
        if flags.bundle:
            print(
                f"wrote {flags.bundle} ({human(size)}), secrets removed; look into it before it leaves: tar tzf"
            )
    return exit_code(findings)


def _all(flags: argparse.Namespace, settings: Config, look: Look) -> list[Finding]:
    findings = survey(settings, look=look, only=flags.only)
    if (error := flags.unread) is None:
        return findings
    title = f"{error}; looked at with the default settings instead"
    mend = error.hint or "put it right; overlay-agent --help"
    return in_order([found("settings-bad", "fault", title, mend), *findings])


def config_file(flags: argparse.Namespace, settings: Config) -> Path:
    """Where the settings' file is, or would be."""
    if flags.config:
        return Path(flags.config)
    return file_of(settings.instance)


def exit_code(findings: Sequence[Finding]) -> int:
    """See `doctor`."""
    if any(one.down for one in findings):
        return 2
    return int(any(one.is_bad for one in findings))


def verdict(findings: Sequence[Finding]) -> str:
    """The exit code in a word."""
    return ("well", "ailing", "down")[exit_code(findings)]


def counts(findings: Sequence[Finding]) -> dict[str, int]:
    """How many of each severity."""
    counted = Counter(one.severity for one in findings)
    return {severity: counted.get(severity, 0) for severity in ORDER}


# --- how it looks ---------------------------------------------------------------------------------


def _show(findings: Sequence[Finding], done: Sequence[mending.Done], *, verbose: bool) -> None:
    out = show.console()
    for fix in done:
        how = "would fix" if fix.dry else "not fixed" if fix.error else "fixed"
        out.print(Text(printable(f"{how}: {fix.text}" + (f": {fix.error}" if fix.error else ""))))
    for area in sorted({one.area for one in findings}, key=[*AREAS].index):
        here = [one for one in findings if one.area == area]
        told = [one for one in here if one.severity != "ok"]
        well = [one for one in here if one.severity == "ok"]
        out.print(Text(area, style="bold"))
        for one in told:
            _tell(one)
        for one in well if verbose else ():
            _tell(one)
        if well and not verbose:
            out.print(
                Text(
                    f"  ✓ {len(well)} {'check' if len(well) == 1 else 'checks'} found nothing",
                    style="green",
                )
            )
    out.print(Text(summary(findings)))


def _tell(one: Finding) -> None:
    sign, colour = _SIGN[one.severity]
    out = show.console()
    out.print(Text.assemble("  ", (sign, colour), f" {one.title}", (f"  [{one.id}]", "dim")))
    if one.severity != "ok":
        out.print(Text(f"    why:  {one.why}", style="dim"))
        out.print(Text(f"    mend: {one.mend}" + ("  (--fix does it)" if one.fix else "")))


def summary(findings: Sequence[Finding]) -> str:
    """The last line: counts, and the next command."""
    counted = counts(findings)
    text = ", ".join(
        f"{counted[name]} {name}{'' if counted[name] == 1 else 's'}" for name in ORDER[:3]
    )
    if any(one.fix for one in findings if one.is_bad):
        following = "overlayctl doctor --fix"
    elif any(one.is_bad for one in findings):
        following = (
            "the mend line of the first one; for support: overlayctl doctor --bundle FILE.tar.gz"
        )
    else:
        following = "overlayctl status"
    fine = counted["ok"]
    return f"{text}, {fine} {'check' if fine == 1 else 'checks'} found nothing; next: {following}"
