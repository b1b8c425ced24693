"""overlayctl init and leave: this network in etcd, and this node in the network."""

import argparse
import sys

from agent.config import Config
from agent.ctl import show, store
from agent.ctl.client import NotAllowed, ask
from agent.printable import printable
from overlay.errors import NotReady


def add_arguments(name: str, verb: argparse.ArgumentParser) -> None:
    """Those of these verbs."""
    if name == "leave":
        verb.add_argument("--force", action="store_true", help="leave even while pods are attached")
    else:
        _add_init(verb)


def init(flags: argparse.Namespace, settings: Config) -> int:
    """Write the network config, once per cluster."""
    text, written = store.init(settings, flags)
    result = {"key": f"{settings.etcd_prefix}/config", "value": text, "written": written}
    if flags.output == "json":
        show.as_json(result)
    else:
        print(printable(f"{'wrote' if written else 'already there:'} {result['key']} = {text}"))
    if not flags.network:
        print("note: flannel with etcd cannot join a network without IPv4", file=sys.stderr)
    return 0


def leave(flags: argparse.Namespace, settings: Config) -> int:
    """Give this node's subnet back, by its agent or, where none runs, by ourselves."""
    try:
        answer = ask(settings.run_dir, "leave", force=flags.force)
    except NotAllowed:  # it may run, and would claim another subnet at once
        raise
    except NotReady:
        answer = store.leave(settings, force=flags.force)
    if flags.output == "json":
        show.as_json(answer)
    else:
        print(answer["text"])
    return 0


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
