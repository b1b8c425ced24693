"""Holding a lease: the one this machine has, or a new one (agent/race).

flanneld writes without comparing: what it writes over our range has the higher create revision, and of two
overlapping records the older stands. So a node that finds an older record over its own gives way and
claims anew.
"""

import contextlib
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from agent import byhand, claim, etcd, twins
from agent.claim import Ask
from agent.draining import has_pods, must_drain, put_back
from agent.etcd import Etcd, Listing, Record
from agent.race import Race
from agent.records import Claimed, Keys, overlap, parse_record, subnets_of
from agent.twins import Answer, Twins
from overlay import schema
from overlay.errors import BadConfig, BadRecord, LeaseLost, OverlayError, StoreUnavailable
from overlay.model import Family, Lease

log = logging.getLogger(__name__)


class Claimant:
    """One node's attempt.

    ``closing`` ends its waiting, ``wrote`` is the record this process wrote last, and ``drained`` are the old ones that
    it held beside it; ``release`` gives one back.
    """

    def __init__(
        self,
        store: Etcd,
        keys: Keys,
        asking: Twins,
        *,
        rng: random.Random,
        closing: threading.Event,
        wrote: Lease | None,
        drained: Sequence[Lease],
        release: Callable[[Lease], None],
    ) -> None:
        self._etcd = store
        self._keys = keys
        self._start, self._end = keys.start, keys.end
        self._asking = asking
        self._rng = rng
        self._closing = closing
        self._wrote = wrote
        self._drained = drained
        self._release = release

    def claim(self, ask: Ask) -> Claimed:
        """Hold the lease this machine has, or a new one; see Registry.claim."""
        claim.check_wanted(ask.network, ask.want)
        listing = self._etcd.range(self._start, self._end)
        related = self._related(listing.records, ask)
        found = claim.mine(related, ask.identity, ask.tunnels, ask.network)
        seized = False
        if found is not None and twins.doubtful(found, ask.identity, ask.tunnels):
            for rival in claim.rivals(related, ask.identity, ask.tunnels):
                if rival.key != found.key:  # our new address may be somebody else's
                    self._clear(rival, found, ask)
                    found = self._asking.read(found) or found  # asked for, too, by now
            if not self._wrote_last(found):
                found, seized = self._after_asking(found, ask), True
        ask = self._what_pods_allow(found, ask)
        if (
            found is not None
            and claim.serves(ask.network, found)
            and set(ask.want) <= {end.subnet for end in found.endpoints}
            and not self._older_over(listing, found)
        ):
            held = self._hold(found, ask, seized=seized)
            return replace(held, draining=self._old_ones(related, ask, beside=(held.lease.key,)))
        leave = found  # its key goes in the same transaction
        if found is not None and must_drain(found, ask.network, ask.pods):
            log.warning(
                "the network config no longer gives %s: taking another subnet, and keeping that one until its "
                "pods are gone",
                found.key,
            )
            leave = None
        lease = self._win(listing, leave, _taking_along(leave, ask))
        beside = (lease.key, leave.key if leave is not None and leave.etcd_lease else "")
        return Claimed(lease, "new", self._old_ones(related, ask, beside=beside))

    def _win(self, listing: Listing, leave: Lease | None, ask: Ask) -> Lease:
        grant = self._etcd.grant(ask.ttl_s)
        race = Race(self._etcd, self._keys, rng=self._rng, closing=self._closing)
        try:
            return race.new(listing, leave, ask, grant=grant)
        except BaseException:
            self._etcd.revoke(grant)
            raise

    def _old_ones(
        self, related: Sequence[Lease], ask: Ask, *, beside: Sequence[str]
    ) -> tuple[Lease, ...]:
        """This machine's other records: held while pods live in them, given back when none does."""
        kept = []
        for old in related:
            ours = bool(old.machine_id) and old.machine_id == ask.identity.machine_id
            if old.key in beside or not (ours or must_drain(old, ask.network, ask.pods)):
                continue
            try:
                if twins.doubtful(old, ask.identity, ask.tunnels):
                    old = self._after_asking(old, ask)
                if not has_pods(old, ask.pods):
                    self._release(old)
                    log.info("the old subnet %s is given back", old.key)
                elif {end.family for end in old.endpoints} <= ask.tunnels.keys():
                    kept.append(self._hold(old, ask, seized=False).lease)
                else:  # one of its families is gone; the other is served as it stands
                    self._renewed(old)
                    kept.append(old)
            except BadConfig as error:  # a living twin's: none of ours
                log.warning("%s", error)
            except OverlayError as error:
                log.warning("the old subnet %s is looked at again later: %s", old.key, error)
                kept.append(old)
        known = {*beside, *(old.key for old in related)}
        gone = [it for it in self._drained if it.key not in known and has_pods(it, ask.pods)]
        return (*kept, *put_back(self._etcd, self._keys, gone, ask))

    def _related(self, records: Sequence[Record], ask: Ask) -> list[Lease]:
        """The readable records that mention us at all; the others are not worth their parsing."""
        words = [
            ask.identity.machine_id,
            ask.identity.node,
            *(str(tunnel.underlay) for tunnel in ask.tunnels.values()),
        ]
        hits: dict[str, Record] = {}
        for mark in (word.encode() for word in words if word):
            hits.update((record.key, record) for record in records if mark in record.value)
        found = []
        for record in hits.values():
            with contextlib.suppress(BadRecord):
                found.append(parse_record(record, self._start))
        return found

    def _wrote_last(self, found: Lease) -> bool:
        written = self._wrote
        if written is None or written.key != found.key:
            return False
        # Who asks changes nothing else of a record; who takes it brings a lease of its own.
        only_asked = bool(found.challenge) and found.etcd_lease == written.etcd_lease
        asked_for = only_asked and found.content() == written.content()
        return asked_for or found.mod_revision == written.mod_revision

    def _clear(self, rival: Lease, found: Lease, ask: Ask) -> None:
        """See that nobody else is at our address: ``rival``'s machine has gone elsewhere, or is dead.

        Refuses if it lives there.
        """
        answer, now = self._asked(
            rival, ask, found, moved=partial(twins.has_moved, tunnels=ask.tunnels)
        )
        here = bool(claim.rivals([now], ask.identity, ask.tunnels))
        if answer is not Answer.MOVED and (here or answer is not Answer.ALIVE):
            self._bury(self._of_the_dead(rival, ask, answer, now))
        else:
            log.info("%s has another address by now, as we have", twins.describe(rival))

    def _after_asking(self, found: Lease, ask: Ask) -> Lease:
        """The record of a dead holder, as the question left it; refuses if the holder lives."""
        return self._of_the_dead(found, ask, *self._asked(found, ask, found))

    def _asked(
        self,
        whose: Lease,
        ask: Ask,
        found: Lease,
        moved: Callable[[Lease], bool] = lambda _: False,
    ) -> tuple[Answer, Lease]:
        """Is the holder of ``whose`` alive? Who asks the same of us, in ``found``, is answered meanwhile."""
        node, ours = ask.identity.node, ", ".join(str(it.underlay) for it in ask.tunnels.values())
        log.info(
            "lease %s is of %s: asking whether that one lives", whose.key, twins.describe(whose)
        )
        meanwhile = partial(self._asking.say_where, found, node=node, addresses=ours)
        return self._asking.ask(
            whose,
            node=node,
            addresses=ours,
            patiently=twins.may_be_another(whose, ask),
            moved=moved,
            meanwhile=meanwhile if found.machine_id == ask.identity.machine_id else lambda: None,
        )

    @staticmethod
    def _of_the_dead(found: Lease, ask: Ask, answer: Answer, now: Lease) -> Lease:
        if answer is Answer.ALIVE:
            raise twins.refusal(found, ask.identity, ask.tunnels)
        if answer is Answer.GONE:
            raise StoreUnavailable(f"lease {found.key} is gone; trying again")
        log.warning("lease %s of %s: nobody answered, it is dead", found.key, twins.describe(found))
        return now

    def _bury(self, dead: Lease) -> None:
        """Remove a dead machine's record: peers would take it, being older, for the one at our address.

        Its etcd lease ends with it: that machine, should it come back, hears at once that it has to claim.
        """
        outcome = self._etcd.txn(
            [etcd.modified_at(self._start + dead.key, dead.mod_revision)],
            byhand.removing(self._keys, dead),
        )
        if not outcome.succeeded:
            raise StoreUnavailable(f"lease {dead.key} changed while it was removed; trying again")
        if dead.etcd_lease:
            self._etcd.revoke(dead.etcd_lease)

    @staticmethod
    def _what_pods_allow(found: Lease | None, ask: Ask) -> Ask:
        """The setting ``subnet`` moves no node whose pods have addresses of another subnet."""
        has = {end.subnet for end in found.endpoints} if found is not None else set(ask.prefer)
        if not ask.insist or set(ask.want) <= has:
            return ask
        log.warning(
            "subnet = %s is refused while pods are attached: they have addresses of %s, which this node keeps; "
            "next: drain this node and restart overlay-agent",
            ", ".join(map(str, ask.want)),
            ", ".join(map(str, sorted(has, key=str))),
        )
        return replace(ask, want=())

    def _older_over(self, listing: Listing, mine: Lease) -> bool:
        older = [
            subnet
            for record in listing.records
            if record.create_revision < mine.create_revision
            for subnet in subnets_of(record, self._start)
        ]
        return overlap([end.subnet for end in mine.endpoints], older)

    def _hold(self, found: Lease, ask: Ask, *, seized: bool) -> Claimed:
        """Keep the record we have: nothing is written if it is right and its etcd lease lives.

        A record that was another machine's gets an etcd lease of its own: that one's agent, should it
        come back, must not find its renewals working.
        """
        wanted = claim.asked([end.subnet for end in found.endpoints], ask, key=found.key)
        alive = found.etcd_lease == 0 or (not seized and self._renewed(found))
        if alive and wanted.content() == found.content() and not found.challenge:
            return Claimed(found, "kept")
        grant = found.etcd_lease if alive else self._etcd.grant(ask.ttl_s)
        key = self._start + found.key
        outcome = self._etcd.txn(
            [etcd.modified_at(key, found.mod_revision)],
            [etcd.putting(key, schema.format_lease(wanted), lease=grant)],
        )
        if not outcome.succeeded:
            # Done at a member that did not answer in time, and refused at the next: then the record hangs on it.
            if not alive and all(it.lease != grant for it in self._etcd.range(key).records):
                self._etcd.revoke(grant)
            raise StoreUnavailable(f"lease {found.key} changed while it was taken up; trying again")
        if seized and found.etcd_lease:
            self._etcd.revoke(found.etcd_lease)  # its key has moved to ours
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


def _taking_along(leave: Lease | None, ask: Ask) -> Ask:
    """What the record that we give up holds is preferred in a family where nothing else is: pods may have it.

    So a network that gets a second family does not move a node, even one whose state directory is lost.
    """
    known = {Family.of(subnet) for subnet in ask.prefer}
    more = tuple(end.subnet for end in leave.endpoints if end.family not in known) if leave else ()
    return replace(ask, prefer=(*ask.prefer, *more))
