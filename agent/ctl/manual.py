"""What ``overlayctl VERB --help`` says beside the options: as a man page would, in plain text.

A verb's manual is in `MANUAL` of its module, by the verb's name, or in agent.ctl.manuals; one without any still has
its row's sentence and the exit codes that all verbs keep to.
"""

import importlib
import pkgutil
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

WIDTH = 100
EXITS: Mapping[int, str] = {
    0: "done, or healthy",
    1: "degraded, refused, or something was found",
    2: "down: no agent answers, or etcd does not",
    64: "wrong usage, or a bad setting",
}


@dataclass(frozen=True, slots=True)
class Manual:
    """``text`` are paragraphs, parted by empty lines; ``examples`` pairs of words after overlayctl and what they do.

    ``exits`` are those that mean something special here; ``see`` are other verbs or commands.
    """

    text: str = ""
    examples: tuple[tuple[str, str], ...] = ()
    exits: Mapping[int, str] = field(default_factory=dict)
    see: tuple[str, ...] = ()


def of(module: ModuleType, verb: str) -> Manual:
    """The manual of a verb whose module is given."""
    own: Mapping[str, Manual] = getattr(module, "MANUAL", {})
    return own.get(verb) or _shipped().get(verb) or Manual()


def _shipped() -> Mapping[str, Manual]:
    from agent.ctl import manuals

    found: dict[str, Manual] = {}
    for page in pkgutil.iter_modules(manuals.__path__):
        found |= importlib.import_module(f"{manuals.__name__}.{page.name}").MANUAL
    return found


def description(verb: str, summary: str, manual: Manual) -> str:
    """What stands before the options."""
    first = f"overlayctl {verb}: {summary}"
    paragraphs = [first, *manual.text.strip().split("\n\n")] if manual.text else [first]
    return "\n\n".join(textwrap.fill(" ".join(it.split()), WIDTH) for it in paragraphs)


def epilog(verb: str, manual: Manual, *, settings_shown: bool) -> str:
    """What stands behind the options: settings, examples, exit codes, where to go on."""
    parts = []
    if not settings_shown:
        parts.append(
            "settings:\n  --config FILE, and each of the agent's settings as a flag (--run-dir, --etcd-endpoints, …):\n"
            f"  overlayctl {verb} --help-all"
        )
    examples = manual.examples or ((verb, ""),)
    width = min(44, max(len(words) for words, _ in examples))
    lines = [f"  overlayctl {words:<{width}}  {why}".rstrip() for words, why in examples]
    parts.append("\n".join(["examples:", *lines]))
    codes = {**EXITS, **manual.exits}
    parts.append(
        "\n".join(["exit codes:", *(f"  {code:<4}{codes[code]}" for code in sorted(codes))])
    )
    if manual.see:
        see = textwrap.fill("see also: " + ", ".join(manual.see), WIDTH, subsequent_indent="  ")
        parts.append(see)
    return "\n\n".join(parts)
