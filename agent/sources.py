"""Where settings come from: a TOML file and the environment, as text by key, each with the place it stood at."""

import tomllib
from collections.abc import Mapping, Set
from pathlib import Path

from agent.reading import beginning
from overlay.errors import BadConfig

ENV_PREFIX = "OVERLAY_"
Given = dict[str, tuple[str, str]]


def from_file(path: Path, known: Set[str], *, required: bool) -> Given:
    """The settings of a file; only one that is ``required`` must be there.

    Raises:
        BadConfig: it cannot be read, or has a key that is not ``known``.
    """
    try:
        raw = path.read_bytes() if required else beginning(path)  # one that is named may be a pipe
    except FileNotFoundError as error:
        if required or path.is_symlink():
            leads = f" leads to {path.readlink()}, which" if path.is_symlink() else ""
            raise BadConfig(
                f"config file {path}{leads} does not exist",
                hint="overlayctl install --dry-run shows what would be written; or give --config FILE",
            ) from error
        return {}
    except OSError as error:
        raise BadConfig(
            f"config file {path} cannot be read: {error.strerror}", hint=f"ls -l {path}"
        ) from error
    try:
        table = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(
            f"config file {path} is not TOML: {error}",
            hint=f"overlay-agent --check --config {path}",
        ) from error
    for key, value in table.items():
        if key not in known:
            raise BadConfig(
                f"unknown key {key} = {value!r} in {path}{_nearest(key, known)}",
                hint="overlay-agent --help",
            )
    return {key: (_as_text(key, value, path), str(path)) for key, value in table.items()}


def from_environment(environ: Mapping[str, str], known: Set[str]) -> Given:
    """The settings among the variables.

    Raises:
        BadConfig: one begins as ours do and is not ``known``.
    """
    found: Given = {}
    for name, value in environ.items():
        if not name.startswith(ENV_PREFIX) or name == ENV_PREFIX + "CONFIG":
            continue
        key = name.removeprefix(ENV_PREFIX).lower()
        if key not in known:
            raise BadConfig(
                f"unknown variable {name} = {value!r} in the environment{_nearest(key, known)}",
                hint="overlay-agent --help",
            )
        found[key] = (value, name)
    return found


def _as_text(key: str, value: object, path: Path) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ",".join(value)
    raise BadConfig(
        f"{key} = {value!r} in {path}: must be text, a number, true/false or a list of text",
        hint="overlay-agent --help",
    )


def _nearest(key: str, known: Set[str]) -> str:
    import difflib  # only on the way out

    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else "; overlay-agent --help lists all"
