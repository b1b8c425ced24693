"""Reading the last-good copy: what an earlier life of this node left for a start without etcd.

Only our own copy is believed: same machine, same prefix, and at least one endpoint in common. Everything in
it is hostile input; a record that cannot be read is left out, and the rest stands.
"""

import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.moment import Moment, utc
from agent.roll import Kept, Past
from overlay import schema
from overlay.errors import BadRecord
from overlay.model import Lease

log = logging.getLogger(__name__)

FILE_NAME = "last-good.json"
FORMAT = 1
MOST_BYTES = 64 << 20

Row = tuple[str, str, int, int, int]
"""key, value as in etcd, etcd lease, create revision, mod revision."""


class Page(msgspec.Struct, frozen=True):
    """The file. ``renewed`` is (wall, boot clock, boot id) of the last renewal; ``doubt`` says that it was lost."""

    format: int
    machine_id: str
    prefix: str
    endpoints: tuple[str, ...]
    network: str = ""
    own: Row | None = None
    ttl_s: float = 0.0
    renewed: tuple[float, float, str] = (0.0, 0.0, "")
    doubt: str = ""
    cluster: int = 0
    revision: int = 0
    saved: tuple[float, float, str] = (0.0, 0.0, "")
    kept: dict[str, tuple[float, float]] = {}
    leases: tuple[Row, ...] = ()


@dataclass(frozen=True, slots=True)
class Recalled:
    """What can be built upon. ``doubt`` says why no address may be given away, or is empty."""

    network: bytes
    own: Lease
    ttl_s: float
    age_s: float
    doubt: str
    cluster: int
    revision: int
    kept: Kept
    rows: tuple[Row, ...]

    def past(self, *, only_kept: bool = False) -> Past:
        """The readable records, or the orphans alone; some 30 microseconds each."""
        found: dict[str, Lease] = {}
        for row in self.rows:
            with suppress(BadRecord):
                if not only_kept or row[0] in self.kept:
                    found[row[0]] = lease_of(row)
        return Past(found, self.revision, self.kept)

    def others_of(self, machine_id: str) -> list[Lease]:
        """This machine's further records: subnets of an earlier network config, held until their pods are gone."""
        found = []
        for row in self.rows:
            if row[0] != self.own.key and machine_id in row[1]:  # the rest is not worth its parsing
                with suppress(BadRecord):
                    found.append(lease_of(row))
        return [lease for lease in found if lease.machine_id == machine_id]


def header(machine_id: str, prefix: str, endpoints: Sequence[str]) -> Page:
    """An empty page of this node's."""
    return Page(FORMAT, machine_id, prefix, tuple(endpoints))


def row_of(lease: Lease) -> Row:
    """A lease as its record."""
    value = schema.format_lease(lease).decode()
    return (lease.key, value, lease.etcd_lease, lease.create_revision, lease.mod_revision)


def lease_of(row: Row) -> Lease:
    """The reverse; raises BadRecord."""
    key, value, etcd_lease, created, modified = row
    return schema.parse_lease(
        key, value.encode(), etcd_lease=etcd_lease, create_revision=created, mod_revision=modified
    )


def read(state_dir: Path, ours: Page, now: Moment) -> Recalled | None:
    """The copy in ``state_dir``, or None if there is none to build upon. Never raises."""
    path = state_dir / FILE_NAME
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes")
        page = msgspec.json.decode(path.read_bytes(), type=Page)
        own = lease_of(page.own) if page.own else None
        if page.format != FORMAT:
            raise ValueError(f"format {page.format}, we read {FORMAT}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.DecodeError, BadRecord, RecursionError) as error:
        _set_aside(path, str(error))
        return None
    if foreign := _foreign(page, ours):
        _set_aside(path, foreign)
        return None
    if own is None or not page.network:
        return None
    age, doubt = _age(page, now)
    return Recalled(
        network=page.network.encode(),
        own=own,
        ttl_s=page.ttl_s,
        age_s=age,
        doubt=doubt,
        cluster=page.cluster,
        revision=page.revision,
        kept=_still_kept(page, now),
        rows=page.leases,
    )


def _foreign(page: Page, ours: Page) -> str:
    if page.machine_id != ours.machine_id:
        return f"it is of machine {page.machine_id}, this is {ours.machine_id}"
    if page.prefix != ours.prefix:
        return f"it is of the network at {page.prefix}, this is {ours.prefix}"
    if not set(page.endpoints) & set(ours.endpoints):
        return (
            f"it is of the etcd at {', '.join(page.endpoints)}, this is {', '.join(ours.endpoints)}"
        )
    return ""


def _age(page: Page, now: Moment) -> tuple[float, str]:
    """Seconds since the last renewal, and why they cannot be built upon."""
    renewed = Moment(*page.renewed)
    age = renewed.age(now)
    if age is None:
        return page.ttl_s, (
            f"the clock says {utc(now.wall)}, but the lease was last renewed at {utc(renewed.wall)}: nobody can "
            "tell how long ago that is; set the clock, or wait until etcd answers"
        )
    if page.doubt:
        return age, f"when this node last heard of etcd, its lease was lost: {page.doubt}"
    return age, ""


def _still_kept(page: Page, now: Moment) -> Kept:
    passed = Moment(*page.saved).age(now)
    if passed is None:
        passed = 0.0  # rather too long than a healthy peer dropped
    return {key: (lost_at, left - passed) for key, (lost_at, left) in page.kept.items()}


def _set_aside(path: Path, why: str) -> None:
    aside = path.with_suffix(".unreadable")
    log.warning(
        "the last-good copy is not used, a new one is made file=%s kept_as=%s why=%s",
        path,
        aside,
        why,
    )
    with suppress(OSError):
        path.replace(aside)
