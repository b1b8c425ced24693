"""Which nodes the two pods are on, and what these nodes and etcd say.

This node is looked at in this very process, so that it works while its agent is dead; others are asked through etcd.
"""

import contextlib
import ipaddress
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent import connect
from agent.config import Config
from agent.ctl import client, far, nodepage
from agent.registry import Registry
from agent.why import collect, facts, find, question
from agent.why.facts import Facts
from agent.why.judge import End
from agent.why.question import Question
from agent.why.records import Net, Record, Store
from overlay import schema
from overlay.conflicts import contradicting
from overlay.errors import BadConfig, NotReady, OverlayError
from overlay.family import Address, Family
from overlay.model import Lease, Network

FACTS_WITHIN_S, TESTED_WITHIN_S = 4.0, 10.0
FIND_WITHIN_S = 5.0
AGENT_WITHIN_S = 1.0
MOST_ASKED = 2000


@dataclass(frozen=True, slots=True)
class Asked:
    """The two pods as they were named."""

    pod_a: str
    pod_b: str
    proto: str = "icmp"
    port: int = 0
    test: bool = True


@dataclass(slots=True)
class Place:
    """Where a pod is: on this node, or on the node of a lease; ``addresses`` are its own, as far as known."""

    spec: str
    here: bool = False
    lease: Lease | None = None
    addresses: list[Address] = field(default_factory=list)
    container: str = ""

    @property
    def key(self) -> str:
        """Of the node's lease, "here" where it has none."""
        return self.lease.key if self.lease is not None else "here" if self.here else ""


class Search:
    """One question of an operator. etcd is asked once at the beginning."""

    def __init__(self, settings: Config, asked: Asked) -> None:
        self._settings, self._asked = settings, asked
        self._fault = ""
        self._leases: Mapping[str, Lease] = {}
        self._network: Network | None = None
        self._left: dict[str, float] = {}
        self._page = nodepage.page(settings.run_dir)
        own = [one.subnet for one in self._page.families] if self._page else []
        self._own_key = schema.format_key(own) if own else ""

    def ends(self) -> tuple[End, End, Store, bool]:
        """Both ends with their facts, etcd's side, and whether they share a node.

        Raises:
            BadConfig: a name means several pods, or the two have no family in common.
            NotReady: nobody knows such a pod.
        """
        try:
            self._read_etcd()
        except OverlayError as error:
            self._fault = f"etcd cannot be asked: {error}"
        a, b = self._locate(self._asked.pod_a), self._locate(self._asked.pod_b)
        from_, to = _addresses(a, b)
        if not self._fault:
            with contextlib.suppress(OverlayError):  # not known, then
                self._read_terms(from_, to)
        record_a, record_b = (self._record(place, one) for place, one in ((a, from_), (b, to)))
        known = Store(fault=self._fault, net=self._net(), near=record_a, far=record_b)
        near = self._end(a, from_, to, record_b, answering=False)
        far_end = self._end(b, to, from_, record_a, answering=True)
        return near, far_end, known, bool(a.key) and a.key == b.key

    def _read_etcd(self) -> None:
        with closing(connect.store(self._settings)) as store:
            registry = Registry(store, self._settings.etcd_prefix)
            self._leases = registry.snapshot().leases
            self._network = registry.network()

    def _read_terms(self, *addresses: Address) -> None:
        """The seconds left of the leases that matter; -1 of one that has ended."""
        with closing(connect.store(self._settings)) as store:
            for lease in map(self._lease_of, addresses):
                if lease is not None and lease.etcd_lease:
                    self._left[lease.key] = float(store.term(lease.etcd_lease)[0])

    # --- where ----------------------------------------------------------------------------------------

    def _locate(self, spec: str) -> Place:
        address = question.address(spec)
        records = find.attachments(self._settings.run_dir, spec)
        if records:
            find.only_one(spec, records)
            found = Place(spec, here=True, lease=self._own_lease(), container=records[0].container)
            found.addresses = _parsed(list(records[0].addresses))
        elif address is not None:
            found = self._by_address(spec, address)
        else:
            found = self._asked_of_all(spec)
        if address is not None:
            found.addresses = [address]
        return found

    def _own_lease(self) -> Lease | None:
        mine = (it for it in self._leases.values() if it.machine_id == self._settings.machine_id)
        return self._leases.get(self._own_key) or next(mine, None)

    def _by_address(self, spec: str, address: Address) -> Place:
        own = self._page.families if self._page else ()
        if any(address in one.subnet for one in own if one.family is Family.of(address)):
            return Place(spec, here=True, lease=self._own_lease())
        lease = self._lease_of(address)
        if lease is None and not self._fault and not self._in_network(address):
            raise NotReady(
                f"{address} is in no node's subnet, nor in the pod network",
                hint="overlayctl leases; overlayctl ipam show",
            )
        return Place(spec, lease=lease)

    def _in_network(self, address: Address) -> bool:
        pools = self._network.pools if self._network else ()
        return any(
            address in pool.network for pool in pools if pool.network.version == address.version
        )

    def _lease_of(self, address: Address | None) -> Lease | None:
        if address is None:
            return None
        return next(
            (
                lease
                for lease in self._leases.values()
                for end in lease.endpoints
                if end.subnet.version == address.version and address in end.subnet
            ),
            None,
        )

    def _asked_of_all(self, spec: str) -> Place:
        """By name: the agents are asked, each for its own pods."""
        if self._fault:
            raise NotReady(f"{spec} is no pod of this node, and {self._fault}")
        keys = [key for key, it in self._leases.items() if it.machine_id and key != self._own_key]
        answers = far.ask_many(
            self._settings, keys[:MOST_ASKED], "facts", timeout_s=FIND_WITHIN_S, pod=spec
        )
        places = [
            place
            for key, answer in answers.items()
            if not isinstance(answer, OverlayError)
            for place in _told(spec, self._leases[key], answer)
        ]
        if len(places) > 1:
            which = "; ".join(
                f"{it.addresses[0]} on {it.lease.node}"
                for it in places
                if it.lease and it.addresses
            )
            raise BadConfig(
                f"{spec} means {len(places)} pods: {which}", hint="name it by its address"
            )
        if not places:
            silent = sum(isinstance(it, OverlayError) for it in answers.values())
            more = f"; {silent} of them did not answer" if silent else ""
            raise NotReady(
                f"none of {len(keys) + 1} nodes knows a pod {spec}{more}",
                hint="name it by its address, or: overlayctl ipam show, on its node",
            )
        return places[0]

    # --- what is known there ------------------------------------------------------------------------------

    def _end(
        self, place: Place, own: Address, other: Address, peer: Record | None, *, answering: bool
    ) -> End:
        asked = Question(
            pod=place.container or str(own),
            other=str(other),
            peer=peer.underlay if peer else "",
            proto=self._asked.proto,  # type: ignore[arg-type]
            port=self._asked.port,
            test=self._asked.test and not answering,
            answering=answering,
        )
        node = place.lease.node if place.lease else self._settings.node_name if place.here else ""
        try:
            seen = self._here(asked) if place.here else self._there(place, asked)
        except OverlayError as error:
            return End(place.spec, str(own), node, None, str(error), error.hint)
        return End(place.spec, str(own), seen.node or node, seen)

    def _here(self, asked: Question) -> Facts:
        found = collect.collect(self._settings, asked)
        try:
            client.ask(self._settings.run_dir, "standing", timeout_s=AGENT_WITHIN_S)
        except OverlayError as error:
            return msgspec.structs.replace(found, agent=str(error)[:600])
        return found

    def _there(self, place: Place, asked: Question) -> Facts:
        if place.lease is None:
            raise NotReady(
                self._fault or f"no record in etcd has {place.spec}, so nobody can be asked",
                hint="overlayctl leases",
            )
        words = msgspec.to_builtins(asked)
        within = TESTED_WITHIN_S if asked.test else FACTS_WITHIN_S
        answer = far.ask(self._settings, place.lease.key, "facts", timeout_s=within, **words)
        return facts.read(answer)

    def _record(self, place: Place, address: Address) -> Record | None:
        lease = self._lease_of(address) or (place.lease if not place.addresses else None)
        end = lease.endpoint(Family.of(address)) if lease is not None else None
        if lease is None or end is None:
            return None
        return Record(
            key=lease.key,
            node=lease.node,
            subnet=str(end.subnet),
            underlay=str(end.underlay or ""),
            mac=end.mac or "",
            vni=end.vni or 0,
            backend=lease.backend,
            left_s=self._left.get(lease.key),
            rival=contradicting(self._leases.values()).get(lease.key, ""),
        )

    def _net(self) -> Net | None:
        if self._network is None:
            return None
        backend = self._network.backend
        return Net(
            tunnels=backend.tunnels,
            direct=backend.direct,
            vni=backend.vni,
            port=backend.port,
            protocol=self._settings.marks.route_protocol,
        )


def _addresses(a: Place, b: Place) -> tuple[Address, Address]:
    """One of each, of the same family, IPv4 first."""
    for from_ in a.addresses:
        for to in b.addresses:
            if from_.version == to.version:
                return from_, to
    raise BadConfig(
        f"{a.spec} and {b.spec} have no addresses of the same family",
        hint="overlayctl ipam show, on their nodes",
    )


def _parsed(texts: list[str]) -> list[Address]:
    found = (question.address(text.partition("/")[0]) for text in texts)
    return sorted((it for it in found if it is not None), key=lambda it: it.version)


def _told(spec: str, lease: Lease, answer: Mapping[str, Any]) -> list[Place]:
    """The pods that a node named; what is no answer of ours names none."""
    try:
        named = msgspec.convert(answer.get("found", []), type=list[facts.Found])
    except (msgspec.ValidationError, ipaddress.AddressValueError):
        return []
    return [
        Place(spec, lease=lease, addresses=_parsed(it.addresses), container=it.container)
        for it in named[:8]
        if _parsed(it.addresses)
    ]
