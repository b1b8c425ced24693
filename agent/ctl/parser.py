"""How the command line of overlayctl is taken apart, and what it says when it cannot be."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from agent import config
from agent.ctl import front
from agent.ctl.verbs import VERBS, Verb
from agent.settings import SETTINGS
from overlay import __version__

EXIT_USAGE = 64
VALUED = ("--output", "--config", *("--" + row.key.replace("_", "-") for row in SETTINGS))
"""What all verbs have, and followed by a value."""


class Parser(argparse.ArgumentParser):
    """Wrong usage ends with 64 (EX_USAGE), so that 2 always means that the node is down."""

    def error(self, message: str) -> NoReturn:
        """One sentence, and where to look."""
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n  next: {self.prog} --help\n")


def verb_first(words: Sequence[str]) -> list[str]:
    """The same words with the options that stand before the verb behind it: people write them in either place."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if any(it.startswith(words[at]) for it in VALUED) else 1
    if at >= len(words) or "--version" in words[:at]:
        return list(words)
    return [words[at], *words[:at], *words[at + 1 :]]


def parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    """Only the verb that is asked for gets its own arguments: the modules of the others stay on disk."""
    made = Parser(prog="overlayctl", add_help=False)
    made.add_argument("--version", action="version", version=f"overlayctl {__version__}")
    verbs = made.add_subparsers(dest="verb", required=True, metavar="VERB")
    for row in VERBS:
        if row.name in asked:
            fill(verbs.add_parser(row.name, **_shape(row, asked)), row, asked)
        else:
            verbs.add_parser(row.name, add_help=False)
    return made


def alone(row: Verb) -> argparse.ArgumentParser:
    """The parser of one verb, as completion looks at it."""
    made = Parser(prog=f"overlayctl {row.name}", **_shape(row, ()))
    fill(made, row, ())
    return made


def fill(verb: argparse.ArgumentParser, row: Verb, asked: Sequence[str]) -> None:
    """The verb's own arguments first, then what all have; the settings are flags everywhere and seldom shown."""
    verb.set_defaults(run=row.run(), parser=verb, root="/", lacking=False, lenient=False)
    row.add_arguments(verb)
    verb.add_argument(
        "--output", choices=("table", "json"), default="table", help="json for machines"
    )
    verb.add_argument("-h", "--help", action="help", help="this text")
    verb.add_argument("--help-all", action="help", help="with every setting")
    config.add_arguments(verb, shown=front.HELP_ALL in asked)


def _shape(row: Verb, asked: Sequence[str]) -> dict[str, Any]:
    from agent.ctl import manual

    if not front.HELP & set(asked):
        return {"add_help": False}
    found = row.manual()
    return {
        "add_help": False,
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "description": manual.description(row.name, row.help, found),
        "epilog": manual.epilog(row.name, found, settings_shown=front.HELP_ALL in asked),
    }
