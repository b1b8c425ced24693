"""Which attachment of this node is meant: by the pod's name, its address, or the beginning of its container's id."""

from collections.abc import Sequence
from pathlib import Path

from agent.printable import printable
from agent.why.facts import Found
from cni import collect
from cni.ipam import Ipam, is_address
from cni.pods import ways_in
from cni.record import Attachment
from cni.sight import inode_at, way_to
from overlay.errors import BadConfig

MOST = 16
LEAST_OF_AN_ID = 4


def attachments(run_dir: Path, spec: str) -> list[Attachment]:
    """Those that a text may mean, the youngest first; an address means one at most."""
    store = Ipam(run_dir)
    if is_address(spec):
        place = store.held().get(spec)
        record = collect.record_of(store, place) if place else None
        return [record] if record is not None else []
    records = (collect.record_of(store, place) for place in store.places())
    found = [record for record in records if record is not None and means(record, spec)]
    return sorted(found, key=lambda record: -record.created)[:MOST]


def means(record: Attachment, spec: str) -> bool:
    """Whether a text names this attachment."""
    if spec in (record.pod, record.pod.partition("/")[2]):
        return True
    return len(spec) >= LEAST_OF_AN_ID and record.container.startswith(spec)


def only_one(spec: str, records: Sequence[Attachment]) -> None:
    """Several attachments of one pod are its earlier lives; those of several pods are ambiguous.

    Raises:
        BadConfig: which pods are meant.
    """
    pods = dict.fromkeys(record.pod or record.container for record in records)
    if len(pods) > 1:
        which = printable(", ".join(pods), 300)
        raise BadConfig(
            f"{spec} means {len(pods)} pods of this node: {which}",
            hint="name it by namespace/name, or by its address",
        )


def told(record: Attachment) -> Found:
    """As it is answered."""
    return Found(
        pod=record.pod[:600],
        container=record.container[:128],
        addresses=list(record.addresses[:8]),
    )


def way_in(record: Attachment) -> str:
    """A path that leads into the pod's network namespace; "" where there is none any more."""
    there = inode_at(record.netns)
    if there and (not record.netns_inode or there == record.netns_inode):
        return way_to(record.netns)
    return ways_in().get(record.netns_inode, "") if record.netns_inode else ""
