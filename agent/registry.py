"""What etcd means here: the network config, and leases that are claimed, kept, released and watched.

Nothing but leases is ever written under P/subnets; the history of use lives under P/overlay/used.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from agent import etcd
from agent.claim import Identity, Tunnel, Tunnels
from agent.claimant import Claimant, Claimed, Keys, parse_record
from agent.etcd import Etcd, Listing, members
from agent.events import Event, Gone, Put, Snapshot, Unreadable
from overlay import netconfig, schema
from overlay.errors import BadRecord, Compacted, OverlayError
from overlay.model import Lease, Network, Subnet

__all__ = ["Claimed", "Identity", "Registry", "Tunnel"]

WATCH_RETRY_MOST_S = 5.0


class Registry:
    """Everything under one prefix. Thread-safe as far as Etcd is."""

    def __init__(self, store: Etcd, prefix: str, *, rng: random.Random | None = None) -> None:
        self.prefix = prefix
        self.heard = (0.0, 0)
        """When the watch last had a word from etcd (monotonic, 0: never), and the store's revision then."""
        self._etcd = store
        self.keys = Keys(prefix)
        self._start, self._end = self.keys.start, self.keys.end
        self._rng = rng or random.Random()
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
        insist: bool = False,
        ttl_s: int,
    ) -> Claimed:
        """Hold a lease: the one this machine has, or a new one; with ``insist`` no other than ``prefer``.

        Raises:
            LeaseLost: another node has what we insist on.
            OutOfSubnets, BadConfig (our address is leased by another machine), StoreUnavailable.
        """
        claimant = Claimant(self._etcd, self.keys, rng=self._rng, closing=self._closing)
        return claimant.claim(identity, network, tunnels, prefer=prefer, insist=insist, ttl_s=ttl_s)

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

    # --- the store itself -----------------------------------------------------------------------------

    def member(self, with_quota: bool) -> tuple[members.Status, int | None]:
        """How the member is that calls go to now, for agent.storehealth."""
        endpoint = self._etcd.endpoint
        found = members.status(self._etcd, endpoint)
        return found, members.quota(endpoint, self._etcd.credentials) if with_quota else None

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
            self.heard = (time.monotonic(), reached)
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
            return Put(parse_record(change.record, self._start))
        except BadRecord as error:
            return Unreadable(key, str(error))

    # --- inside ---------------------------------------------------------------------------------------

    def _snapshot(self, listing: Listing) -> Snapshot:
        leases: dict[str, Lease] = {}
        unreadable: dict[str, str] = {}
        for record in listing.records:
            key = record.key.removeprefix(self._start)
            try:
                leases[key] = parse_record(record, self._start)
            except BadRecord as error:
                unreadable[key] = str(error)
        return Snapshot(leases, unreadable, listing.revision)

    def _marks(self, lease: Lease) -> list[object]:
        value = schema.format_lease(lease)
        return [etcd.putting(self.keys.used + lease.key, value)]
