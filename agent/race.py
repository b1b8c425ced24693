"""Winning a new lease: one transaction decides, a racer that lost learns only the news.

Never two owners. The transaction compares every range of keys in which a record that overlaps can stand
(agent/claimranges; with IPv6 that is all of them) with the revision at which they were listed, so every
overlap, of any length and family, is seen, while claims elsewhere do not fail each other.

A new lease costs one range, one grant and one transaction, however many there are: that a subnet picked at
random was never used before is compared in the same transaction, and only where that fails is the
history read. Racers that lose wait a random part of a time that doubles, in units of how long their
attempt took: that is the pace at which the etcd at hand gets through with them. Then they read the news,
which costs etcd less than one more transaction that fails, and try at once.
"""

import contextlib
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import tenacity

from agent import claim, claimranges, etcd, holders, survey
from agent.claim import Ask
from agent.etcd import Etcd, Listing, Record
from agent.records import Keys, Span, named, overlap, parse_record, span_of, subnets_of
from overlay import schema
from overlay.errors import BadRecord, OutOfSubnets, Retryable, StoreUnavailable
from overlay.model import Lease, Subnet

CLAIM_MOST_S = 60.0
PACE_MOST_S = 2.0


class _LostRace(Retryable):
    """Something changed first. ``took_s`` is how long the attempt took."""

    def __init__(self, took_s: float) -> None:
        super().__init__("another node claimed at the same moment")
        self.took_s = took_s


class Race:
    """One claim of one new lease: what is known of the range, and of the history."""

    def __init__(
        self, store: Etcd, keys: Keys, *, rng: random.Random, closing: threading.Event
    ) -> None:
        self._etcd = store
        self._keys = keys
        self._rng = rng
        self._closing = closing
        self._records: dict[str, Record] = {}
        self._spans: dict[str, tuple[Span, ...]] = {}
        """By key. Of this race only: nobody needs them afterwards, and there are thousands."""
        self._revision = 0
        self._used: dict[Subnet, int] | None = None  # None: not read yet
        self._subnets: tuple[Subnet, ...] = ()

    def new(self, listing: Listing, old: Lease | None, ask: Ask, *, grant: int) -> Lease:
        """Claim under the etcd lease ``grant``; ``old`` is this machine's record, which goes away with it.

        Raises:
            OutOfSubnets, LeaseLost, BadConfig: there is none, or the one that must be is taken; by whom.
            StoreUnavailable: etcd does not answer, or too many were faster.
        """
        self._take_in(listing)
        for attempt in self._attempts():
            with attempt:
                if attempt.retry_state.attempt_number > 1 and (done := self._hear_news(ask, grant)):
                    return done
                if not self._subnets:
                    self._refuse_another(ask, old)
                    self._subnets = self._choose(ask, old)
                return self._try(claim.asked(self._subnets, ask), old, ask, grant=grant)
        raise StoreUnavailable("no subnet could be claimed")  # unreachable: tenacity re-raises

    def _attempts(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_LostRace),
            wait=self._pace,
            stop=tenacity.stop_after_delay(CLAIM_MOST_S),
            sleep=tenacity.sleep_using_event(self._closing),
            reraise=True,
        )

    def _pace(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        took_s = error.took_s if isinstance(error, _LostRace) else 0.0
        return self._rng.uniform(0.0, min(PACE_MOST_S, 2 * took_s * 2**state.attempt_number))

    # --- choosing ----------------------------------------------------------------------------------

    def _choose(self, ask: Ask, old: Lease | None) -> tuple[Subnet, ...]:
        prefer = (*ask.want, *ask.prefer)
        try:
            return self._one_each(ask, prefer, self._taken(old))
        except OutOfSubnets:  # what was freed since was no news: look once more
            self._records = {}
            self._take_in(self._etcd.range(self._keys.start, self._keys.end))
        taken = self._taken(old)
        try:
            return self._one_each(ask, prefer, taken)
        except OutOfSubnets as error:
            raise self._out_of_subnets(ask, taken) from error

    def _one_each(
        self, ask: Ask, prefer: Sequence[Subnet], taken: Sequence[Span]
    ) -> tuple[Subnet, ...]:
        return claim.choose(ask.network, taken, prefer=prefer, used=self._used or {}, rng=self._rng)

    def _refuse_another(self, ask: Ask, old: Lease | None) -> None:
        """Exactly one may do: pods have its addresses, or the setting names it. Who has it instead?"""
        must = (*ask.want, *(ask.prefer if ask.insist else ()))
        for record in self._records.values() if must else ():
            key = record.key.removeprefix(self._keys.start)
            if (old is not None and key == old.key) or not overlap(
                must, subnets_of(record, self._keys.start)
            ):
                continue
            facts = survey.facts(self._etcd, self._keys, [record])
            facts = survey.with_ttl(self._etcd, facts, [key])
            for wanted in ask.want:
                if overlap([wanted], subnets_of(record, self._keys.start)):
                    raise holders.not_this_one(wanted, key, facts)
            raise holders.pods_cut_off(ask.prefer, key, facts)

    def _out_of_subnets(self, ask: Ask, taken: Sequence[Span]) -> OutOfSubnets:
        """With the facts, for the first pool that has none."""
        pool = next(pool for pool in ask.network.pools if not claim.has_free(pool, taken))
        facts = survey.facts(self._etcd, self._keys, self._records.values())
        oldest = [lease.key for lease in holders.oldest(pool, facts)]
        return holders.out_of_subnets(pool, survey.with_ttl(self._etcd, facts, oldest))

    # --- what is known -----------------------------------------------------------------------------

    def _take_in(self, news: Listing) -> None:
        self._records.update((record.key, record) for record in news.records)
        self._revision = news.revision

    def _hear_news(self, ask: Ask, grant: int) -> Lease | None:
        """What we knew has aged while we waited. A read costs etcd less than a transaction that fails.

        What hangs on our own grant was written by us, by an attempt whose answer was lost: it is returned.
        """
        keys = self._keys
        reading = etcd.reading(keys.start, keys.end, modified_after=self._revision)
        news = self._etcd.txn([], [reading]).listing
        ours = [record for record in news.records if record.lease == grant]
        if twin := self._written_for_us([it for it in news.records if it not in ours], ask):
            raise twin
        if ours:
            return parse_record(ours[0], keys.start)
        self._take_in(news)
        if any(overlap(self._subnets, subnets_of(it, keys.start)) for it in news.records):
            self._subnets = ()
        return None

    def _written_for_us(self, news: Sequence[Record], ask: Ask) -> StoreUnavailable | None:
        """A twin that claimed since our list: the next attempt asks whether it lives."""
        for record in news:
            with contextlib.suppress(BadRecord):
                lease = parse_record(record, self._keys.start)
                if claim.mine([lease], ask.identity, ask.tunnels) is not None:
                    return StoreUnavailable(
                        f"{lease.key} was written for this machine at the same moment"
                    )
        return None

    def _taken(self, old: Lease | None) -> list[Span]:
        """Every subnet a key names, readable value or not; our own old record does not block us."""
        mine = old.key if old is not None and old.etcd_lease else ""
        cut = len(self._keys.start)
        for key in self._records.keys() - self._spans.keys():
            self._spans[key] = tuple(span_of(subnet) for subnet in named(key[cut:]))
        return [span for key in self._records if key[cut:] != mine for span in self._spans[key]]

    def _history(self) -> dict[Subnet, int]:
        listing = self._etcd.range(self._keys.used, self._keys.used_end)
        return {
            subnet: record.mod_revision
            for record in listing.records
            for subnet in subnets_of(record, self._keys.used)
        }

    # --- the transaction ---------------------------------------------------------------------------

    def _try(self, wanted: Lease, old: Lease | None, ask: Ask, *, grant: int) -> Lease:
        keys, asked_for = self._keys, {*ask.want, *ask.prefer}
        began = time.monotonic()
        where = claimranges.ranges([end.subnet for end in wanted.endpoints])
        compares = [
            etcd.unchanged_since(keys.start + first, keys.start + last, self._revision)
            for first, last in where or ()
        ] or [etcd.unchanged_since(keys.start, keys.end, self._revision)]
        otherwise = []
        if self._used is None:
            for end in wanted.endpoints:
                if end.subnet not in asked_for:  # picked at random: was it ever used?
                    mark = keys.used + schema.format_key([end.subnet])
                    compares.append(etcd.modified_at(mark, 0))
                    otherwise.append(etcd.reading(mark, ""))
        then = [
            etcd.reading(keys.start, keys.end, modified_after=self._revision),
            etcd.putting(keys.start + wanted.key, schema.format_lease(wanted), lease=grant),
            *survey.marks(keys, "claimed", wanted.key, wanted),
        ]
        if old is not None and old.etcd_lease and old.key != wanted.key:  # ours moves
            then.append(etcd.deleting(keys.start + old.key))
        outcome = self._etcd.txn(compares, then, otherwise)
        if outcome.succeeded:
            if twin := self._written_for_us(outcome.listing.records, ask):
                self._etcd.revoke(grant)  # what was put goes with it
                raise twin
            return replace(
                wanted,
                etcd_lease=grant,
                create_revision=outcome.revision,
                mod_revision=outcome.revision,
            )
        if outcome.listing.records:  # it was used before: choose anew, by the whole history
            self._used, self._subnets = self._history(), ()
        raise _LostRace(time.monotonic() - began)
