"""What is left over of pods that are gone: finding it, with proof, and taking it away.

Used by the GC verb, by the agent's own sweep and by ``overlayctl gc``. Left over are: an attachment whose
namespace is gone, an allocation without an attachment, and a host end in our bridge without an
attachment whose pod's namespace nobody lives in.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cni import attach, delegate, lock
from cni.ipam import Ipam
from cni.owner import Owner, bounded, owner_at
from cni.pods import Lives
from cni.protocol import Request
from cni.record import Attachment
from cni.steps import Steps
from overlay.errors import KernelBusy, KernelRefused, OverlayError


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of a pod that is gone. Equal in two looks means: seen twice.

    ``place`` is the attachment's; ``made`` tells an attachment from a later one of the same name.
    """

    place: str
    why: str
    addresses: tuple[str, ...] = ()
    made: float = 0.0
    host_link: str = ""

    def __str__(self) -> str:
        what = ", ".join(self.addresses) or self.host_link or "a record"
        return f"{what} of {self.place}: {self.why}"


def survey(run_dir: Path) -> list[Leftover]:
    """All that is left over now, by the journals and the allocations; nothing is changed.

    What a digest stands for instead of names, and what has no link of ours, cannot be proven gone without
    its journal, and stays.
    """
    ipam, lives = Ipam(run_dir), Lives.look()
    linkless = ipam.linkless()
    held: dict[str, list[str]] = {}
    for address, place in ipam.held().items():
        held.setdefault(place, []).append(address)
    found = []
    for place in ipam.places():
        record = record_of(ipam, place)
        addresses = tuple(sorted(held.pop(place, [])))
        if record is None:
            if place not in linkless and _has_no_link(place):
                found.append(
                    Leftover(place, "its record cannot be read and it has no link", addresses)
                )
        elif lives.pod_is_gone(record):
            found.append(
                Leftover(
                    place,
                    f"its namespace {record.netns} is gone",
                    addresses or record.addresses,
                    record.created,
                    record.host_link,
                )
            )
    for place, addresses_left in sorted(held.items()):
        if place not in linkless and _has_no_link(place):
            found.append(Leftover(place, "no attachment has it", tuple(sorted(addresses_left))))
    return found


def record_of(ipam: Ipam, place: str) -> Attachment | None:
    """The journal of a place, unless it cannot be read or is another attachment's, whose link it would cost."""
    record = ipam.record_at(place)
    return record if record is not None and record.owner.place == place else None


def take_away(run_dir: Path, item: Leftover, steps: Steps) -> bool:
    """Take one leftover away, unless a verb is at work on it or it is another one by now.

    Raises:
        OverlayError: something of it could not be taken away; it will be found again.
    """
    ipam = Ipam(run_dir)
    with lock.tried(run_dir, item.place) as free:
        if not free:
            return False
        record = record_of(ipam, item.place)
        if record is not None and record.created != item.made:
            return False
        _remove(ipam, item.place, record, steps)
    return True


def collect(request: Request, run_dir: Path, *, steps: Steps) -> None:
    """The GC verb: this network's attachments that the runtime does not call valid.

    Where the runtime did not say (no list), nothing is ours to judge. An empty list, which a runtime that has lost
    its memory sends as well, takes away only what is proven gone. One failure stops nothing.

    Raises:
        OverlayError: some could not be removed; the first reason, and how many.
    """
    valid, failures = request.config.valid, list[OverlayError]()
    if valid is not None:
        failures += _collect(request, run_dir, valid, steps)
    if request.config.ipam.foreign and not request.config.is_ipam:
        try:
            config = delegate.config_to_undo(request, run_dir)
            delegate.call("GC", config, delegate.environ_of(request), steps)
        except OverlayError as error:
            if not failures:
                raise
            failures.append(error)
    if failures:
        raise KernelRefused(
            f"{len(failures)} leftovers stay: {failures[0]}",
            errno=16,
            hint=failures[0].hint or "overlayctl gc --dry-run",
        )


def needs_program(request: Request, run_dir: Path) -> bool:
    """Whether a record of the network names another IPAM plugin."""
    ipam = Ipam(run_dir)
    records = (record_of(ipam, place) for place in _places_of(request.config.name, ipam))
    return any(record is not None and record.delegate for record in records)


def _collect(
    request: Request, run_dir: Path, valid: frozenset[tuple[str, str]], steps: Steps
) -> Iterator[OverlayError]:
    """Attachments, and allocations without one, of this network."""
    ipam, lives = Ipam(run_dir), Lives.look()
    linkless = ipam.linkless()
    spared = {Owner(request.config.name, *pair).place for pair in valid}
    for place in _places_of(request.config.name, ipam):
        if place in spared:
            continue
        try:
            with lock.tried(run_dir, place) as free:
                record = record_of(ipam, place)  # by now
                if not free and record is None:  # an ADD that is just about to write its journal
                    continue
                if not free:  # a hung verb must not cost the others their turn
                    raise KernelBusy(f"a verb is at work on {place}")
                unknown = record is None and place in linkless
                if valid or (not unknown and _is_proven_gone(place, record, lives)):
                    _remove(ipam, place, record, steps)
        except OverlayError as error:
            yield error


def _is_proven_gone(place: str, record: Attachment | None, lives: Lives) -> bool:
    """Without a journal that can be read, the host's end speaks for the pod."""
    return _has_no_link(place) if record is None else lives.pod_is_gone(record)


def _has_no_link(place: str) -> bool:
    owner = owner_at(place)
    return owner is not None and not attach.is_attached(owner)


def _places_of(name: str, ipam: Ipam) -> list[str]:
    network = bounded(name)
    places = {*ipam.places(), *ipam.held().values()}
    return sorted(place for place in places if place.startswith(f"{network}/"))


def _remove(ipam: Ipam, place: str, record: Attachment | None, steps: Steps) -> None:
    """Link, then the other plugin's addresses, then ours."""
    owner = record.owner if record else owner_at(place)
    if owner is not None and (record is None or record.host_link):
        attach.detach(owner, netns="", mac="")
    if record is not None and record.delegate:
        delegate.delete_recorded(record, steps)
    ipam.release_at(place, record)
