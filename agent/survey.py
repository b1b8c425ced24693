"""What etcd knows of who holds what, for people: records, marks of use, seconds left. Asked on errors and by hand."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from agent import etcd, history
from agent.etcd import Etcd, Record
from agent.holders import Facts
from agent.records import Keys, named, parse_records, subnets_of
from overlay import schema
from overlay.model import Lease

AT_ONCE = 8
"""etcd has no call for the terms of many leases; so many are asked at once."""


def facts(store: Etcd, keys: Keys, records: Iterable[Record]) -> Facts:
    """The records read, and every mark of use."""
    leases, unreadable = parse_records(records, keys.start)
    marks = {
        subnet: history.parse_mark(record.value)
        for record in store.range(keys.used, keys.used_end).records
        for subnet in subnets_of(record, keys.used)
    }
    return Facts(leases, unreadable, marks, {}, {})


def with_ttl(store: Etcd, known: Facts, asked: Iterable[str]) -> Facts:
    """The same with the terms of some leases; one call each."""
    keys = [key for key in asked if key in known.leases and known.leases[key].etcd_lease]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        terms = list(pool.map(lambda key: store.term(known.leases[key].etcd_lease), keys))
    living = {key: term for key, term in zip(keys, terms, strict=True) if term[0] >= 0}
    return replace(
        known,
        left_s={**known.left_s, **{key: float(left) for key, (left, _) in living.items()}},
        granted_s={**known.granted_s, **{key: float(ttl) for key, (_, ttl) in living.items()}},
    )


def marks(keys: Keys, what: str, key: str, lease: Lease | None) -> list[Any]:
    """The writes that note the use of every subnet of a key: claimed, released or expired."""
    text = history.format_mark(what, lease, datetime.now(UTC))
    return [etcd.putting(keys.used + schema.format_key([net]), text) for net in named(key)]
