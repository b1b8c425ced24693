"""The verbs of overlayctl: one row each. A verb's module is imported only when that verb is asked for.

A module of agent.ctl that serves verbs has, for each, a function ``(flags, settings) -> exit code`` and, where
they take arguments, ``add_arguments(verb, parser)``.
"""

import argparse
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from agent.config import Config
from agent.ctl import manual
from agent.ctl.manual import Manual

Run = Callable[[argparse.Namespace, Config], int]


@dataclass(frozen=True, slots=True)
class Verb:
    """``module`` is one of agent.ctl; ``function`` in it defaults to the verb's name."""

    name: str
    module: str
    help: str
    function: str = ""

    def run(self) -> Run:
        """The function behind it."""
        run: Run = getattr(self._imported(), self.function or self.name)
        return run

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Those of its own, beside the settings and ``--output``."""
        add = getattr(self._imported(), "add_arguments", None)
        if add is not None:
            add(self.name, parser)

    def manual(self) -> Manual:
        """What its help says beside the options."""
        return manual.of(self._imported(), self.name)

    def _imported(self) -> ModuleType:
        return importlib.import_module(f"agent.ctl.{self.module}")


VERBS = (
    Verb(
        "install",
        "install",
        "lay this version down on this node, start it, wait until it is ready (--dry-run: say it only)",
    ),
    Verb(
        "uninstall",
        "uninstall",
        "take this node's overlay away, and look whether anything is left (--dry-run: say it only)",
    ),
    Verb(
        "status",
        "status",
        "is this node all right? one screen; exit code 0 healthy, 1 degraded, 2 down",
    ),
    Verb(
        "doctor",
        "doctor",
        "what is wrong with this node, why it matters and what mends it; before the installation, too",
    ),
    Verb("peers", "node", "the other nodes, and whether the kernel knows the way to them"),
    Verb(
        "why",
        "why",
        "why do two pods not reach each other? every hop, the first broken one, the command that mends it",
    ),
    Verb(
        "probe",
        "probe",
        "do packets reach the other nodes, and how large may they be? exit code 1: some are lost",
    ),
    Verb(
        "etcd",
        "etcd",
        "every endpoint: reachable, leader, latency, space, alarms; the agent's lease and watch",
    ),
    Verb(
        "mesh",
        "mesh",
        "all nodes and the paths between them that are not fine (--html FILE: as a page)",
    ),
    Verb(
        "trace",
        "trace",
        "a pod's packets inside and outside of the tunnel, live, and where they vanish",
    ),
    Verb(
        "leases",
        "leases",
        "all subnet leases in etcd, unreadable ones included (--stale: what nobody looks after)",
    ),
    Verb(
        "reserve",
        "leases",
        "keep a subnet for one node (--node, --address), or give it to nobody",
    ),
    Verb("release", "leases", "free a reserved subnet; with --force another node's lease"),
    Verb(
        "node",
        "leases",
        "remove NAME: forget a machine that will not come back, so that peers drop it",
    ),
    Verb("init", "network", "write the network config to etcd (once per cluster)"),
    Verb(
        "leave",
        "network",
        "give this node's subnet back: revoke the lease, stop accepting pods",
    ),
    Verb(
        "gc",
        "gc",
        "take away what dead pods left behind: addresses, records, links (--dry-run: say it only)",
    ),
    Verb(
        "ipam",
        "ipam",
        "which pod has which address; whether records and kernel agree; free one by hand",
    ),
    Verb(
        "history",
        "history",
        "who had an address, or which one a pod had, when, and on which node (--at TIME)",
        "history_of",
    ),
    Verb("plan", "node", "what would be changed in the kernel now, without changing it"),
    Verb(
        "drift",
        "drift",
        "what others undid in the kernel: when, how often, likely who; exit code 1 while a fight goes on",
    ),
    Verb(
        "completion",
        "completion",
        "the script by which bash or zsh completes verbs, options, pods and peers",
    ),
    Verb("__complete", "completion", "words for the shell", "complete"),
)
