"""What etcd means here: the network config, and leases that are claimed, kept, released and watched.

Nothing but leases is ever written under P/subnets; the history of use lives under P/overlay/used.
"""

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence

from agent import etcd, survey, twins
from agent.byhand import ByHand, emptied
from agent.claim import Ask, Identity, Tunnel, Tunnels
from agent.claimant import Claimant
from agent.etcd import Credentials, Etcd, members
from agent.events import Event, Snapshot
from agent.following import Beside, Following, Seen, decoded
from agent.ownrecord import OwnRecord
from agent.records import Claimed, Keys
from agent.retry import Pauses
from overlay import netconfig, schema
from overlay.errors import LeaseLost, OverlayError
from overlay.model import Address, Lease, Network, Subnet

__all__ = ["Claimed", "Identity", "Registry", "Seen", "Tunnel"]


class Registry:
    """Everything under one prefix. Thread-safe as far as Etcd is."""

    def __init__(
        self,
        store: Etcd,
        prefix: str,
        *,
        rng: random.Random | None = None,
        pauses: Pauses | None = None,
        answer_s: float = twins.ANSWER_WITHIN_S,
    ) -> None:
        self.prefix = prefix
        self._etcd = store
        self.keys = Keys(prefix)
        self._start, self._end = self.keys.start, self.keys.end
        self._rng = rng or random.Random()
        self._closing = threading.Event()
        self._following = Following(store, self.keys, closing=self._closing, pauses=pauses)
        self._own = OwnRecord(store, self.keys)
        self._wrote: Lease | None = None
        self._drained: tuple[Lease, ...] = ()
        self._asking = twins.Twins(
            store, self.keys, rng=self._rng, closing=self._closing, within_s=answer_s
        )
        self.by_hand = ByHand(store, self.keys, self._asking)

    def close(self) -> None:
        """End the watch and all calls."""
        self._closing.set()
        self._following.hurry()
        self._own.close()
        self._etcd.close()

    def reconnect(self) -> None:
        """Our address is another one: connections from the old one hang until TCP gives them up."""
        self._etcd.reconnect()
        self._following.hurry()

    def redial(
        self, endpoints: Sequence[str], credentials: Credentials, *, timeout_s: float
    ) -> None:
        """Another way to the same etcd; raises BadConfig, and then nothing has changed."""
        self._etcd.redial(endpoints, credentials, timeout_s=timeout_s)
        self._following.hurry()

    def certificates(self) -> bool:
        """Look at the certificates' files now; True if a new set was taken; raises BadConfig."""
        return self._etcd.certificates()

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
        return decoded(self._etcd.range(self._start, self._end), self._start)

    def claim(
        self,
        identity: Identity,
        network: Network,
        tunnels: Tunnels,
        *,
        prefer: Sequence[Subnet] = (),
        want: Sequence[Subnet] = (),
        insist: bool = False,
        pods: Sequence[Address] = (),
        at_home: bool = False,
        ttl_s: int,
    ) -> Claimed:
        """Hold a lease: the one this machine has, or a new one.

        ``want`` is the operator's setting: exactly these, at most one per family. With ``insist`` pods have
        addresses of ``prefer``: no other subnet, whatever is wanted. ``pods`` are the addresses that are in use.
        ``at_home``: this machine wrote its state directory itself, so that no other one is like it.

        Raises:
            LeaseLost: another node has what we insist on.
            BadConfig: another living machine is this one by machine id or address; or somebody has what is
                wanted, or it is not of the network.
            OutOfSubnets, StoreUnavailable.
        """
        claimant = Claimant(
            self._etcd,
            self.keys,
            self._asking,
            rng=self._rng,
            closing=self._closing,
            wrote=self._wrote,
            drained=self._drained,
            release=self.release,
        )
        ask = Ask(
            *(identity, network, tunnels, ttl_s, tuple(prefer), tuple(want), insist, tuple(pods)),
            at_home=at_home,
        )
        claimed = claimant.claim(ask)
        self._wrote, self._drained = claimed.lease, claimed.draining
        self._own.claimed_anew()
        self._following.answered()  # where one of two was answered, the other will be
        return claimed

    def own_record_changed(self, claimed: Claimed, lease: Lease | None) -> Claimed:
        """What we hold, after the watch showed our record as ``lease`` (None: unreadable); see agent/ownrecord.

        Raises:
            LeaseLost: another machine has it, or it has expired.
            StoreUnavailable: etcd does not answer.
        """
        after = self._own.changed(claimed, lease)
        self._wrote = after.lease
        return after

    def note_freed(self, key: str, revision: int) -> None:
        """Note that the subnets of a key ended at ``revision``; not if their mark is as young. Best effort."""
        for write in survey.marks(self.keys, "expired", key, None):
            mark = write.request_put.key.decode()
            with contextlib.suppress(OverlayError):
                self._etcd.txn([etcd.unchanged_since(mark, "", revision - 1)], [write])

    def keep(self, lease: Lease, *, look: bool = False) -> float:
        """Renew without a new revision; the TTL in seconds, 0 for a reservation, which needs none.

        ``look`` also whether the key is there, which an etcd lease says nothing about.

        Raises:
            LeaseLost: it has expired or was revoked, or the key is gone.
        """
        if look and not self._etcd.range(self._start + lease.key).records:
            raise LeaseLost(f"the key {lease.key} was deleted while it was taken up")
        return float(self._etcd.keepalive(lease.etcd_lease)) if lease.etcd_lease else 0.0

    def ttl_s(self, lease: Lease) -> float:
        """Seconds until it ends unless renewed."""
        return float(max(0, self._etcd.time_to_live(lease.etcd_lease)))

    def release(self, lease: Lease) -> None:
        """Give a lease back: its key goes at once, if it is still ours.

        A reservation stays, as it was before it was taken up: it names this node, and leads nowhere.
        """
        key = self._start + lease.key
        then = [etcd.deleting(key)]
        if not lease.etcd_lease:
            then = [etcd.putting(key, schema.format_lease(emptied(lease)))]
        self._etcd.txn(
            [etcd.modified_at(key, lease.mod_revision)],
            [*then, *survey.marks(self.keys, "released", lease.key, lease)],
        )
        if lease.etcd_lease:
            self._etcd.revoke(lease.etcd_lease)

    # --- the store itself -----------------------------------------------------------------------------

    def member(self, with_quota: bool) -> tuple[members.Status, int | None]:
        """How the member is that calls go to now, for agent.storehealth."""
        endpoint = self._etcd.endpoint
        found = members.status(self._etcd, endpoint)
        return found, members.quota(self._etcd, endpoint) if with_quota else None

    # --- the watch ----------------------------------------------------------------------------------------

    def watch(
        self,
        *,
        on_lost: Callable[[str], None],
        on_back: Callable[[], None],
        seen: Seen | None = None,
    ) -> Iterator[Event]:
        """A Snapshot, then every change after it, without loss, until closed; outages are waited out.

        ``seen`` is what the caller's last-good copy comes from: if etcd has lost that history, the first
        Snapshot says so.
        """
        return self._following.events(on_lost=on_lost, on_back=on_back, seen=seen)

    def listen(self, beside: Beside) -> None:
        """To one more range on the same stream; call it before ``watch``."""
        self._following.beside = beside

    def answer(self, key: str, value: bytes, lease: int) -> None:
        """Write what somebody asked for, to go with his etcd lease; raises LeaseLost if that has ended."""
        self._etcd.put(key, value, lease=lease)

    @property
    def seen(self) -> Seen | None:
        """What we know of etcd: to be kept with a copy of the records. None before the first list."""
        return self._following.seen

    @property
    def heard_at(self) -> float | None:
        """When the watch last had a sign of life, by time.monotonic(); at most some 20 s ago if all is well."""
        return self._following.heard_at

    @property
    def store_revision(self) -> int:
        """The store's highest revision that the watch has heard of, 0 before the first list."""
        seen = self._following.seen
        return seen.revision if seen else 0

    # --- inside ---------------------------------------------------------------------------------------
