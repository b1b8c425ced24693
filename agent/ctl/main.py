"""The command line of overlayctl: exit codes, and errors as people read them (the verbs are in agent.ctl.verbs).

Exit codes: 0 done or healthy, 1 degraded or refused, 2 down or unreachable, 64 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from agent import config
from agent.ctl import front
from agent.ctl.parser import EXIT_USAGE, parser, verb_first
from agent.ctl.pipe import nobody_reads
from agent.ctl.verbs import VERBS
from agent.printable import printable
from overlay.errors import BadConfig, NotReady, OverlayError, StoreUnavailable

EXIT_PIPE = 141
"""As a shell says it of a program that SIGPIPE ended: no verdict, where nobody stayed to read it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; every failure is one sentence on stderr and its next step."""
    if sys.stdout is None:  # closed by the shell: the exit code is all that is wanted
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        nobody_reads()
        return EXIT_PIPE
    except OSError as error:
        nobody_reads()
        print(printable(f"overlayctl: {error}"), file=sys.stderr)
        print("  next: df -h; overlayctl doctor", file=sys.stderr)
        return 1
    return code


def _run(argv: Sequence[str] | None) -> int:
    words = verb_first(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:  # overlayctl help VERB
        words = verb_first([*words[1:], "--help"])
    verb = words[0] if words and not words[0].startswith("-") else None
    if verb is None and "--version" not in words:
        asked = bool(front.HELP & set(words))
        print(front.page(), end="", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else EXIT_USAGE
    if verb is not None and verb not in {row.name for row in VERBS}:
        print(printable(f"overlayctl: {front.meant(verb)}"), file=sys.stderr)
        print("  next: overlayctl --help", file=sys.stderr)
        return EXIT_USAGE
    flags, unknown = parser(words).parse_known_args(words)
    if unknown:
        flags.parser.error(f"unknown: {printable(' '.join(unknown))}")
    try:
        return int(flags.run(flags, _settings(flags)))
    except OverlayError as error:
        print(printable(f"overlayctl: {error}"), file=sys.stderr)
        print(printable(f"  next: {error.hint or next_step(error, str(verb))}"), file=sys.stderr)
        if isinstance(error, BadConfig):
            return EXIT_USAGE
        return 2 if isinstance(error, NotReady | StoreUnavailable) else 1
    except KeyboardInterrupt:
        return 130


def next_step(error: OverlayError, verb: str) -> str:
    """Where to go on from an error that does not say it."""
    if isinstance(error, BadConfig):
        return f"overlayctl {verb} --help"
    return "overlayctl etcd" if isinstance(error, StoreUnavailable) else "overlayctl doctor"


def _settings(flags: argparse.Namespace) -> config.Config:
    """Those of the agent. A verb that is ``lenient`` gets the defaults where they are of no use, and the reason."""
    root = Path(flags.root)
    try:
        return config.load(flags, os.environ, root=root, lacking=flags.lacking)
    except BadConfig as error:
        if not flags.lenient:
            raise
        flags.unread = error
    given = argparse.Namespace(**{**vars(flags), "config": os.devnull})
    return config.load(given, {}, root=root, lacking=flags.lacking)


if __name__ == "__main__":
    sys.exit(main())
