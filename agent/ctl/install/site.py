"""What this installation is made of: the facts that decide what is laid down, read from where we run."""

import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from agent.ctl.install import texts
from agent.ctl.install.items import (
    COMPLETIONS,
    TEMPLATE_UNIT,
    TLS_DIR,
    TLS_FILES,
    UNIT,
    Wishes,
    tls_path,
)
from cni import install as front
from overlay.errors import BadConfig
from overlay.marks import Marks

MOST_PEM = 1 << 20


def wishes(
    marks: Marks,
    given: Mapping[str, str],
    *,
    settings: Mapping[str, str],
    written: tuple[Path, ...],
    config_file: Path,
    config_is_ours: bool,
    root: Path,
    kind: str,
) -> Wishes:
    """``given`` is what flags and environment say, for the settings' file; ``settings`` has what is in force.
    ``config_is_ours``: that file is as the last installation wrote it, so that it may be written anew.

    Raises:
        BadConfig: something that belongs to it is not there, or cannot be used.
    """
    known = settings_of(given, marks)
    wanted = front.settings(settings["run_dir"], root=str(root))
    data, kind = front.content(wanted, kind=kind, root=str(root))
    return Wishes(
        marks=marks,
        bridge=settings["bridge"],
        cni_bin_dir=Path(settings["cni_bin_dir"]),
        bin_dir=_bin_dir(root),
        front=data,
        front_kind=kind,
        config_file=config_file,
        config_is_ours=config_is_ours,
        config=_utf8(texts.settings(known, marks.instance)),
        tls={key: _certificate(key, given[key]) for key in _copied(given)},
        written=written,
        units={name: shipped(name) for name in (UNIT, TEMPLATE_UNIT)},
        completions=completions(),
    )


def settings_of(given: Mapping[str, str], marks: Marks) -> dict[str, str]:
    """What goes into the file: certificates are named where they will be."""
    return {**given, **{key: str(tls_path(marks, key)) for key in _copied(given)}}


def shipped(name: str) -> str:
    """A file of agent/files."""
    return (resources.files("agent") / "files" / name).read_text()


def completions() -> dict[Path, bytes]:
    """Where shells look for what completes our command."""
    from agent.ctl import completion  # it looks at every verb, this one as well

    return {path: completion.text(shell).encode() for shell, path in COMPLETIONS.items()}


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise BadConfig(
            f"{error.object[error.start - 20 : error.end]!r} is no UTF-8",
            hint="settings are text: give the value again",
        ) from error


def _copied(given: Mapping[str, str]) -> list[str]:
    """What is not yet where it belongs."""
    return [
        key
        for key in TLS_FILES
        if given.get(key) and not Path(given[key]).is_relative_to(TLS_DIR.parent)
    ]


def _certificate(key: str, path: str) -> bytes:
    flag = "--" + key.replace("_", "-")
    try:
        with open(path, "rb") as file:
            data = file.read(MOST_PEM + 1)
    except OSError as error:
        raise BadConfig(f"{flag} {path}: {error.strerror}", hint=f"ls -l {path}") from error
    if b"-----BEGIN " not in data or len(data) > MOST_PEM:
        raise BadConfig(f"{flag} {path}: it is no PEM file", hint=f"openssl x509 -in {path} -text")
    return data


def _bin_dir(root: Path) -> Path:
    """Where this installation's programs are."""
    here = Path(sys.executable).parent
    if not (here / "overlay-agent").exists():
        raise BadConfig(
            f"there is no overlay-agent beside {sys.executable}",
            hint=f"install the package there: {sys.executable} -m pip install overlay-network",
        )
    return Path(front.seen_from(str(root), str(here)))
