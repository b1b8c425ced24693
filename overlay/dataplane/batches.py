"""Many entries of peers to the kernel at once, and the few that want more than one message."""

import errno
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_network

from overlay.dataplane.entries import Entries
from overlay.dataplane.links import LinkDoor
from overlay.dataplane.read import UNSPECIFIED, usual_metric
from overlay.dataplane.scope import scope_to
from overlay.dataplane.verdict import judged
from overlay.errors import ForeignObject, KernelRefused, OverlayError
from overlay.keys import route_key
from overlay.model import (
    RTPROT_KERNEL,
    Action,
    Address,
    Family,
    FdbEntry,
    KernelObject,
    Neighbour,
    Route,
    Step,
    Subnet,
)
from overlay.netlink import Netlink, messages, parse
from overlay.netlink.constants import RT_TABLE_MAIN, RTPROT_BOOT
from overlay.netlink.parse import RouteInfo

_BEST_METRIC = 1
_ADD, _DELETE = Action.ADD, Action.DELETE
"""To look a member up in its enum takes as long as a call, and there are thousands of steps."""


class Batches:
    """Of one Dataplane, with its socket and its links as last read."""

    def __init__(self, netlink: Netlink, links: LinkDoor, entries: Entries) -> None:
        self._netlink, self._links, self._entries = netlink, links, entries

    def carry_out(
        self, steps: Sequence[Step], want: Mapping[Hashable, KernelObject]
    ) -> list[OverlayError | None]:
        steps = self._beside_another_device(steps)
        results: list[OverlayError | None] = [None] * len(steps)
        sent: list[int] = []
        again = self._may_go_instead(steps, want)
        answers = self._netlink.batch(self._messages(steps, sent, results, again))
        for place, answer in zip(sent, answers, strict=True):
            if answer is None and results[place] is None:  # of thousands
                continue
            earlier = results[place] if steps[place].action is _DELETE else None
            results[place] = earlier or (answer and judged(steps[place], answer))
        if any(results):
            self._send_around(steps, results)
            self._send_around(self._replace_direct(steps, results, want), results)
        return results

    def _messages(
        self,
        steps: Sequence[Step],
        sent: list[int],
        results: list[OverlayError | None],
        again: Mapping[Hashable, Route],
    ) -> Iterator[bytes]:
        """One by one as they are asked for; ``sent`` gets each one's step, ``results`` why others have none."""
        for place, step in enumerate(steps):
            action = step.action
            if action is _DELETE and not self._links.exists(step.object):
                continue  # it went with its device
            try:
                one = action is _ADD  # of which there are thousands
                due = (self._message(step),) if one else self._several(step, again)
            except OverlayError as error:
                results[place] = error
                continue
            for body in due:
                sent.append(place)
                yield body

    def _several(self, step: Step, again: Mapping[Hashable, Route]) -> tuple[bytes, ...]:
        """What goes before a step and behind it, too."""
        due = [self._message(step)]
        if step.action is Action.REPLACE and _leads_to_an_object(step.was):
            # the kernel accepts another way for it, and does nothing
            due.insert(0, self._message(Step(Action.DELETE, step.was or step.object)))
        if step.action is Action.DELETE and (meant := again.get(step.object.key)) is not None:
            due.append(self._message(Step(Action.REPLACE, meant)))
        return tuple(due)

    def _may_go_instead(
        self, steps: Sequence[Step], want: Mapping[Hashable, KernelObject]
    ) -> dict[Hashable, Route]:
        """The routes that are meant, by the key of one beside it with the same metric that is to go: of those that fit
        what can be said of the one, the kernel takes the first, which may be the right one. Not where the first of all
        is somebody else's: ours would take its place.
        """
        extra = [
            step.object
            for step in steps
            if step.action is Action.DELETE
            and isinstance(step.object, Route)
            and step.object.nth
            and not step.object.metric
        ]
        try:
            first = self._first_there({item.dst for item in extra}, _metric)
        except OverlayError:
            return {}  # too much is going on: the next look finds what is missing then
        meant = ((item, want.get(route_key(item.dst))) for item in extra)
        return {
            item.key: route
            for item, route in meant
            if isinstance(route, Route) and first.get(item.dst) == route.protocol
        }

    def _beside_another_device(self, steps: Sequence[Step]) -> Sequence[Step]:
        """The route to our own pods is taken back from whoever stands in its place, but not from another device that
        has the same subnet (another program's pod network): ours comes beside that one's.
        """
        taken = {
            step.object.dst
            for step in steps
            if step.action is Action.REPLACE
            and step.was is None
            and isinstance(step.object, Route)
            and step.object.protocol == RTPROT_KERNEL
        }
        if not taken:
            return steps
        try:
            first = self._first_there(taken, lambda it: usual_metric(it.dst.version, RTPROT_KERNEL))
        except OverlayError:
            return steps  # nobody knows who stands there: it is taken back from whoever does
        theirs = {route_key(dst) for dst, protocol in first.items() if protocol == RTPROT_KERNEL}
        return [
            replace(step, action=Action.ADD) if step.object.key in theirs else step
            for step in steps
        ]

    def _first_there(
        self, subnets: Collection[Subnet], metric: Callable[[RouteInfo], int]
    ) -> dict[Subnet, int]:
        """The protocol of the first route to each subnet in the main table, of those with the metric."""
        first: dict[Subnet, int] = {}
        for family in {Family.of(dst) for dst in subnets}:
            for it in self._entries.dump(messages.route_dump(family), parse.parse_route):
                if it.dst in subnets and it.table == RT_TABLE_MAIN and it.metric == metric(it):
                    first.setdefault(it.dst, it.protocol)
        return first

    def _replace_direct(
        self,
        steps: Sequence[Step],
        results: list[OverlayError | None],
        want: Mapping[Hashable, KernelObject],
    ) -> Sequence[Step]:
        """What flanneld left with DirectRouting or host-gw, a peer's subnet via its address: ours takes its place."""
        held_up = [n for n, error in enumerate(results) if isinstance(error, ForeignObject)]
        try:
            routes = self._of_flannel({Family.of(_route(steps[place]).dst) for place in held_up})
        except OverlayError as error:  # nobody knows whose they are: they are tried again
            for place in held_up:
                results[place] = error
            return steps
        underlays = set(_underlays(want.values())) if routes else set()
        direct = {route.dst for route in routes if route.via in underlays}
        places = [place for place in held_up if _route(steps[place]).dst in direct]
        again = {place: Step(Action.REPLACE, steps[place].object) for place in places}
        answers = self._netlink.batch([self._message(step) for step in again.values()])
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer
        return [again.get(place, step) for place, step in enumerate(steps)]

    def _of_flannel(self, families: Collection[Family]) -> list[RouteInfo]:
        """The routes that may be what flanneld left."""
        return [
            route
            for family in families
            for route in self._entries.dump(
                messages.route_dump(family, protocol=RTPROT_BOOT), parse.parse_route
            )
            if route.table == RT_TABLE_MAIN and route.metric == _metric(route)
        ]

    def _send_around(self, steps: Sequence[Step], results: list[OverlayError | None]) -> None:
        """IPv6 refuses a gateway that another route has by another device (ip6_route_check_nh_onlink): the very
        route that is to be replaced, or somebody's to the gateway alone. A better one makes it agree, for a moment.
        """
        for place, step in enumerate(steps):
            item, error = step.object, results[place]
            if not isinstance(item, Route) or item.via is None or not item.onlink:
                continue
            if isinstance(error, KernelRefused) and error.errno == errno.EINVAL:
                host, link = ip_network(item.via), self._links.index(item.link)
                around = (
                    messages.route_add(host, link=link, metric=_BEST_METRIC),
                    messages.route_delete(host, link=link, metric=_BEST_METRIC),
                )
                answers = self._netlink.batch([around[0], self._message(step), around[1]])
                results[place] = judged(step, answers[1])

    def _message(self, step: Step) -> bytes:
        item, delete = step.object, step.action is _DELETE
        if isinstance(item, FdbEntry):
            index = self._links.index(item.link)
            if delete:
                # a destination that is not to be expressed: delete the entry whatever it says
                underlay = None if item.underlay == UNSPECIFIED else item.underlay
                return messages.fdb_delete(index, item.mac, underlay)
            return messages.fdb_replace(index, item.mac, item.underlay)
        if isinstance(item, Neighbour):
            index = self._links.index(item.link)
            if delete:
                return messages.neighbour_delete(index, item.ip)
            return messages.neighbour_replace(index, item.ip, item.mac)
        if isinstance(item, Route):
            return self._route_delete(item) if delete else self._route_set(step.action, item)
        raise TypeError(f"not a batched object: {item}")

    def _route_set(self, action: Action, item: Route) -> bytes:
        own = item.protocol == RTPROT_KERNEL
        if own and action is Action.ADD:
            # the kernel may have made it meanwhile; another device's stays before it
            return messages.route_append(
                item.dst,
                link=self._links.index(item.link),
                protocol=item.protocol,
                source=item.source,
                metric=_metric(item),
            )
        send = messages.route_add if action is Action.ADD else messages.route_replace
        return send(
            item.dst,
            link=self._links.index(item.link),
            via=item.via,
            onlink=item.onlink,
            protocol=item.protocol,
            source=item.source,
            metric=item.metric or (_metric(item) if own else 0),
            scope=scope_to(item.dst, item.via),
        )

    def _route_delete(self, item: Route) -> bytes:
        """A route by a next hop object, or of several hops, is none that has this gateway and device (fib_nh_match);
        one that leads nowhere has neither.
        """
        any_way = bool(item.odd)
        return messages.route_delete(
            item.dst,
            link=0 if any_way else self._links.index(item.link),
            via=None if any_way else item.via,
            onlink=item.onlink,
            protocol=item.protocol,
            source=item.source,
            metric=item.metric or _metric(item),
        )


def _leads_to_an_object(was: KernelObject | None) -> bool:
    return isinstance(was, FdbEntry) and was.underlay == UNSPECIFIED


def _underlays(wanted: Iterable[KernelObject]) -> Iterator[Address]:
    for item in wanted:
        if isinstance(item, FdbEntry):
            yield item.underlay
        elif isinstance(item, Route) and item.via is not None and not item.onlink:
            yield item.via


def _route(step: Step) -> Route:
    assert isinstance(step.object, Route)  # only a route can meet a foreign one
    return step.object


def _metric(route: Route | RouteInfo) -> int:
    return usual_metric(route.dst.version, route.protocol)
