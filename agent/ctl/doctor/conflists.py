"""CNI configurations: is ours there, is it the one that runtimes take, are all executables of its chain there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Look, read_text
from agent.pages import rivals
from overlay.marks import is_conflist

SUFFIXES = (".conf", ".conflist", ".json")


@dataclass(frozen=True, slots=True)
class Facts:
    """``texts`` are the configurations in the directory by name, ``executables`` what can be started in ``bin_dir``."""

    conf_dir: str
    bin_dir: str
    ours: str
    texts: Mapping[str, str] = field(default_factory=dict)
    executables: frozenset[str] = frozenset()
    before: tuple[str, ...] = ()
    ready: bool = False
    """The agent says that pods may be attached."""


def check(look: Look) -> list[Finding]:
    """The directory of configurations."""
    return judge(read(look))


def judge(facts: Facts) -> list[Finding]:
    """Pure; ``before`` has what stands before ours, in words."""
    findings = []
    if facts.ready and facts.ours not in facts.texts:
        title = f"there is no {facts.conf_dir}/{facts.ours}, though the agent is ready"
        findings.append(
            found("conflist-missing", "fault", title, "systemctl restart overlay-agent")
        )
    for text in facts.before:
        what, _, look = text.partition("; look: ")
        name = what.partition(" sorts before")[0]
        findings.append(
            found(
                "conflist-order",
                "fault" if facts.ours in facts.texts else "warning",
                what,
                f"{look}; mv {name} {name}.off",
            )
        )
    for name, text in facts.texts.items():
        document = parsed(text)
        if document is None:
            title = f"{facts.conf_dir}/{name} is no JSON object"
            findings.append(
                found("conflist-unreadable", "warning", title, f"cat {facts.conf_dir}/{name}")
            )
        elif name == facts.ours:
            findings += _missing(facts, plugins(document))
        elif name > facts.ours and not is_conflist(name):
            title = f"{facts.conf_dir}/{name} is another network's ({', '.join(plugins(document))})"
            mend = f"if it is not meant to be used: mv {facts.conf_dir}/{name} {facts.conf_dir}/{name}.off"
            findings.append(found("conflist-other", "note", title, mend))
    return findings


def _missing(facts: Facts, chain: list[str]) -> list[Finding]:
    return [
        found(
            "cni-plugin-missing",
            "fault",
            f"{facts.ours} names {plugin}, and there is no executable {facts.bin_dir}/{plugin}",
            f"apt-get install containernetworking-plugins; ln -s /usr/lib/cni/{plugin} {facts.bin_dir}/"
            if plugin != "overlay"
            else "overlayctl install",
        )
        for plugin in chain
        if plugin not in facts.executables
    ]


def parsed(text: str) -> dict[str, object] | None:
    """A configuration; None if it is none. Pure."""
    try:
        return msgspec.json.decode(text.encode(), type=dict[str, object])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def plugins(document: Mapping[str, object]) -> list[str]:
    """The types of its chain, or its own. Pure."""
    chain = document.get("plugins")
    rows = chain if isinstance(chain, list) else [document]
    return [str(row.get("type", "?"))[:100] for row in rows if isinstance(row, dict)]


def read(look: Look) -> Facts:
    """The two directories."""
    its = look.settings
    names = _names(its.cni_conf_dir)
    texts = {
        name: read_text(its.cni_conf_dir / name) or "" for name in names if name.endswith(SUFFIXES)
    }
    ours, status = its.marks.conflist, look.agent().status
    executables = frozenset(
        name for name in _names(its.cni_bin_dir) if _starts(its.cni_bin_dir / name)
    )
    ready = bool(status and status["in_sync"] and not status["waiting_for"] and status["lease"])
    before = tuple(rivals(its.cni_conf_dir, ours))
    return Facts(
        str(its.cni_conf_dir), str(its.cni_bin_dir), ours, texts, executables, before, ready
    )


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except OSError:
        return []


def _starts(path: Path) -> bool:
    try:
        return path.is_file() and bool(path.stat().st_mode & 0o100)
    except OSError:
        return False
