"""The look behind the facts: process, unit, journals, kernel, etcd, files. Changes nothing."""

import argparse
import dataclasses
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from agent import config, connect, sole
from agent.config import Config
from agent.ctl.install import manifest, service, texts, writing
from agent.ctl.install.items import (
    COMMAND,
    COMPLETIONS,
    NETWORKD_DIR,
    NETWORKMANAGER_DIR,
    PROTOCOLS_DIR,
    TEMPLATE_UNIT,
    UNIT,
    UNIT_DIR,
    drop_in,
)
from agent.ctl.install.manifest import Manifest
from agent.ctl.install.steps import SAVED, Kind, Present, digest
from agent.ctl.uninstall.facts import Facts, Fate, Held, Laid
from agent.memory import Memory
from cni import strays, unfinished
from cni.ipam import Ipam
from cni.owner import owner_at
from cni.strays import Stray
from overlay.dataplane import Dataplane, former
from overlay.errors import BadInput, OverlayError
from overlay.marks import instance_of
from overlay.model import ALIAS_PREFIX, Lease, Ruleset, Step
from overlay.netlink import Netlink, messages, parse
from overlay.nft import Nft
from overlay.plan import plan

SYSCTLS = Path("/proc/sys")
RUN_NAMES = {
    *("agent.lock", "attachments", "attachments.lock", "cni.log", "cni.log.1", "cni.sock", "ipam"),
    *("nft.json", "node.json", "offload.json", "subnet.env", former.NAME),
}
_PAGES = ("drift.json", "last-good.json", "state.json")
STATE_NAMES = {"history", *_PAGES, *(f"{Path(name).stem}.unreadable" for name in _PAGES)}
"""What an agent and the CNI program leave in a directory; temporary files have a dot before and .tmp behind."""
OURS = (texts.MARK, b"overlay-agent", b"overlayctl completion")
"""In every file that an installation lays down, and in no other."""


def facts(settings: Config, *, purge: bool, etcd: bool) -> Facts:
    """What is here now. ``etcd`` False does not ask it.

    Raises:
        OverlayError: the kernel cannot be read.
    """
    marks, run_dir = settings.marks, settings.run_dir
    conflist = settings.cni_conf_dir / marks.conflist
    table, steps = kernel(settings)
    page = Ipam(run_dir)
    inside, unknown = _directories(settings)
    needed = others(settings)
    laid = tuple(_laid(settings, purge=purge))
    return Facts(
        marks=marks,
        node=settings.node_name,
        service=service.look(marks),
        agent=sole.running(marks, run_dir),
        conflist=conflist if conflist.exists() else None,
        places=tuple(page.places()),
        strays=_strays(settings),
        steps=steps,
        table=table,
        switches=()
        if needed
        else tuple(former.turned(former.read(run_dir / former.NAME), SYSCTLS)),
        others=tuple(str(other.marks) for other in needed),
        held=held(settings) if etcd else Held(),
        laid=laid,
        settings=() if purge else _of_settings(settings),
        inside=inside,
        unknown=unknown,
    )


def kernel(settings: Config) -> tuple[str, tuple[Step, ...]]:
    """Our nft table if there is one, and the steps that take the rest away."""
    with closing(Dataplane(settings.run_dir, marks=settings.marks)) as plane:
        found = plane.read({})
    with closing(Nft()) as nft:
        table = settings.marks.table if nft.has_table(settings.marks.table) else ""
    return table, tuple(step for step in plan({}, found) if not isinstance(step.object, Ruleset))


def _strays(settings: Config) -> tuple[Stray, ...]:
    """Host ends without a journal, in our bridge or, where that is gone already, anywhere."""
    found = {it.link: it for it in strays.survey(settings.run_dir, settings.bridge)}
    journaled = {
        it.host_link for place in Ipam(settings.run_dir).places() if (it := owner_at(place))
    }
    with Netlink() as host:
        links = [parse.parse_link(body) for _, body in host.dump(messages.link_dump())]
    for link in links:
        mine = link.alias.startswith(f"{ALIAS_PREFIX}{settings.marks.name}/")
        if mine and link.kind == "veth" and link.name not in journaled:
            found.setdefault(link.name, Stray(link.name, link.index, strays.named(link), ""))
    return tuple(found.values())


def held(settings: Config) -> Held:
    """This machine's leases; nobody is asked where nothing says that it ever had one."""
    if not _knows_an_etcd(settings):
        return Held()
    try:
        with closing(connect.registry(settings)) as store:
            found = store.snapshot().leases.values()
            keys = [it.key for it in found if is_mine(it, settings) and not is_twins(it, settings)]
            return Held(True, tuple(sorted(keys)))
    except OverlayError as error:
        return Held(True, error=str(error))


def is_mine(lease: Lease, settings: Config) -> bool:
    """A reservation that leads nowhere is the cluster's, not ours."""
    taken = bool(lease.etcd_lease) or any(end.underlay for end in lease.endpoints)
    return lease.machine_id == settings.machine_id and taken


def is_twins(lease: Lease, settings: Config) -> bool:
    """Of a machine with our id and another name: it is given back if nobody answers for it, and none of our residue."""
    return bool(lease.node) and lease.node != settings.node_name


def _knows_an_etcd(settings: Config) -> bool:
    """A settings' file, other endpoints than the default ones, or the memory of a subnet."""
    default = ("http://127.0.0.1:2379",)
    return (
        config.file_of(settings.instance).exists()
        or settings.etcd_endpoints != default
        or bool(Memory(settings.state_dir).subnets)
    )


def _of_settings(settings: Config) -> tuple[Path, ...]:
    """What an etcd is asked with."""
    paths = (settings.etcd_cafile, settings.etcd_certfile, settings.etcd_keyfile)
    return (config.file_of(settings.instance), *(Path(path) for path in paths if path))


def _directories(settings: Config) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """What is ours in run and state directory; the list of what is installed goes last, and is not among it.

    In the runtime's directories, besides what is told apart elsewhere, what a killed writer left.
    """
    ours = [
        *unfinished.beside(settings.cni_conf_dir / settings.marks.conflist),
        *unfinished.beside(settings.cni_bin_dir / "overlay"),
    ]
    unknown: list[Path] = []
    for directory, names in ((settings.run_dir, RUN_NAMES), (settings.state_dir, STATE_NAMES)):
        with suppress(OSError):
            for path in sorted(directory.iterdir()):
                temporary = path.name.startswith(".") and path.name.endswith(".tmp")
                if path.name in names or temporary:
                    ours.append(path)
                elif path != manifest.path_of(settings.marks):
                    unknown.append(path)
    return tuple(ours), tuple(unknown)


def listed(settings: Config) -> Manifest:
    """What the installation noted, and where it noted nothing what bears our mark at its usual places."""
    noted = manifest.parse(writing.look(manifest.path_of(settings.marks)))
    found = dict(noted.files)
    for path in _usual(settings):
        present = writing.look(path)
        if path not in found and any(mark in present.data for mark in OURS):
            found[path] = digest(present)
    return dataclasses.replace(noted, files=found)


def _usual(settings: Config) -> Iterator[Path]:
    marks = settings.marks
    yield settings.cni_bin_dir / "overlay"
    yield from (UNIT_DIR / UNIT, UNIT_DIR / TEMPLATE_UNIT)
    yield from (NETWORKD_DIR / f"05-{marks.name}{suffix}" for suffix in (".network", ".link"))
    yield NETWORKMANAGER_DIR / f"05-{marks.name}.conf"
    yield PROTOCOLS_DIR / f"{marks.name}.conf"
    yield drop_in(marks)
    yield from (COMMAND, *COMPLETIONS.values())


def _laid(settings: Config, *, purge: bool) -> Iterator[Laid]:
    noted, shared = listed(settings), set(_of_others(settings))
    stays: set[Path] = set()
    files = dict(noted.files)
    if purge:
        files |= {config.file_of(settings.instance): ""}
    for path, known in files.items():
        present = writing.look(path)
        if present.kind is Kind.ABSENT:
            continue
        fate = Fate.OURS if purge or digest(present) == known else Fate.CHANGED
        fate = Fate.SHARED if path in shared else fate
        if fate is not Fate.OURS:
            stays.add(path)
        yield Laid(path, fate)
    for place in {*files, *_usual(settings), manifest.path_of(settings.marks)}:
        yield from (Laid(path, Fate.OURS) for path in writing.unfinished(place))
    for path in noted.saved:
        present, back = writing.look(path), path.with_name(path.name.removesuffix(SAVED))
        if present.kind is not Kind.ABSENT:
            yield Laid(path, _fate_of_saved(present, back, stays=stays, purge=purge), back)


def _fate_of_saved(present: Present, back: Path, *, stays: set[Path], purge: bool) -> Fate:
    """What was there before ours goes back, unless it is an older version of ours that somebody had edited."""
    if any(mark in present.data for mark in OURS):
        return Fate.OURS if purge else Fate.CHANGED
    return Fate.CHANGED if back in stays else Fate.SAVED


def _of_others(settings: Config) -> Iterator[Path]:
    """The files that other agents of this node need."""
    if others(settings):
        yield from (UNIT_DIR / UNIT, UNIT_DIR / TEMPLATE_UNIT, COMMAND, *COMPLETIONS.values())
        yield settings.cni_bin_dir / "overlay"
    own = manifest.path_of(settings.marks)
    for path in Path("/var/lib").glob(f"overlay*/{manifest.NAME}"):
        if path != own:
            with suppress(BadInput):
                yield from manifest.parse(writing.look(path)).files


def others(settings: Config) -> list[Config]:
    """The other agents of this node, by their settings' files and conflists."""
    names = {path.name for path in settings.cni_conf_dir.glob("1?-overlay*")}
    files = config.NAMED_FILES.glob("*.toml")
    instances = {"" if path.name == config.DEFAULT_FILE.name else path.stem for path in files}
    instances |= {instance for name in names if (instance := instance_of(name)) is not None}
    found = []
    for instance in sorted(instances - {settings.instance}):
        with suppress(OverlayError):  # a file of somebody else's
            flags = argparse.Namespace(config=None, instance=instance or None)
            found.append(config.load(flags, {}, lacking=True))
    return found
