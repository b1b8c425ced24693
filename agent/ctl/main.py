"""The command line of overlayctl: verbs, exit codes, and the questions behind them.

Exit codes: 0 done or healthy, 1 degraded or refused, 2 down or unreachable, 64 wrong usage.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from agent import config
from agent.ctl import drift, etcd, leases, pods, show, store
from agent.ctl.client import ask
from agent.printable import printable
from overlay import __version__
from overlay.errors import BadConfig, NotReady, OverlayError, StoreUnavailable

_EPILOG = """\
examples:
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
    flags = _parser().parse_args(argv)
    try:
        settings = config.load(flags, os.environ)
        return int(_VERBS[flags.verb](flags, settings))
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


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="overlayctl",
        description="Look at and steer the overlay network of this node.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"overlayctl {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for name, text in _HELP.items():
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument(
            "--output", choices=("table", "json"), default="table", help="json for machines"
        )
        config.add_arguments(verb)
        leases.add_verb(name, verb)
        if name == "init":
            _add_init(verb)
        if name == "gc":
            verb.add_argument(
                "--dry-run", action="store_true", help="only say what would be taken away"
            )
        if name == "ipam":
            _add_ipam(verb)
        if name == "leave":
            verb.add_argument(
                "--force", action="store_true", help="leave even while pods are attached"
            )
    return parser


def _add_init(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--network", metavar="CIDR", help="IPv4 range all pods get addresses from")
    verb.add_argument(
        "--subnet-len", type=int, metavar="LEN", help="prefix length of one node's share [24]"
    )
    verb.add_argument(
        "--ipv6-network",
        metavar="CIDR",
        help="the same for IPv6, as well or (not with flannel) alone",
    )
    verb.add_argument(
        "--ipv6-subnet-len", type=int, metavar="LEN", help="its length of one node's share [64]"
    )
    verb.add_argument(
        "--backend", choices=("vxlan", "host-gw"), default="vxlan", help="docs/direct-routing.md"
    )
    verb.add_argument(
        "--direct-routing", action="store_true", help="no tunnel between nodes on one link"
    )
    verb.add_argument("--vni", type=int, default=1, help="VXLAN network identifier [1]")
    verb.add_argument("--port", type=int, default=8472, help="VXLAN UDP port [8472]")
    verb.add_argument("--force", action="store_true", help="replace another config that is there")


def _add_ipam(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("action", choices=("show", "check", "release", "export"), help="what to do")
    verb.add_argument(
        "target",
        nargs="?",
        metavar="ADDRESS|CONTAINER|DIR",
        help="what to release (a container by its beginning); where host-local of the network lives",
    )
    verb.add_argument("--force", action="store_true", help="release even what a living pod uses")


def _status(flags: argparse.Namespace, settings: config.Config) -> int:
    try:
        answer = ask(settings.run_dir, "status")
    except NotReady as error:
        if flags.output == "json":
            show.as_json({"verdict": "down", "error": str(error)})
            return 2
        raise
    verdict = answer["verdict"]
    if flags.output == "json":
        show.as_json(answer)
    else:
        show.status(answer, verdict)
    return {"healthy": 0, "degraded": 1, "down": 2}[verdict]


def _peers(flags: argparse.Namespace, settings: config.Config) -> int:
    rows = ask(settings.run_dir, "peers")["peers"]
    if flags.output == "json":
        show.as_json(rows)
        return 0
    columns = ("node", "subnet", "underlay", "vtep_mac", "way", "state")
    show.table(
        [name.upper() for name in columns],
        [[row.get(name, "-") for name in columns] for row in rows],
    )
    return 0


def _init(flags: argparse.Namespace, settings: config.Config) -> int:
    text, written = store.init(settings, flags)
    result = {"key": f"{settings.etcd_prefix}/config", "value": text, "written": written}
    if flags.output == "json":
        show.as_json(result)
    else:
        print(printable(f"{'wrote' if written else 'already there:'} {result['key']} = {text}"))
    if not flags.network:
        print("note: flannel with etcd cannot join a network without IPv4", file=sys.stderr)
    return 0


def _leave(flags: argparse.Namespace, settings: config.Config) -> int:
    try:
        answer = ask(settings.run_dir, "leave", force=flags.force)
    except NotReady:
        answer = store.leave(settings, force=flags.force)
    if flags.output == "json":
        show.as_json(answer)
    else:
        print(answer["text"])
    return 0


def _plan(flags: argparse.Namespace, settings: config.Config) -> int:
    answer: dict[str, Any] = ask(settings.run_dir, "plan")
    if flags.output == "json":
        show.as_json(answer)
        return 0
    if answer["waiting_for"]:
        print(f"nothing may be changed yet: waiting for {answer['waiting_for']}")
    for step in answer["steps"]:
        print(step)
    print(f"{len(answer['steps'])} changes")
    return 0


_HELP = {
    "status": "is this node all right? one screen; exit code 0 healthy, 1 degraded, 2 down",
    "peers": "the other nodes, and whether the kernel knows the way to them",
    "etcd": "every endpoint: reachable, leader, latency, space, alarms; the agent's lease and watch",
    "leases": "all subnet leases in etcd, unreadable ones included (--stale: what nobody looks after)",
    "reserve": "keep a subnet for one node (--node, --address), or give it to nobody",
    "release": "free a reserved subnet; with --force another node's lease",
    "node": "remove NAME: forget a machine that will not come back, so that peers drop it",
    "init": "write the network config to etcd (once per cluster)",
    "leave": "give this node's subnet back: revoke the lease, stop accepting pods",
    "gc": "take away what dead pods left behind: addresses, records, links (--dry-run: say it only)",
    "ipam": "which pod has which address; whether records and kernel agree; free one by hand",
    "plan": "what would be changed in the kernel now, without changing it",
    "drift": "what others undid in the kernel: when, how often, likely who; exit code 1 while a fight goes on",
}
_VERBS = {
    "status": _status,
    "peers": _peers,
    "etcd": etcd.etcd,
    "leases": leases.leases,
    "reserve": leases.reserve,
    "release": leases.release,
    "node": leases.node,
    "init": _init,
    "leave": _leave,
    "plan": _plan,
    "drift": drift.drift,
    "gc": pods.gc,
    "ipam": pods.ipam,
}

if __name__ == "__main__":
    sys.exit(main())
