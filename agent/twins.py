"""Two machines with one machine id, or one address under two machine ids: is the other one alive?

The record cannot say: a node that was moved to another address, or installed anew, looks the same as a
clone. So the holder is asked. The claimant writes the record again with one field more, ``Challenge``;
peers see equal content, and nothing moves. A living agent takes the field away at once
(agent/ownrecord). No answer in three seconds: the holder is dead, and the claimant takes its place.

Three seconds are right for the machine itself that comes back, and for its successor under the same name. A
holder of another name is another machine, and pods may live on it while its agent is started anew or looks
for another member of etcd: it has a minute. So has one at another address, unless this machine wrote its state
directory itself: a cloned disk has the name, the machine id and the state, but other network cards. Only time in
which etcd answered us counts: while it does not, nobody can be heard; and once it answers again, whoever is
asked has to find his way back to it, as we had.

Several machines may have got each other's addresses (DHCP gave them out anew). Then each asks another one, and no
record is right: whoever is asked while it claims says in its own record where it is now, in the form of a question.
"""

import enum
import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from agent import etcd
from agent.claim import Ask, Identity, Tunnels
from agent.etcd import Etcd
from agent.records import Keys, parse_record
from overlay import schema
from overlay.errors import BadConfig, BadRecord, StoreUnavailable
from overlay.model import Lease

ANSWER_WITHIN_S = 3.0
PATIENCE = 20
"""So many times longer what may be another machine is given; never more than a quarter of its TTL, see `Twins`."""
LOOK_EVERY_S = 0.1
SLOW_S = 1.0
"""A look that takes longer is no part of the waiting: etcd stood still, or this machine did."""
RECOVERY_S = 15.0
"""So long the waiting lasts after that at least, but never longer than as a whole. The holder's own call ends 5 s
after etcd fell silent, and is made again after a pause that grows from 1 s on (agent/retry)."""
_MOST_NAME = 100  # the whole text is one field of the record, and those are bounded


class Answer(enum.Enum):
    """What a challenge showed."""

    ALIVE = "alive"
    SILENT = "silent"
    GONE = "gone"
    MOVED = "moved"


def doubtful(found: Lease, identity: Identity, tunnels: Tunnels) -> bool:
    """True if a record that is ours by machine id or by address may as well be a living other machine's.

    Records without a machine id are flannel's or reservations: taken up without a question.
    """
    if not found.machine_id:
        return False
    if found.machine_id != identity.machine_id:
        return True
    return _elsewhere(found, tunnels) or bool(found.node and found.node != identity.node)


def may_be_another(found: Lease, ask: Ask) -> bool:
    """True if the holder is, or may be, another machine, which may be cut off: it is given time."""
    if found.node and found.node != ask.identity.node:
        return True
    return _elsewhere(found, ask.tunnels) and not ask.at_home


def _elsewhere(found: Lease, tunnels: Tunnels) -> bool:
    return any(
        end.underlay and end.family in tunnels and end.underlay != tunnels[end.family].underlay
        for end in found.endpoints
    )


def question(node: str, addresses: str, rng: random.Random) -> str:
    """The text of a challenge: who asks, from where, and a number that no other question has."""
    return f"{node[:_MOST_NAME]}/{addresses[:_MOST_NAME]}/{rng.getrandbits(64):016x}"


def has_moved(now: Lease, tunnels: Tunnels) -> bool:
    """True if a record's owner says in it that it is no more where we would be; our own question never says that."""
    if now.challenge.count("/") < 2:
        return False
    node, addresses, _ = now.challenge.rsplit("/", 2)
    shared = {str(tunnel.underlay) for tunnel in tunnels.values()} & {
        str(end.underlay) for end in now.endpoints
    }
    return node == now.node[:_MOST_NAME] and shared.isdisjoint(addresses.split(", "))


def read_answer(asked: Lease, now: Lease | None) -> Answer:
    """What the record as it stands ``now`` says about the holder of the record that was ``asked``.

    Another challenge over ours is no answer: only the holder takes the field away.
    """
    if now is None:
        return Answer.GONE
    if now.mod_revision == asked.mod_revision or now.challenge:
        return Answer.SILENT
    return Answer.ALIVE


def refusal(found: Lease, identity: Identity, tunnels: Tunnels) -> BadConfig:
    """Two nodes, both alive: what they share, who they are, and the command that mends it."""
    ours = ", ".join(str(tunnel.underlay) for tunnel in tunnels.values())
    cloned = found.machine_id == identity.machine_id
    what = f"the machine id {found.machine_id}" if cloned else f"the address {ours}"
    hint = (
        "on the copied machine: rm -r /etc/machine-id /var/lib/overlay; systemd-machine-id-setup; "
        "systemctl restart overlay-agent"
        if cloned
        else "give each node an address of its own (look: ip address), or name it: public_ip = ... in agent.toml"
    )
    return BadConfig(
        f"this node ({identity.node}, address {ours}, machine {identity.machine_id}) and {describe(found)}, which "
        f"is alive, share {what}; lease {found.key} stays with {found.node or 'that one'}",
        hint=hint,
    )


def describe(lease: Lease) -> str:
    """Who a record belongs to: name, address, machine id."""
    addresses = ", ".join(str(end.underlay) for end in lease.endpoints if end.underlay)
    facts = [f"address {addresses}" if addresses else ""]
    facts.append(f"machine {lease.machine_id}" if lease.machine_id else "")
    known = ", ".join(fact for fact in facts if fact)
    return (lease.node or "a node without a name") + (f" ({known})" if known else "")


def still_to_wait(left_s: float, took_s: float, within_s: float) -> float:
    """What is left of the waiting after a look that took so long."""
    if took_s > SLOW_S:
        return max(left_s, min(within_s, RECOVERY_S))
    return left_s - took_s


class Twins:
    """The two steps with etcd. ``closing`` ends the waiting."""

    def __init__(
        self,
        store: Etcd,
        keys: Keys,
        *,
        rng: random.Random,
        closing: threading.Event,
        within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self._etcd = store
        self._start = keys.start
        self._rng = rng
        self._closing = closing
        self._within_s = within_s

    def ask(
        self,
        found: Lease,
        *,
        node: str,
        addresses: str,
        patiently: bool = False,
        moved: Callable[[Lease], bool] = lambda _: False,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> tuple[Answer, Lease]:
        """Is the holder of ``found`` alive? Also the record as this left it.

        ``patiently`` where it may be another machine: nobody may take a subnet from a node that is only cut off.
        ``moved``: does the record as it is now say that its owner has gone elsewhere?

        Raises:
            StoreUnavailable: the record changed under the question, or etcd does not answer.
        """
        asked = self._challenge(found, question(node, addresses, self._rng))
        within_s = self._patience_s(found) if patiently else self._within_s
        left_s, since = within_s, time.monotonic()
        answer, now = Answer.SILENT, asked
        while answer is Answer.SILENT and left_s > 0:
            if self._closing.wait(LOOK_EVERY_S):
                raise StoreUnavailable("stopping")
            answer, now = self._look(asked)
            if answer is Answer.SILENT and moved(now):
                return Answer.MOVED, now
            meanwhile()
            before, since = since, time.monotonic()
            left_s = still_to_wait(left_s, since - before, within_s)
        if answer is Answer.SILENT and now.mod_revision != asked.mod_revision:
            raise StoreUnavailable(f"lease {found.key} is asked for by another node, too")
        return answer, now

    def say_where(self, ours: Lease, *, node: str, addresses: str) -> None:
        """If somebody asks in our record whether we live: where we are now. Who asks again hears it again."""
        now = self.read(ours)
        if now is None or not now.challenge or now.machine_id != ours.machine_id:
            return
        if now.challenge.rsplit("/", 2)[0] == node[:_MOST_NAME]:
            return
        said = replace(now, challenge=question(node, addresses, self._rng))
        key = self._start + ours.key
        self._etcd.txn(
            [etcd.modified_at(key, now.mod_revision)],
            [etcd.putting(key, schema.format_lease(said), lease=now.etcd_lease)],
        )

    def read(self, ours: Lease) -> Lease | None:
        """A record as it stands; None if it is gone or cannot be read."""
        records = self._etcd.range(self._start + ours.key).records
        try:
            return parse_record(records[0], self._start) if records else None
        except BadRecord:
            return None

    def _patience_s(self, found: Lease) -> float:
        """Long enough for a restart and for another connection, and well within the holder's TTL."""
        granted = self._etcd.term(found.etcd_lease)[1] if found.etcd_lease else 0
        longest = PATIENCE * self._within_s
        return max(self._within_s, min(longest, granted / 4 if granted else longest))

    def _challenge(self, found: Lease, text: str) -> Lease:
        asked = replace(found, challenge=text)
        key = self._start + found.key
        outcome = self._etcd.txn(
            [etcd.modified_at(key, found.mod_revision)],
            [etcd.putting(key, schema.format_lease(asked), lease=found.etcd_lease)],
        )
        if not outcome.succeeded:
            raise StoreUnavailable(
                f"lease {found.key} changed while it was looked at; trying again"
            )
        return replace(asked, mod_revision=outcome.revision)

    def _look(self, asked: Lease) -> tuple[Answer, Lease]:
        records = self._etcd.range(self._start + asked.key).records
        try:
            now = parse_record(records[0], self._start) if records else None
        except BadRecord as error:
            raise StoreUnavailable(f"lease {asked.key} cannot be read any more: {error}") from error
        return read_answer(asked, now), now or asked
