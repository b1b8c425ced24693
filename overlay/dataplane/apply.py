"""Reading what is ours and carrying out steps, through the two kernel doors and /proc/sys.

Peers' entries of a run of steps go to the kernel in one batch; links, addresses, switches and tables one
by one, because each changes what the next may lean on. A step that is already true is success.
"""

import errno
from collections.abc import Hashable, Iterable, Iterator, Mapping
from ipaddress import ip_network
from itertools import groupby
from pathlib import Path

from overlay.dataplane import former
from overlay.dataplane.entries import Entries
from overlay.dataplane.links import GONE, LinkDoor
from overlay.dataplane.read import UNSPECIFIED, concerned, convert
from overlay.dataplane.ruleset import Rulesets
from overlay.dataplane.switches import Switches
from overlay.dataplane.verdict import judged
from overlay.errors import ForeignObject, KernelRefused, OverlayError
from overlay.marks import ONLY, Marks
from overlay.model import (
    Action,
    Address,
    Bridge,
    Family,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Ruleset,
    Step,
    Sysctl,
    Vxlan,
)
from overlay.netlink import Netlink, messages, parse
from overlay.netlink.parse import Record

RTPROT_BOOT, RT_TABLE_MAIN = 3, 254
"""linux/rtnetlink.h"""
_BATCHED = (FdbEntry, Neighbour, Route)
_USUAL_METRICS = (0, 1024)
"""Of a route that names none: IPv4's; IP6_RT_PRIO_USER of net/ip6_route.h."""


class Dataplane:
    """The kernel of the network namespace it was made in. Not thread-safe."""

    def __init__(
        self, run_dir: Path, *, sysctls: Path = Path("/proc/sys"), marks: Marks = ONLY
    ) -> None:
        self._netlink = Netlink()
        self._rulesets = Rulesets(run_dir / "nft.json")
        self._switches = Switches(sysctls, run_dir / former.NAME)
        self.turned = self._switches.turned
        self._links = LinkDoor(self._netlink, marks)
        self._want: Mapping[Hashable, KernelObject] = {}
        self._link_locals: frozenset[KernelObject] = frozenset()
        self._entries = Entries(self._netlink)

    def close(self) -> None:
        """Close the doors; the kernel keeps everything."""
        self._netlink.close()
        self._rulesets.close()

    @property
    def port(self) -> int:
        """The netlink port that our changes come from."""
        return self._netlink.port

    @property
    def changes(self) -> int:
        """State-changing operations accepted since this object was made."""
        return self._netlink.changes + self._rulesets.changes + self._switches.changes

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """Everything that bears our mark; of switches and tables those that ``want`` names.

        Raises:
            KernelBusy: the kernel's lists changed while they were read.
        """
        self._want = want
        node = [item for item in want.values() if not isinstance(item, _BATCHED)]
        self._links.read({item.name: item for item in node if isinstance(item, Vxlan | Bridge)})
        self._link_locals = frozenset(item for item in node if _is_link_local(item))
        found: dict[Hashable, KernelObject] = {}
        for key, item in self._entries.read(self._links.seen, want, self.observe):
            found.setdefault(key, item)  # of routes to one subnet the kernel lists the best first
        self._switches.watch(item for item in node if isinstance(item, Sysctl))
        for wanted in node:
            seen = self.look(wanted)
            if seen is not None:
                found[seen.key] = seen
        return found

    def observe(self, record: Record) -> KernelObject | None:
        """What a record is about, if it is ours, by the links as last read.

        Of fe80 addresses ours are only those that are wanted: the kernel makes some by itself.
        """
        item = convert(record, self._links.seen)
        foreign = item is not None and _is_link_local(item) and item not in self._link_locals
        return None if foreign else item

    def concerned(self, record: Record) -> Hashable | None:
        """The key of what an event may be about that is not, or no more, ours."""
        return concerned(record, self._links.seen)

    def look(self, wanted: KernelObject) -> KernelObject | None:
        """One table or switch as it is now; None if it is absent (or neither)."""
        if isinstance(wanted, Ruleset):
            return self._rulesets.read(wanted)
        return self._switches.look(wanted) if isinstance(wanted, Sysctl) else None

    def link_name(self, index: int) -> str:
        """A link's name by the links as last read; empty if it was not there then."""
        link = self._links.seen.by_index.get(index)
        return link.name if link else ""

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """Carry out steps in order; one result per step, failures stop nothing."""
        results: list[OverlayError | None] = []
        for batched, run in groupby(steps, key=lambda step: isinstance(step.object, _BATCHED)):
            part = list(run)
            results += self._batch(part) if batched else [self._one(step) for step in part]
        return results

    # --- applying ----------------------------------------------------------------------------------------

    def _one(self, step: Step) -> OverlayError | None:
        try:
            match step.object:
                case Sysctl():
                    self._switches.set(step.object)
                case Ruleset():
                    self._rulesets.write(step.object, delete=step.action is Action.DELETE)
                case LinkAddress():
                    self._set_address(step)
                case Vxlan() | Bridge():
                    self._links.carry_out(step)
        except OverlayError as error:
            return error
        return None

    def _set_address(self, step: Step) -> None:
        item = step.object
        assert isinstance(item, LinkAddress)
        if step.action is Action.DELETE and not self._links.exists(item):
            return  # it went with its device
        index = self._links.index(item.link)
        if step.action is Action.DELETE:
            self._unless_gone(messages.address_delete(index, item.address))
        else:
            self._netlink.request(messages.address_add(index, item.address))

    def _batch(self, steps: list[Step]) -> list[OverlayError | None]:
        results: list[OverlayError | None] = [None] * len(steps)
        sent: list[int] = []
        answers = self._netlink.batch(self._messages(steps, sent, results))
        for place, answer in zip(sent, answers, strict=True):
            results[place] = answer and judged(steps[place], answer)
        if any(results):
            self._send_around(steps, results)
            self._send_around(self._replace_direct(steps, results), results)
        return results

    def _messages(
        self, steps: list[Step], sent: list[int], results: list[OverlayError | None]
    ) -> Iterator[bytes]:
        """One by one as they are asked for; ``sent`` gets each one's step, ``results`` why others have none."""
        for place, step in enumerate(steps):
            if step.action is Action.DELETE and not self._links.exists(step.object):
                continue  # it went with its device
            try:
                body = self._message(step)
            except OverlayError as error:
                results[place] = error
                continue
            sent.append(place)
            yield body

    def _replace_direct(self, steps: list[Step], results: list[OverlayError | None]) -> list[Step]:
        """What flanneld left with DirectRouting or host-gw, a peer's subnet via its address: ours takes its place."""
        held_up = [n for n, error in enumerate(results) if isinstance(error, ForeignObject)]
        routes = [
            route
            for family in {Family.of(_route(steps[place]).dst) for place in held_up}
            for route in self._entries.dump(
                messages.route_dump(family, protocol=RTPROT_BOOT), parse.parse_route
            )
            if route.table == RT_TABLE_MAIN and route.metric in _USUAL_METRICS
        ]
        underlays = set(_underlays(self._want.values())) if routes else set()
        direct = {route.dst for route in routes if route.via in underlays}
        places = [place for place in held_up if _route(steps[place]).dst in direct]
        again = {place: Step(Action.REPLACE, steps[place].object) for place in places}
        answers = self._netlink.batch([self._message(step) for step in again.values()])
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer
        return [again.get(place, step) for place, step in enumerate(steps)]

    def _send_around(self, steps: list[Step], results: list[OverlayError | None]) -> None:
        """IPv6 refuses a gateway that another route has by another device (ip6_route_check_nh_onlink): the very
        route that is to be replaced. A route to the gateway alone makes it agree; at no moment is there none.
        """
        for place, step in enumerate(steps):
            item, error = step.object, results[place]
            if not isinstance(item, Route) or item.via is None or not item.onlink:
                continue
            if isinstance(error, KernelRefused) and error.errno == errno.EINVAL:
                host, link = ip_network(item.via), self._links.index(item.link)
                around = (
                    messages.route_add(host, link=link),
                    messages.route_delete(host, link=link),
                )
                answers = self._netlink.batch([around[0], self._message(step), around[1]])
                results[place] = judged(step, answers[1])

    def _message(self, step: Step) -> bytes:
        item, delete = step.object, step.action is Action.DELETE
        match item:
            case FdbEntry() if delete:
                # a destination that is not to be expressed: delete the entry whatever it says
                underlay = None if item.underlay == UNSPECIFIED else item.underlay
                return messages.fdb_delete(self._links.index(item.link), item.mac, underlay)
            case FdbEntry():
                link = self._links.index(item.link)
                return messages.fdb_replace(link, item.mac, item.underlay)
            case Neighbour() if delete:
                return messages.neighbour_delete(self._links.index(item.link), item.ip)
            case Neighbour():
                return messages.neighbour_replace(self._links.index(item.link), item.ip, item.mac)
            case Route():
                index = self._links.index(item.link)
                send = messages.route_add if step.action is Action.ADD else messages.route_replace
                if delete:
                    send = messages.route_delete
                return send(
                    item.dst, link=index, via=item.via, onlink=item.onlink, protocol=item.protocol
                )
        raise TypeError(f"not a batched object: {item}")

    def _unless_gone(self, message: bytes) -> None:
        try:
            self._netlink.request(message)
        except KernelRefused as error:
            if error.errno not in GONE:
                raise


def _is_link_local(item: KernelObject) -> bool:
    return isinstance(item, LinkAddress) and item.address.ip.is_link_local


def _underlays(wanted: Iterable[KernelObject]) -> Iterator[Address]:
    for item in wanted:
        if isinstance(item, FdbEntry):
            yield item.underlay
        elif isinstance(item, Route) and item.via is not None and not item.onlink:
            yield item.via


def _route(step: Step) -> Route:
    assert isinstance(step.object, Route)  # only a route can meet a foreign one
    return step.object
