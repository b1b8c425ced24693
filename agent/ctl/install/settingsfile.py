"""The settings' file and an installation: what is given for it, what it says, and whether they agree."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from agent import config, sources
from agent.ctl.install.items import TLS_FILES
from agent.ctl.install.writing import below
from agent.settings import SETTINGS
from overlay.errors import Fatal

KEYS = frozenset(row.key for row in SETTINGS)


def given(flags: argparse.Namespace, environ: Mapping[str, str]) -> dict[str, str]:
    """What the file is to say: flags, and the variables that this shell would have given to an agent."""
    named = {key: value for key, (value, _) in sources.from_environment(environ, KEYS).items()}
    found = named | {key: value for key in KEYS if (value := getattr(flags, key, None)) is not None}
    paths = {key: str(Path(found[key]).absolute()) for key in TLS_FILES if found.get(key)}
    return {key: value for key, value in (found | paths).items() if key != "instance"}


def stated(root: Path, file: Path) -> dict[str, str]:
    """What a file says."""
    found = sources.from_file(below(root, file), KEYS, required=True)
    return {key: value for key, (value, _) in found.items() if key != "instance"}


def see_that_it_agrees(
    flags: argparse.Namespace, wanted: Mapping[str, str], root: Path, file: Path
) -> None:
    """A file that somebody has edited stays as it is, so a flag that says otherwise would say it in vain.

    Raises:
        Fatal: one does.
    """
    alone = argparse.Namespace(config=None, instance=flags.instance)
    found = config.load(alone, {}, root=root)
    parse = {row.key: row.parse for row in SETTINGS}
    for key, text in sorted(wanted.items()):
        value = getattr(found, key)
        if parse[key](text) != value:
            shown = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            shown = "another one" if key == "etcd_password" else repr(shown)
            raise Fatal(
                f"{file} is there already, and its {key} is {shown}; nothing was changed",
                hint=f"change it in {file}, then: overlayctl install without --{key.replace('_', '-')}",
            )
