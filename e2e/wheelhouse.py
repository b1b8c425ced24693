"""Wheels of what is installed here, so that `pip install` works in a lab, where there is no network.

An installed distribution still has all that its wheel had, and the list of it: packed again, pip installs it by the
same commands as from an index (PIP_NO_INDEX, PIP_FIND_LINKS).
"""

import re
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

BUILDS = "hatchling"
"""What the build itself asks for."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def pack(directory: Path, *names: str) -> list[Path]:
    """A wheel each of the named ones and all they need; a distribution that is missing is an error."""
    directory.mkdir(parents=True)
    found: dict[str, Distribution] = {}
    wanted = list(names)
    while wanted:
        name = wanted.pop()
        key = re.sub(r"[-_.]+", "_", name).lower()
        if key not in found:
            found[key] = distribution(name)
            wanted += _needs(found[key])
    return [_wheel(it, directory) for it in found.values()]


def needs_of(name: str) -> list[str]:
    """What a distribution needs on this machine, extras aside."""
    return _needs(distribution(name))


def _needs(it: Distribution) -> list[str]:
    from packaging.requirements import Requirement

    found = [Requirement(text) for text in it.requires or []]
    return [one.name for one in found if one.marker is None or one.marker.evaluate({"extra": ""})]


def _wheel(it: Distribution, directory: Path) -> Path:
    """No compression: it is unpacked a moment later."""
    tags = re.findall(r"^Tag: (.+)$", it.read_text("WHEEL") or "", re.MULTILINE)
    parts = [sorted({tag.split("-")[place] for tag in tags}) for place in range(3)]
    name = re.sub(r"[-_.]+", "_", it.name)
    path = directory / f"{name}-{it.version}-{'-'.join('.'.join(part) for part in parts)}.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file in it.files or []:
            outside = file.parts[0] == ".." or file.suffix == ".pyc"
            if not outside and file.name not in ("INSTALLER", "REQUESTED", "direct_url.json"):
                wheel.write(file.locate(), str(file))
    return path
