"""Where things are in etcd under one prefix, and which subnets a key or a record names. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from agent.etcd import Record
from agent.uncollected import uncollected
from overlay import schema
from overlay.errors import BadRecord
from overlay.model import Lease, Subnet

Span = tuple[int, int, int]
"""A subnet in the shape that is fast to compare: IP version, first and last address."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Where things are under one prefix. Nothing but leases is ever written under ``start``."""

    prefix: str

    @property
    def start(self) -> str:
        """The first possible lease key; a lease's key follows it."""
        return f"{self.prefix}/subnets/"

    @property
    def end(self) -> str:
        """Just behind the last possible lease key."""
        return f"{self.prefix}/subnets0"

    @property
    def used(self) -> str:
        """History of use, one key per subnet that was ever leased."""
        return f"{self.prefix}/overlay/used/"

    @property
    def used_end(self) -> str:
        """Just behind the history."""
        return f"{self.prefix}/overlay/used0"


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lease that is held. ``how`` is kept (nothing written), rewritten, or new.

    ``draining`` are older ones of ours that are kept for the pods in them (agent/draining).
    """

    lease: Lease
    how: str
    draining: tuple[Lease, ...] = ()


def parse_record(record: Record, start: str) -> Lease:
    """A record as a lease; raises BadRecord."""
    return schema.parse_lease(
        record.key.removeprefix(start),
        record.value,
        etcd_lease=record.lease,
        create_revision=record.create_revision,
        mod_revision=record.mod_revision,
    )


@uncollected()
def parse_records(records: Iterable[Record], start: str) -> tuple[dict[str, Lease], dict[str, str]]:
    """(leases, unreadable): by key, and for those that cannot be read the reason."""
    leases: dict[str, Lease] = {}
    unreadable: dict[str, str] = {}
    for record in records:
        key = record.key.removeprefix(start)
        try:
            leases[key] = parse_record(record, start)
        except BadRecord as error:
            unreadable[key] = str(error)
    return leases, unreadable


def subnets_of(record: Record, start: str) -> tuple[Subnet, ...]:
    """What a record's key names; nothing if it is no key of the schema."""
    return named(record.key.removeprefix(start))


def named(key: str) -> tuple[Subnet, ...]:
    """What a key names; nothing if it is no key of the schema."""
    try:
        return schema.parse_key(key)
    except BadRecord:
        return ()


def span_of(subnet: Subnet) -> Span:
    """A subnet as numbers.

    Not by its ``broadcast_address``: that is kept in the subnet ever after, 400 bytes in each of thousands.
    """
    first = int(subnet.network_address)
    return subnet.version, first, first + (1 << (subnet.max_prefixlen - subnet.prefixlen)) - 1


def overlap(some: Sequence[Subnet], others: Sequence[Subnet]) -> bool:
    """True if any of the ones shares an address with any of the others."""
    ours = [span_of(one) for one in some]
    return any(
        version == its_version and first <= its_last and its_first <= last
        for its_version, its_first, its_last in map(span_of, others)
        for version, first, last in ours
    )
