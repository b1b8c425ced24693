"""What an operator does to the records: reserve a subnet, free one, remove a machine that will not come back.

Each write is guarded: by the whole range where a subnet is taken, by the record's own revision where one
is freed. Nothing is ever written under P/subnets but at a lease's key.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from agent import etcd, holders, survey, twins
from agent.etcd import Etcd, Record
from agent.holders import Facts
from agent.records import Keys, overlap, parse_record, parse_records, subnets_of
from agent.twins import Answer, Twins
from overlay import schema
from overlay.errors import BadConfig, BadRecord, NotReady, OverlayError, StoreUnavailable
from overlay.model import Address, Endpoint, Family, Lease, Subnet

TRIES = 20


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom a subnet is reserved; nothing given: for nobody, it is never given out."""

    node: str = ""
    address: Address | None = None


def emptied(lease: Lease) -> Lease:
    """The reservation behind a lease without expiry: it names its node, and no VTEP."""
    ends = tuple(Endpoint(end.subnet) for end in lease.endpoints)
    return replace(lease, endpoints=ends, backend="", version="", challenge="")


def removing(keys: Keys, lease: Lease) -> list[Any]:
    """The writes that take a dead machine's record away; of a reservation only who took it up."""
    key = keys.start + lease.key
    then = etcd.deleting(key)
    if not lease.etcd_lease:
        then = etcd.putting(key, schema.format_lease(replace(emptied(lease), machine_id="")))
    return [then, *survey.marks(keys, "removed", lease.key, lease)]


class ByHand:
    """The acts; each raises with who stands in the way."""

    def __init__(self, store: Etcd, keys: Keys, asking: Twins) -> None:
        self._etcd = store
        self._keys = keys
        self._asking = asking

    def facts(self) -> Facts:
        """All records, marks of use, and the seconds left of every lease."""
        known = survey.facts(self._etcd, self._keys, self._list()[0])
        return survey.with_ttl(self._etcd, known, known.leases)

    def reserve(self, subnets: tuple[Subnet, ...], owner: Owner) -> tuple[Lease, bool]:
        """Write a key without lease; False if the same reservation is there.

        Raises:
            BadConfig: the owner's address is of a family that is not reserved.
            OverlayError: a record overlaps; who has it.
        """
        if owner.address is not None and not any(_address_of(net, owner) for net in subnets):
            raise BadConfig(
                f"address {owner.address} is of another family than {', '.join(map(str, subnets))}",
                hint="name the node by an address of the same family, or by --node NAME",
            )
        wanted = Lease(
            key=schema.format_key(subnets),
            endpoints=tuple(Endpoint(net, _address_of(net, owner)) for net in subnets),
            backend="",
            node=owner.node,
        )
        key = self._keys.start + wanted.key
        for _ in range(TRIES):
            records, revision = self._list()
            if self._is_there(records, wanted):
                return wanted, False
            self._refuse_overlap(records, subnets)
            outcome = self._etcd.txn(
                [etcd.unchanged_since(self._keys.start, self._keys.end, revision)],
                [etcd.putting(key, schema.format_lease(wanted))],
            )
            if outcome.succeeded:
                return replace(wanted, mod_revision=outcome.revision), True
        raise StoreUnavailable(
            f"leases changed {TRIES} times while {wanted.key} was reserved; try again",
            hint="overlayctl leases; then the same once more",
        )

    def free(self, subnets: tuple[Subnet, ...], *, machine_id: str, force: bool) -> str:
        """Remove a reservation, with ``force`` also another node's lease. Returns who had it.

        Raises:
            BadConfig: nobody has it, or this machine does.
            NotReady: it is another node's live lease.
        """
        key = schema.format_key(subnets)
        record = self._one(key)
        known = survey.facts(self._etcd, self._keys, [record])
        lease = known.leases.get(key)
        who = holders.tell(key, survey.with_ttl(self._etcd, known, [key]))
        if lease is not None and not holders.is_free_reservation(lease):
            if lease.machine_id == machine_id:
                raise BadConfig(f"{key} is this node's own lease", hint="overlayctl leave")
            if not force:
                name = lease.node or lease.machine_id or _address(lease)
                raise NotReady(
                    f"{key} is not a reservation but the lease of {who}; its pods would lose their network",
                    hint=f"if it will not come back: overlayctl node remove {name}; "
                    f"or: overlayctl release --force {', '.join(map(str, subnets))}",
                )
        self._delete(record, lease, "released")
        return who

    def records_of(self, name: str) -> list[Lease]:
        """A node's records, by its name, machine id or address.

        Raises:
            BadConfig: there are none, or two machines bear the name.
        """
        leases = parse_records(self._list()[0], self._keys.start)[0]
        found = [lease for lease in leases.values() if name in _names(lease)]
        machines = {lease.machine_id for lease in found if lease.machine_id}
        if not found:
            raise BadConfig(f"no lease of a node {name!r}", hint="overlayctl leases")
        if len(machines) > 1:
            raise BadConfig(
                f"{name!r} is {len(machines)} machines: " + "; ".join(map(twins.describe, found)),
                hint="name the machine id: overlayctl node remove MACHINE-ID",
            )
        return found

    def remove(self, found: Sequence[Lease], *, force: bool) -> list[str]:
        """Delete a dead machine's records, so that peers drop it; their etcd leases end. Returns what was done.

        A machine answers for the record it holds, not for an old one that it drains: all are asked before one goes.

        Raises:
            NotReady: it looks alive, or cannot be asked.
        """
        if not force:
            found = [
                lease if holders.is_free_reservation(lease) else self.surely_dead(lease)
                for lease in found
            ]
        return [self._remove(lease) for lease in found]

    def _remove(self, lease: Lease) -> str:
        if holders.is_free_reservation(lease):
            return f"{lease.key} stays reserved for it; to free it: overlayctl release {lease.key}"
        self._delete(self._one(lease.key), lease, "removed")
        if lease.etcd_lease:
            return f"{lease.key} is free"
        return f"{lease.key} stays reserved for it; to free it: overlayctl release {lease.key}"

    def surely_dead(self, lease: Lease) -> Lease:
        """The record as the question left it; a reservation's holder is asked, too.

        Raises:
            NotReady: its agent answers, or it is another program's.
        """
        who = twins.describe(lease)
        name = lease.machine_id or lease.node or _address(lease)
        force = f"overlayctl node remove --force {name}"
        if not lease.machine_id:
            raise NotReady(
                f"{lease.key} of {who} was written by another agent, which cannot be asked whether it lives",
                hint=f"stop it there, and wait for its lease to expire; or: {force}",
            )
        answer, now = self._asking.ask(lease, node="overlayctl", addresses="node-remove")
        if answer is Answer.ALIVE:
            raise NotReady(
                f"{who} is alive: its agent answers for {lease.key}",
                hint=f"on that node: overlayctl leave; or, if it must go without: {force}",
            )
        return now

    def _delete(self, record: Record, lease: Lease | None, what: str) -> None:
        """Guarded by the revision that was judged. A reservation that was taken up is emptied by a removal."""
        key = record.key.removeprefix(self._keys.start)
        revision = record.mod_revision if lease is None else lease.mod_revision
        then = [etcd.deleting(record.key), *survey.marks(self._keys, what, key, lease)]
        if what == "removed" and lease is not None:
            then = removing(self._keys, lease)
        outcome = self._etcd.txn([etcd.modified_at(record.key, revision)], then)
        if not outcome.succeeded and self._etcd.range(record.key).records:
            raise StoreUnavailable(
                f"{key} changed in the meantime; look again: overlayctl leases",
                hint="overlayctl leases; then the same once more",
            )
        if record.lease:
            self._etcd.revoke(record.lease)

    def _list(self) -> tuple[tuple[Record, ...], int]:
        listing = self._etcd.range(self._keys.start, self._keys.end)
        return listing.records, listing.revision

    def _one(self, key: str) -> Record:
        records = self._etcd.range(self._keys.start + key).records
        if not records:
            raise BadConfig(f"nobody holds {key}", hint="overlayctl leases")
        return records[0]

    def _is_there(self, records: tuple[Record, ...], wanted: Lease) -> bool:
        for record in records:
            if record.key == self._keys.start + wanted.key and not record.lease:
                try:
                    return parse_record(record, self._keys.start).content() == wanted.content()
                except BadRecord:
                    return False
        return False

    def _refuse_overlap(self, records: tuple[Record, ...], subnets: tuple[Subnet, ...]) -> None:
        for record in records:
            if overlap(subnets, subnets_of(record, self._keys.start)):
                key = record.key.removeprefix(self._keys.start)
                known = survey.facts(self._etcd, self._keys, [record])
                raise OverlayError(
                    f"{', '.join(map(str, subnets))} cannot be reserved, {key} is held by "
                    + holders.tell(key, survey.with_ttl(self._etcd, known, [key])),
                    hint="overlayctl leases; overlayctl release SUBNET for a reservation",
                )


def _address_of(net: Subnet, owner: Owner) -> Address | None:
    """The owner's address where it is of the subnet's family."""
    if owner.address is None or Family.of(owner.address) is not Family.of(net):
        return None
    return owner.address


def _address(lease: Lease) -> str:
    """What a node without a name is called; its key where it has not even an address."""
    return next((str(end.underlay) for end in lease.endpoints if end.underlay), lease.key)


def _names(lease: Lease) -> set[str]:
    """All that a node may be called on the command line."""
    addresses = {str(end.underlay) for end in lease.endpoints if end.underlay}
    return {name for name in (lease.node, lease.machine_id, *addresses) if name}
