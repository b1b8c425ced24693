"""overlayctl ipam: which pod has which address, with or without an agent: show, check, release, export."""

import argparse
import ipaddress
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.ctl import nodepage, show
from cni import adopted, collect, delegate, lock
from cni import attach as links
from cni.ipam import Ipam, is_address
from cni.owner import owner_at
from cni.pods import Lives
from cni.record import Attachment
from cni.steps import Steps
from overlay.errors import AddressTaken, BadConfig, NotReady

FLANNELS_NETWORK = "cbr0"
"""The name in flannel's own conflist (Documentation/kube-flannel.yml), and so host-local's directory."""


def add_arguments(_: str, verb: argparse.ArgumentParser) -> None:
    """Its own."""
    verb.add_argument("action", choices=("show", "check", "release", "export"), help="what to do")
    verb.add_argument(
        "target",
        nargs="?",
        metavar="ADDRESS|CONTAINER|DIR",
        help="what to release (a container by its beginning); where host-local of the network lives",
    )
    verb.add_argument("--force", action="store_true", help="release even what a living pod uses")


def ipam(flags: argparse.Namespace, settings: Config) -> int:
    """show, check, release or export."""
    if flags.action == "show":
        return _show(flags, settings)
    if flags.action == "check":
        return _check(flags, settings)
    if flags.action == "export":
        return _export(flags, settings)
    if not flags.target:
        raise BadConfig(
            "release needs an address or a container, such as: overlayctl ipam release 10.5.1.7",
            hint="overlayctl ipam show",
        )
    return _release(flags, settings)


# --- gc -----------------------------------------------------------------------------------------


def _show(flags: argparse.Namespace, settings: Config) -> int:
    rows = list(_allocations(settings.run_dir))
    if flags.output == "json":
        show.as_json(rows)
        return 0
    columns = ("address", "pod", "container", "ifname", "network", "since", "state")
    cells = [
        [str(row[name])[:12] if name == "container" else row[name] for name in columns]
        for row in rows
    ]
    show.table([name.upper() for name in columns], cells)
    page = nodepage.page(settings.run_dir)
    for family in page.families if page else ():
        store = Ipam(settings.run_dir)
        print(f"{family.subnet}: {store.count(family)} held, {store.free(family)} free")
    return 0


def _allocations(run_dir: Path) -> Iterator[dict[str, Any]]:
    store, lives = Ipam(run_dir), Lives.look()
    held, linkless = store.held(), store.linkless()
    for address in sorted(held, key=lambda text: (":" in text, ipaddress.ip_address(text))):
        record = collect.record_of(store, held[address])
        owner = record.owner if record else owner_at(held[address])
        yield {
            "address": address,
            "pod": (record.pod if record else "") or "-",
            "container": owner.container if owner else held[address],
            "ifname": owner.ifname if owner else "-",
            "network": owner.network if owner else "-",
            "since": _since(record),
            "state": _state(record, lives) if record else _unrecorded(held[address], linkless),
        }


def _since(record: Attachment | None) -> str:
    if record is None or not record.created:
        return "-"
    return datetime.fromtimestamp(record.created, UTC).isoformat(sep=" ", timespec="seconds")


def _state(record: Attachment, lives: Lives) -> str:
    if lives.pod_is_gone(record):
        return "pod is gone"
    return "in use, attached by another plugin" if record.adopted else "in use"


def _unrecorded(place: str, linkless: frozenset[str]) -> str:
    return "held for another plugin" if place in linkless else "no attachment"


def _check(flags: argparse.Namespace, settings: Config) -> int:
    """1 if journals, allocations and subnet do not agree."""
    faults = list(_faults(settings.run_dir))
    if flags.output == "json":
        show.as_json(faults)
    else:
        for fault in faults:
            print(fault)
        print(f"faults: {len(faults)}" if faults else "journals and allocations agree")
    return int(bool(faults))


def _faults(run_dir: Path) -> Iterator[str]:
    store, page = Ipam(run_dir), nodepage.page(run_dir)
    held, places, linkless = store.held(), store.places(), store.linkless()
    for place in places:
        record = collect.record_of(store, place)
        if record is None:
            yield f"the record of {place} cannot be read; look: cat {store.records}/{place}.json"
            continue
        for text in record.addresses:
            holder = held.get(text.partition("/")[0])
            if holder != place:
                yield f"{text} of {place} is {f'held by {holder}' if holder else 'not held by anybody'}"
    for address, place in sorted(held.items()):
        if place not in places and place not in linkless:
            yield f"{address} is held by {place}, which has no record; next: overlayctl gc"
        inside = (
            [one for one in page.families if ipaddress.ip_address(address) in one.subnet]
            if page
            else []
        )
        if page and not inside:
            yield f"{address} of {place} is outside of this node's subnet"
    yield from _foreign(store)
    yield from (str(item) for item in collect.survey(run_dir) if item.place in places)


def _foreign(store: Ipam) -> Iterator[str]:
    if not store.addresses.is_dir():
        return
    held = store.held()
    for path in sorted(store.addresses.iterdir()):
        if is_address(path.name) and path.name not in held:
            yield f"{path} is no allocation and keeps {path.name} from pods; look: ls -l {path}"


def _release(flags: argparse.Namespace, settings: Config) -> int:
    store, target = Ipam(settings.run_dir), flags.target
    place = _place_of(store, target)
    with lock.tried(settings.run_dir, place) as free:
        if not free:
            raise NotReady(
                f"a runtime is at work on {place}, try again",
                hint="the same in a moment; if it stays so: journalctl -u overlay-agent -g hangs",
            )
        record = collect.record_of(store, place)  # by now: a runtime may have been at work on it
        owner = record.owner if record else owner_at(place)
        alive = (
            not Lives.look().pod_is_gone(record)
            if record
            else owner is not None and links.is_attached(owner)
        )
        if alive and not flags.force:
            raise AddressTaken(
                f"{target} is in use by {record.pod or place if record else place}, whose pod is alive",
                hint="delete the pod; or take its network away under it: overlayctl ipam release --force …",
            )
        if owner is not None and (record is None or record.host_link):
            links.detach(owner)
        if record is not None and record.delegate:
            delegate.delete_recorded(record, Steps())
        store.release_at(place, record)
    result = {"released": place, "addresses": list(record.addresses) if record else [target]}
    if flags.output == "json":
        show.as_json(result)
    else:
        print(f"released {', '.join(result['addresses'])} of {place}")
    return 0


def _export(flags: argparse.Namespace, settings: Config) -> int:
    """For a hand-back: host-local must not give a living pod's address to the next one."""
    directory = Path(flags.target) if flags.target else settings.host_local_dir / FLANNELS_NETWORK
    try:
        written = adopted.export(settings.run_dir, directory)
    except OSError as error:
        raise BadConfig(
            f"{directory} cannot be written: {error.strerror}",
            hint=f"ls -ld {directory} {directory.parent}",
        ) from error
    if flags.output == "json":
        show.as_json({"directory": str(directory), "addresses": written})
    else:
        print(f"host-local now holds {len(written)} addresses of our pods more, in {directory}")
    return 0


def _place_of(store: Ipam, target: str) -> str:
    """The attachment that an address or (the beginning of) a container id means."""
    if is_address(target):
        place = store.held().get(target)
        if place is None:
            raise BadConfig(f"{target} is not held by anybody", hint="overlayctl ipam show")
        return place
    found = {
        place
        for place in [*store.places(), *store.held().values()]
        if place.partition("/")[2].startswith(target)
    }
    if len(found) != 1:
        several = f"{len(found)} attachments begin" if found else "no attachment begins"
        raise BadConfig(f"{several} with {target!r}", hint="overlayctl ipam show")
    return found.pop()
