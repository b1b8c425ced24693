"""The command line of overlayctl: exit codes, and errors as people read them (the verbs are in agent.ctl.verbs).

Exit codes: 0 done or healthy, 1 degraded or refused, 2 down or unreachable, 64 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from agent import config
from agent.ctl.verbs import VERBS
from agent.printable import printable
from overlay import __version__
from overlay.errors import BadConfig, NotReady, OverlayError, StoreUnavailable

_EPILOG = """\
examples:
  overlayctl install --dry-run              what would be laid down on this node, and started
  overlayctl init --network 10.5.0.0/16     write the network config, once per cluster
  overlayctl status                         is this node all right? (exit code 0, 1, 2)
  overlayctl etcd                           is etcd all right, and how long will it be?
  overlayctl plan                           what would be changed in the kernel now
  overlayctl drift                          what others undid in the kernel, and likely who
  overlayctl ipam show                      which pod has which address
  overlayctl gc --dry-run                   what dead pods have left behind
  overlayctl leave                          give the subnet back before the machine is taken away
  overlayctl node remove NAME               the same for a machine that is gone already
  overlayctl reserve 10.5.7.0/24 --node n7  keep a subnet for a node
The agent is found by --run-dir, etcd by the agent's own settings (/etc/overlay/agent.toml, OVERLAY_*).
"""


EXIT_USAGE = 64


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; every failure is one sentence on stderr and its next step."""
    words = sys.argv[1:] if argv is None else list(argv)
    flags = _parser(words).parse_args(words)
    try:
        settings = config.load(flags, os.environ, root=Path(flags.root), lacking=flags.lacking)
        return int(flags.run(flags, settings))
    except OverlayError as error:
        print(printable(f"overlayctl: {error}"), file=sys.stderr)
        if error.hint:
            print(printable(f"  next: {error.hint}"), file=sys.stderr)
        if isinstance(error, BadConfig):
            return EXIT_USAGE
        return 2 if isinstance(error, NotReady | StoreUnavailable) else 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


class _Parser(argparse.ArgumentParser):
    """Wrong usage ends with 64 (EX_USAGE), so that 2 always means that the node is down."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _parser(asked: Sequence[str]) -> argparse.ArgumentParser:
    """Only the verb that is asked for gets its own arguments: the modules of the others stay on disk."""
    parser = _Parser(
        prog="overlayctl",
        description="Look at and steer the overlay network of this node.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"overlayctl {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for row in VERBS:
        verb = verbs.add_parser(row.name, help=row.help, description=row.help)
        if row.name not in asked:
            continue
        verb.set_defaults(run=row.run(), root="/", lacking=False)
        verb.add_argument(
            "--output", choices=("table", "json"), default="table", help="json for machines"
        )
        row.add_arguments(verb)
        config.add_arguments(verb)
    return parser


if __name__ == "__main__":
    sys.exit(main())
