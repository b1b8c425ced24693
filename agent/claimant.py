"""Winning a lease: one transaction decides, a racer that lost learns only the news.

Never two owners. The transaction compares the *whole* range of leases with the revision at which it was
listed, so every overlap, of any length and family, is seen. flanneld writes without such a compare: what
it writes over our range later has the higher create revision, and of two overlapping records the older
stands. So a node that finds an older record over its own gives way and claims anew.
"""

import contextlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

import tenacity

from agent import claim, etcd
from agent.claim import Identity, Tunnels
from agent.etcd import Etcd, Listing, Record
from overlay import schema
from overlay.errors import BadRecord, LeaseLost, Retryable, StoreUnavailable
from overlay.model import Lease, Network, Subnet

CLAIM_MOST_S = 60.0


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


@dataclass(frozen=True, slots=True)
class Claimed:
    """A lease that is held. ``how`` is kept (nothing written), rewritten, or new."""

    lease: Lease
    how: str


class _LostRace(Retryable):
    """Another claim came first; ``news`` is what changed since our list."""

    def __init__(self, news: Listing) -> None:
        super().__init__("another node claimed at the same moment")
        self.news = news


def parse_record(record: Record, start: str) -> Lease:
    """A record as a lease; raises BadRecord."""
    return schema.parse_lease(
        record.key.removeprefix(start),
        record.value,
        etcd_lease=record.lease,
        create_revision=record.create_revision,
        mod_revision=record.mod_revision,
    )


class Claimant:
    """One node's attempt. ``closing`` ends its waiting."""

    def __init__(
        self, store: Etcd, keys: Keys, *, rng: random.Random, closing: threading.Event
    ) -> None:
        self._etcd = store
        self._start, self._end, self._used = keys.start, keys.end, keys.used
        self._rng = rng
        self._closing = closing

    def claim(
        self,
        identity: Identity,
        network: Network,
        tunnels: Tunnels,
        *,
        prefer: Sequence[Subnet],
        insist: bool,
        ttl_s: int,
    ) -> Claimed:
        """Hold the lease this machine has, or a new one; see Registry.claim."""
        listing = self._etcd.range(self._start, self._end)
        found = claim.mine(self._related(listing, identity, tunnels), identity, tunnels)
        if (
            found is not None
            and claim.serves(network, found)
            and not self._older_over(listing, found)
        ):
            return self._hold(found, identity, network, tunnels, ttl_s=ttl_s)
        if insist:
            self._refuse_another(listing, prefer)
        grant = self._etcd.grant(ttl_s)
        try:
            lease = self._claim_new(
                listing, found, identity, network, tunnels, prefer=prefer, grant=grant
            )
        except BaseException:
            self._etcd.revoke(grant)
            raise
        return Claimed(lease, "new")

    def _refuse_another(self, listing: Listing, prefer: Sequence[Subnet]) -> None:
        """Pods have addresses of ``prefer``: taking another subnet would cut them off."""
        for record in listing.records:
            if _overlaps(prefer, _subnets(record, self._start)):
                key = record.key.removeprefix(self._start)
                raise LeaseLost(
                    f"the pods of this node have addresses of {', '.join(map(str, prefer))}, which is now "
                    f"leased as {key} to somebody else; they keep running, new ones are refused",
                    hint="overlayctl leases shows by whom; free it there, or drain this node",
                )

    def _related(self, listing: Listing, identity: Identity, tunnels: Tunnels) -> list[Lease]:
        """The readable records that mention us at all; the others are not worth their parsing."""
        words = [
            identity.machine_id,
            identity.node,
            *(str(tunnel.underlay) for tunnel in tunnels.values()),
        ]
        marks = [word.encode() for word in words if word]
        hits = [record for record in listing.records if any(mark in record.value for mark in marks)]
        found = []
        for record in hits:
            with contextlib.suppress(BadRecord):
                found.append(parse_record(record, self._start))
        return found

    def _older_over(self, listing: Listing, mine: Lease) -> bool:
        older = [
            subnet
            for record in listing.records
            if record.create_revision < mine.create_revision
            for subnet in _subnets(record, self._start)
        ]
        return _overlaps([end.subnet for end in mine.endpoints], older)

    def _hold(
        self, found: Lease, identity: Identity, network: Network, tunnels: Tunnels, *, ttl_s: int
    ) -> Claimed:
        """Keep the record we have: nothing is written if it is right and its etcd lease lives."""
        subnets = [end.subnet for end in found.endpoints]
        wanted = claim.record(subnets, network, identity, tunnels, key=found.key)
        alive = found.etcd_lease == 0 or self._renewed(found)
        if alive and wanted.content() == found.content():
            return Claimed(found, "kept")
        grant = found.etcd_lease if alive else self._etcd.grant(ttl_s)
        key = self._start + found.key
        outcome = self._etcd.txn(
            [etcd.modified_at(key, found.mod_revision)],
            [etcd.putting(key, schema.format_lease(wanted), lease=grant)],
        )
        if not outcome.succeeded:
            raise StoreUnavailable(f"lease {found.key} changed while it was taken up; trying again")
        return Claimed(
            replace(
                wanted,
                etcd_lease=grant,
                create_revision=found.create_revision,
                mod_revision=outcome.revision,
            ),
            "rewritten",
        )

    def _renewed(self, found: Lease) -> bool:
        try:
            self._etcd.keepalive(found.etcd_lease)
        except LeaseLost:
            return False
        return True

    def _claim_new(
        self,
        listing: Listing,
        old: Lease | None,
        identity: Identity,
        network: Network,
        tunnels: Tunnels,
        *,
        prefer: Sequence[Subnet],
        grant: int,
    ) -> Lease:
        known = {record.key: record for record in listing.records}
        revision, used = listing.revision, self._history()
        subnets: tuple[Subnet, ...] = ()
        for attempt in self._attempts():
            with attempt:
                taken = self._taken(known, old)
                if not subnets or _overlaps(
                    subnets, taken
                ):  # else the news does not concern our choice
                    subnets = claim.choose(network, taken, prefer=prefer, used=used, rng=self._rng)
                wanted = claim.record(
                    subnets, network, identity, tunnels, key=schema.format_key(subnets)
                )
                try:
                    return self._put_new(wanted, old, revision=revision, grant=grant)
                except _LostRace as lost:
                    known = {record.key: record for record in lost.news.records}
                    revision = lost.news.revision
                    if _overlaps(subnets, self._taken(known, old)):
                        known = {r.key: r for r in self._etcd.range(self._start, self._end).records}
                    raise
        raise StoreUnavailable("no subnet could be claimed")  # unreachable: tenacity re-raises

    def _put_new(self, wanted: Lease, old: Lease | None, *, revision: int, grant: int) -> Lease:
        key = self._start + wanted.key
        then = [
            etcd.putting(key, schema.format_lease(wanted), lease=grant),
            etcd.putting(self._used + wanted.key, schema.format_lease(wanted)),
        ]
        if (
            old is not None and old.etcd_lease and old.key != wanted.key
        ):  # the config changed: ours moves
            then.append(etcd.deleting(self._start + old.key))
        outcome = self._etcd.txn(
            [etcd.unchanged_since(self._start, self._end, revision)],
            then,
            [etcd.reading(self._start, self._end, modified_after=revision)],
        )
        if not outcome.succeeded:
            raise _LostRace(outcome.listing)
        lease = replace(
            wanted,
            etcd_lease=grant,
            create_revision=outcome.revision,
            mod_revision=outcome.revision,
        )
        return lease

    def _attempts(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_LostRace),
            wait=tenacity.wait_random_exponential(multiplier=0.001, max=0.1),
            stop=tenacity.stop_after_delay(CLAIM_MOST_S),
            sleep=tenacity.sleep_using_event(self._closing),
            reraise=True,
        )

    def _taken(self, known: dict[str, Record], old: Lease | None) -> list[Subnet]:
        """Every subnet a key names, readable value or not; our own old record does not block us."""
        mine = self._start + old.key if old is not None and old.etcd_lease else ""
        return [
            subnet
            for record in known.values()
            if record.key != mine
            for subnet in _subnets(record, self._start)
        ]

    def _history(self) -> dict[Subnet, int]:
        listing = self._etcd.range(self._used, self._used[:-1] + "0")
        return {
            subnet: record.mod_revision
            for record in listing.records
            for subnet in _subnets(record, self._used)
        }


def _subnets(record: Record, prefix: str) -> tuple[Subnet, ...]:
    try:
        return schema.parse_key(record.key.removeprefix(prefix))
    except BadRecord:
        return ()


def _overlaps(some: Sequence[Subnet], others: Sequence[Subnet]) -> bool:
    return any(
        one.version == other.version
        and int(one.network_address) <= int(other.broadcast_address)
        and int(other.network_address) <= int(one.broadcast_address)
        for one in some
        for other in others
    )
