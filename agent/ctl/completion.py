"""overlayctl completion: what the shell offers after TAB, made from the verbs' own parsers, so that it cannot lag.

Words that only this node knows (peers, pods, subnets) are asked for when they are wanted, by the hidden verb
``__complete``; etcd is never asked. What it prints was written by others: only letters that no shell obeys pass.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from agent.config import Config
from agent.ctl import front, shells
from agent.ctl.manual import Manual
from agent.ctl.parser import alone
from cni import collect
from cni.ipam import Ipam
from overlay.errors import OverlayError

FILES = "@file"
KINDS = {
    "POD": "@pod",
    "POD_A": "@pod",
    "POD_B": "@pod",
    "WHO": "@pod",
    "ADDRESS|CONTAINER|DIR": "@pod",
    "IP|POD": "@pod",
    "NAME": "@node",
    "NODE": "@node",
    "PEER": "@node",
    "SUBNET": "@subnet",
    "FILE": FILES,
    "DIR": FILES,
}
"""What a metavar stands for."""
SETTINGS_SHOWN = ("--config", "--run-dir", "--instance")
MOST_WORDS, MOST_PLACES = 500, 8
_HARMLESS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@%+-]{0,252}")

MANUAL = {
    "completion": Manual(
        """
        Prints a script that teaches the shell overlayctl's verbs, options and values, and this node's peers, pods and
        subnets. `overlayctl install` lays it down for all users; by hand it is one line in ~/.bashrc or ~/.zshrc.
        """,
        (
            ("completion bash > /etc/bash_completion.d/overlayctl", "for all, bash"),
            ("completion zsh > /usr/share/zsh/vendor-completions/_overlayctl", "for all, zsh"),
        ),
        see=('eval "$(overlayctl completion bash)"',),
    )
}


@dataclass(frozen=True, slots=True)
class Words:
    """What a verb takes: ``options``; ``values`` by option, ``places`` by number, from 1; each as words or a kind."""

    name: str
    help: str
    options: tuple[str, ...]
    values: Mapping[str, str]
    places: Mapping[int, str]


def add_arguments(name: str, verb: argparse.ArgumentParser) -> None:
    """A shell, or what to complete."""
    if name == "completion":
        verb.add_argument("shell", choices=tuple(shells.WRITERS), help="whose script to print")
    else:
        verb.add_argument("kind", choices=tuple(_ANSWERS), help="what is wanted")


def completion(flags: argparse.Namespace, _: Config) -> int:
    """Print the script."""
    print(text(flags.shell), end="")
    return 0


def complete(flags: argparse.Namespace, settings: Config) -> int:
    """Print words; nothing, rather than an error, where they cannot be had."""
    with suppress(OverlayError, OSError):
        for word in sorted(set(harmless(_ANSWERS[flags.kind](settings))))[:MOST_WORDS]:
            print(word)
    return 0


def text(shell: str) -> str:
    """The script for bash or zsh."""
    return shells.WRITERS[shell](list(verbs()))


def verbs() -> Iterator[Words]:
    """All that are for people, by their own parsers."""
    for row in front.visible():
        options: list[str] = []
        values: dict[str, str] = {}
        places: dict[int, str] = {}
        for action in alone(row)._actions:
            if not action.option_strings:
                first, many = len(places) + 1, action.nargs in ("*", "+")
                places |= dict.fromkeys(
                    range(first, first + (MOST_PLACES if many else 1)), _offer(action)
                )
            elif _is_shown(action):
                options += action.option_strings
                if action.nargs != 0:
                    values |= dict.fromkeys(action.option_strings, _offer(action))
        yield Words(row.name, front.short(row.help, 70), tuple(options), values, places)


def harmless(words: Iterable[str]) -> list[str]:
    """Of words that others wrote, those that no shell could take for anything else."""
    return [word for word in words if _HARMLESS.fullmatch(word)]


def _is_shown(action: argparse.Action) -> bool:
    return action.help != argparse.SUPPRESS or action.option_strings[0] in SETTINGS_SHOWN


def _offer(action: argparse.Action) -> str:
    if action.choices:
        return " ".join(map(str, action.choices))
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    return "" if action.dest == "instance" else KINDS.get(metavar, "")


# --- what only this node knows ----------------------------------------------------------------------


def _peers(settings: Config) -> list[Mapping[str, str]]:
    from agent.ctl.client import ask

    rows: list[Mapping[str, str]] = ask(settings.run_dir, "peers", timeout_s=2.0)["peers"]
    return rows


def _nodes(settings: Config) -> Iterator[str]:
    yield from (row["node"] for row in _peers(settings))


def _subnets(settings: Config) -> Iterator[str]:
    yield from (row["subnet"].replace(", ", ",") for row in _peers(settings))


def _pods(settings: Config) -> Iterator[str]:
    store = Ipam(settings.run_dir)
    yield from store.held()
    for place in store.places():
        record = collect.record_of(store, place)
        if record is not None:
            yield record.pod
            yield record.owner.container[:12]


_ANSWERS: Mapping[str, Callable[[Config], Iterable[str]]] = {
    "node": _nodes,
    "subnet": _subnets,
    "pod": _pods,
}
