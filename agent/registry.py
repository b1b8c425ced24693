"""What etcd means here: the network config, and leases that are claimed, kept, released and watched.

Never two owners. A claim is one transaction that compares the *whole* range of leases with the revision
at which it was listed; a racer that lost learns only the news, and chooses again if that concerns its
choice. flanneld writes without such a compare: what it writes over our range later has the higher create
revision, and of two overlapping records the older stands. So a node that finds an older record over its
own gives way and claims anew.

Nothing but leases is ever written under P/subnets; the history of use lives under P/overlay/used.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import tenacity

from agent import claim, etcd
from agent.claim import Identity, Tunnel, Tunnels
from agent.etcd import Etcd, Listing, Record
from agent.events import Event, Gone, Put, Snapshot, Unreadable
from overlay import netconfig, schema
from overlay.errors import BadRecord, Compacted, LeaseLost, OverlayError, Retryable, StoreUnavailable
from overlay.model import Lease, Network, Subnet

__all__ = ["Claimed", "Identity", "Registry", "Tunnel"]

CLAIM_MOST_S = 60.0
WATCH_RETRY_MOST_S = 5.0


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


class Registry:
    """Everything under one prefix. Thread-safe as far as Etcd is."""

    def __init__(self, store: Etcd, prefix: str, *, rng: random.Random | None = None) -> None:
        self.prefix = prefix
        self._etcd = store
        self._start, self._end = f"{prefix}/subnets/", f"{prefix}/subnets0"
        self._used = f"{prefix}/overlay/used/"
        self._rng = rng or random.Random()  # noqa: S311 - spread, not secret
        self._closing = threading.Event()

    def close(self) -> None:
        """End the watch and all calls."""
        self._closing.set()
        self._etcd.close()

    # --- the network config -------------------------------------------------------------------------

    def raw_network(self) -> bytes | None:
        """P/config as it stands, or None."""
        records = self._etcd.range(f"{self.prefix}/config").records
        return records[0].value if records else None

    def network(self) -> Network | None:
        """P/config, checked; None if there is none. Raises BadConfig for a bad one."""
        raw = self.raw_network()
        return None if raw is None else netconfig.parse_network(raw)

    def write_network(self, text: bytes) -> None:
        """Put P/config."""
        self._etcd.put(f"{self.prefix}/config", text)

    # --- leases ----------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All leases at one revision."""
        return self._snapshot(self._etcd.range(self._start, self._end))

    def claim(
        self,
        identity: Identity,
        network: Network,
        tunnels: Tunnels,
        *,
        prefer: Sequence[Subnet] = (),
        ttl_s: int,
    ) -> Claimed:
        """Hold a lease: the one this machine has, or a new one.

        Raises:
            OutOfSubnets, BadConfig (our address is leased by another machine), StoreUnavailable.
        """
        listing = self._etcd.range(self._start, self._end)
        found = claim.mine(self._related(listing, identity, tunnels), identity, tunnels)
        if found is not None and claim.serves(network, found) and not self._older_over(listing, found):
            return self._hold(found, identity, network, tunnels, ttl_s=ttl_s)
        grant = self._etcd.grant(ttl_s)
        try:
            lease = self._claim_new(listing, found, identity, network, tunnels, prefer=prefer, grant=grant)
        except BaseException:
            self._etcd.revoke(grant)
            raise
        return Claimed(lease, "new")

    def keep(self, lease: Lease) -> float:
        """Renew without a new revision; the TTL in seconds, 0 for a reservation, which needs none.

        Raises:
            LeaseLost: it has expired or was revoked.
        """
        return float(self._etcd.keepalive(lease.etcd_lease)) if lease.etcd_lease else 0.0

    def ttl_s(self, lease: Lease) -> float:
        """Seconds until it ends unless renewed."""
        return float(max(0, self._etcd.time_to_live(lease.etcd_lease)))

    def release(self, lease: Lease) -> None:
        """Give a lease back: its key goes at once, if it is still ours. A reservation is emptied by nobody."""
        if not lease.etcd_lease:
            return
        key = self._start + lease.key
        self._etcd.txn(
            [etcd.modified_at(key, lease.mod_revision)],
            [etcd.deleting(key), *self._marks(lease)],
        )
        self._etcd.revoke(lease.etcd_lease)

    # --- the watch ----------------------------------------------------------------------------------------

    def watch(
        self, *, on_lost: Callable[[str], None], on_back: Callable[[], None]
    ) -> Iterator[Event]:
        """A Snapshot, then every change after it, without loss, until closed; outages are waited out.

        After an outage it goes on from the last revision; only where that was compacted, or etcd came back
        with an older history, is a new Snapshot taken.
        """
        revision, pause, away = 0, 0.2, False
        while not self._closing.is_set():
            try:
                if not revision:
                    snapshot = self.snapshot()
                    revision = snapshot.revision
                    yield snapshot
                for event, reached in self._stream(revision + 1):
                    if away:
                        away = False
                        on_back()
                    pause, revision = 0.2, max(revision, reached)
                    if event is not None:
                        yield event
            except Compacted:
                revision = 0
            except OverlayError as error:
                if self._closing.is_set():
                    return
                if not away:
                    away = True
                    on_lost(str(error))
                self._closing.wait(pause * self._rng.uniform(0.5, 1.0))
                pause = min(pause * 2, WATCH_RETRY_MOST_S)

    def _stream(self, revision: int) -> Iterator[tuple[Event | None, int]]:
        for changes, reached in self._etcd.watch(self._start, self._end, revision=revision):
            if reached < revision - 1:
                raise Compacted(f"etcd went back to revision {reached}", revision=reached)
            for change in changes:
                yield self._event(change), change.revision
            if not changes:
                yield None, 0

    def _event(self, change: etcd.Change) -> Event:
        key = change.key.removeprefix(self._start)
        if change.record is None:
            return Gone(key, change.revision)
        try:
            return Put(_lease(key, change.record))
        except BadRecord as error:
            return Unreadable(key, str(error))

    # --- inside ---------------------------------------------------------------------------------------

    def _snapshot(self, listing: Listing) -> Snapshot:
        leases: dict[str, Lease] = {}
        unreadable: dict[str, str] = {}
        for record in listing.records:
            key = record.key.removeprefix(self._start)
            try:
                leases[key] = _lease(key, record)
            except BadRecord as error:
                unreadable[key] = str(error)
        return Snapshot(leases, unreadable, listing.revision)

    def _related(self, listing: Listing, identity: Identity, tunnels: Tunnels) -> list[Lease]:
        """The readable records that mention us at all; the others are not worth their parsing."""
        words = [identity.machine_id, identity.node, *(str(tunnel.underlay) for tunnel in tunnels.values())]
        marks = [word.encode() for word in words if word]
        hits = [record for record in listing.records if any(mark in record.value for mark in marks)]
        return list(self._snapshot(replace(listing, records=tuple(hits))).leases.values())

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
                if not subnets or _overlaps(subnets, taken):  # else the news does not concern our choice
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
        then = [etcd.putting(key, schema.format_lease(wanted), lease=grant), *self._marks(wanted)]
        if old is not None and old.etcd_lease and old.key != wanted.key:  # the config changed: ours moves
            then.append(etcd.deleting(self._start + old.key))
        outcome = self._etcd.txn(
            [etcd.unchanged_since(self._start, self._end, revision)],
            then,
            [etcd.reading(self._start, self._end, modified_after=revision)],
        )
        if not outcome.succeeded:
            raise _LostRace(outcome.listing)
        lease = replace(
            wanted, etcd_lease=grant, create_revision=outcome.revision, mod_revision=outcome.revision
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

    def _marks(self, lease: Lease) -> list[object]:
        value = schema.format_lease(lease)
        return [etcd.putting(self._used + lease.key, value)]


def _lease(key: str, record: Record) -> Lease:
    return schema.parse_lease(
        key,
        record.value,
        etcd_lease=record.lease,
        create_revision=record.create_revision,
        mod_revision=record.mod_revision,
    )


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
