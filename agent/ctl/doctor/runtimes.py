"""Do container runtimes look where we put things? containerd's config.toml (versions 1 to 3) and CRI-O's crio.conf."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Look
from cni.install import NAME

CONTAINERD, CRIO = "/etc/containerd/config.toml", "/etc/crio/crio.conf"
CRIO_MORE = ("/etc/crio/crio.conf.d", "/usr/lib/crio/crio.conf.d")
BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"
"""What both take where nothing is said."""
_CRI = ("io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "cri")
"""The plugin that has the CNI settings in version 3, 2 and 1 of the file; only one of them is there."""
_OFF = {"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"}
_DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Runtime:
    """What one runtime is told. ``cri`` is False where it serves no kubelet."""

    name: str
    path: str
    conf_dir: str = CONF_DIR
    bin_dirs: tuple[str, ...] = (BIN_DIR,)
    max_conf: int = 1
    cri: bool = True
    unreadable: str = ""


def check(look: Look) -> list[Finding] | None:
    """All runtimes that have a configuration here."""
    its = look.settings
    present = read(look)
    if not present:
        return None
    dirs = {one for it in present for one in it.bin_dirs}
    having = frozenset(one for one in dirs if (look.path(one) / NAME).exists())
    return judge(present, str(its.cni_conf_dir), str(its.cni_bin_dir), having)


def judge(
    runtimes: list[Runtime], conf_dir: str, bin_dir: str, having: frozenset[str] = frozenset()
) -> list[Finding]:
    """Pure; ``having`` are directories that have our executable as well, or are another name of ours."""
    findings = []
    for it in runtimes:
        if it.unreadable:
            title = f"{it.path} cannot be read: {it.unreadable}"
            findings.append(found("runtime-unreadable", "warning", title, f"{it.name} config dump"))
            continue
        if not it.cri:
            title = f'{it.path} has "cri" among disabled_plugins'
            mend = f"if kubelet is to use it: take it out there, systemctl restart {it.name}"
            findings.append(found("runtime-cri-off", "note", title, mend))
            continue
        restart = f"systemctl restart {it.name}"
        if not _same(it.conf_dir, conf_dir):
            title = f"{it.name} reads configurations in {it.conf_dir}, the agent writes its own to {conf_dir}"
            mend = (
                f'cni_conf_dir = "{it.conf_dir}" in agent.toml, systemctl restart overlay-agent; '
                f"or change {it.path}, {restart}"
            )
            findings.append(found("runtime-dirs", "fault", title, mend))
        if not any(_same(one, bin_dir) or one in having for one in it.bin_dirs):
            title = (
                f"{it.name} looks for executables in {', '.join(it.bin_dirs)}, ours is in {bin_dir}"
            )
            mend = (
                f'cni_bin_dir = "{it.bin_dirs[0]}" in agent.toml, overlayctl install; '
                f"or change {it.path}, {restart}"
            )
            findings.append(found("runtime-dirs", "fault", title, mend))
        if it.max_conf != 1:
            title = f"{it.path} has max_conf_num = {it.max_conf}"
            mend = f"max_conf_num = 1 unless pods are meant to have several networks; {restart}"
            findings.append(found("runtime-max-conf", "note", title, mend))
    return findings


def _same(one: str, other: str) -> bool:
    return PurePosixPath(one) == PurePosixPath(other)


def containerd(path: str, texts: Mapping[str, str]) -> Runtime:
    """From config.toml, and those that it imports, which come after it. Pure; ``texts`` by path."""
    try:
        documents = list(_imported(path, texts, _DEEPEST))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Runtime("containerd", path, unreadable=str(error))
    cni: dict[str, Any] = {}
    off: set[str] = set()
    for document in documents:
        plugins = _table(document, "plugins")
        for name in _CRI:
            cni |= _table(_table(plugins, name), "cni")
        off |= {str(name) for name in _list(document.get("disabled_plugins"))}
    bins = [str(it) for it in _list(cni.get("bin_dirs"))] or [str(cni.get("bin_dir") or BIN_DIR)]
    most = cni.get("max_conf_num", 1)
    return Runtime(
        "containerd",
        path,
        str(cni.get("conf_dir") or CONF_DIR),
        tuple(bins),
        most if isinstance(most, int) else 1,
        cri=not off & _OFF,
    )


def _imported(path: str, texts: Mapping[str, str], depth: int) -> Iterator[dict[str, Any]]:
    """A document, then those it imports; a relative pattern is relative to its file (containerd-config.toml(5))."""
    document = tomllib.loads(texts.get(path, ""))
    yield document
    for pattern in map(str, _list(document.get("imports"))) if depth else ():
        absolute = str(PurePosixPath(path).parent / pattern)
        for other in sorted(texts):
            if other != path and fnmatch(other, absolute):
                yield from _imported(other, texts, depth - 1)


def crio(path: str, texts: list[str]) -> Runtime:
    """From crio.conf and its drop-ins in order. Pure."""
    network: dict[str, Any] = {}
    try:
        for text in texts:
            network |= _table(_table(tomllib.loads(text), "crio"), "network")
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return Runtime("crio", path, unreadable=str(error))
    bins = [str(it) for it in _list(network.get("plugin_dirs"))]
    if old := network.get("plugin_dir"):
        bins.append(str(old))
    conf_dir = str(network.get("network_dir") or CONF_DIR)
    return Runtime("crio", path, conf_dir, tuple(bins or [BIN_DIR]))


def _table(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def read(look: Look) -> list[Runtime]:
    """Those whose configuration is there."""
    found_here = []
    if (text := look.text(CONTAINERD)) is not None:
        texts = {CONTAINERD: text}
        for pattern in imports(text):
            folder, name = str(PurePosixPath(CONTAINERD).parent / pattern).rsplit("/", 1)
            for other in look.names(folder):
                if fnmatch(other, name):
                    texts[f"{folder}/{other}"] = look.text(f"{folder}/{other}") or ""
        found_here.append(containerd(CONTAINERD, texts))
    drop_ins = list(look.texts(CRIO_MORE, ".conf").values())
    main = look.text(CRIO)
    if main is not None or drop_ins:
        found_here.append(crio(CRIO, [main or "", *drop_ins]))
    return found_here


def imports(text: str) -> list[str]:
    """The patterns of the files that a config.toml imports. Pure."""
    try:
        return [str(it) for it in _list(tomllib.loads(text).get("imports"))]
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
