"""Kernel events → the reconcile loop: what is not explained by what we want is looked at again.

Our own changes come back as events too. They carry the wanted value, so a dictionary look-up tells them
apart; anything else (a deleted route, a device that went down, lost events) asks for a full read, which
alone decides what is wrong. An nft transaction on our table, and a switch under /proc/sys, are looked at by
themselves first. Reads follow one another at a distance, so that a fight with another program costs little.
What changes about the underlay is passed on: its address may be the one peers know. All records are passed on
as well, for those who look after what is not in the wanted state (agent.podlinks).
"""

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Protocol

from agent import processes
from agent.culprits import Sign
from agent.loop import Loop
from agent.processes import Process
from agent.reconcile import Reconciler
from agent.undone import fate
from overlay.dataplane import Dataplane
from overlay.errors import BadInput, OverlayError
from overlay.marks import Marks
from overlay.model import KernelObject
from overlay.netlink.constants import RT_TABLE_MAIN
from overlay.netlink.monitor import Event, Monitor
from overlay.netlink.nftmonitor import TableChange
from overlay.netlink.parse import AddressInfo, LinkInfo, Record, RouteInfo
from overlay.netlink.route_extras import NO_WAY

log = logging.getLogger(__name__)

LOOK_AFTER_S = 0.1
"""Changes come in groups: wait for the rest of the group before looking."""
SWITCHES_S = 0.5
"""The kernel tells nobody when a switch is turned, so they are looked at so often: put back within a second."""
Signs = dict[Hashable, Sign]


class Told(Protocol):
    """Who is told; both must be quick."""

    def underlay_changed(self, *, hurry: bool = True) -> None:
        """The interface of a VTEP, or its addresses; without ``hurry`` a route, which may change all the time."""

    def heard(self, records: list[Record] | None) -> None:
        """All that was read; None if some of it was lost."""


class KernelWatch:
    """One thread; it touches the kernel only to listen. ``beside`` is looked at as often as switches are, so that no
    other thread has to wake for it; it must be quick."""

    def __init__(
        self, loop: Loop, dataplane: Dataplane, told: Told, *, beside: Callable[[], None]
    ) -> None:
        self._told, self._beside = told, beside
        self._loop = loop
        self._dataplane = dataplane
        self._monitor = Monitor(own_port=dataplane.port)
        self._switches_at = 0.0
        self._own_name = processes.read(processes.PROC / "self/comm")
        self._thread = threading.Thread(target=self._listen, name="kernelwatch", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._monitor.close()

    def _listen(self) -> None:
        while True:
            try:
                events = self._monitor.read(SWITCHES_S)
            except EOFError:
                return
            except BadInput as error:  # what was read with it is lost
                log.warning("a kernel event cannot be read: %s", error)
                events = None
            if events is None:
                self._told.heard(None)
                log.info("kernel events were lost, reading everything")
                self._told.underlay_changed()
                self._loop.post(lambda reconciler: reconciler.hurry())
            elif events:
                self._told.heard(_records(events))
                self._loop.post(lambda reconciler, these=events: self._judge(reconciler, these))  # type: ignore[misc]
            if time.monotonic() - self._switches_at >= SWITCHES_S:
                self._switches_at = time.monotonic()
                self._look_at_switches()
                self._beside()

    def _look_at_switches(self) -> None:
        if turned := self._dataplane.turned():
            signs: Signs = {switch.key: Sign("value") for switch in turned}
            self._loop.post(lambda reconciler: reconciler.kernel_changed(signs=signs))

    # --- in the loop's thread --------------------------------------------------------------------

    def _judge(self, reconciler: Reconciler, events: list[Event]) -> None:
        signs = self._of_underlay(reconciler, _records(events))
        asked: dict[int, Process | None] = {}
        for event in events:
            if isinstance(event.record, TableChange):
                found = self._of_table(reconciler, event.record)
            else:
                found = self._of_object(reconciler, event.record, event.port, asked)
            for key, sign in found.items():
                signs[key] = sign.after(signs[key]) if key in signs else sign
        if signs:
            reconciler.kernel_changed(after_s=LOOK_AFTER_S, signs=signs)

    def _of_table(self, reconciler: Reconciler, change: TableChange) -> Signs:
        wanted = reconciler.wants(("nft", change.table))
        if wanted is None:
            return {}
        present: KernelObject | None = None
        try:
            present = self._dataplane.look(wanted)
        except OverlayError as error:
            log.info("the table %s cannot be listed, reading everything: %s", change.table, error)
        if present == wanted:
            return {}  # our own transaction, or it is right again
        seen = "was deleted" if present is None else ""
        if change.process == self._own_name:  # an earlier one of ours
            return {wanted.key: Sign(fate(present, wanted), seen)}
        return {
            wanted.key: Sign(fate(present, wanted), seen, process=change.process, pid=change.pid)
        }

    def _of_object(
        self, reconciler: Reconciler, record: Record, port: int, asked: dict[int, Process | None]
    ) -> Signs:
        item = self._dataplane.observe(record)
        key: Hashable = item.key if item is not None else self._dataplane.concerned(record)
        wanted = reconciler.wants(key) if key is not None else None
        if item is not None and reconciler.explains(item, deleted=record.deleted):
            return {}
        if key is None or (item is None and wanted is None):
            return {}
        present = None if record.deleted else item
        if port not in asked:  # most programs' first netlink port is their number
            asked[port] = processes.at(port)
        asker = asked[port]
        name, pid = (asker.name, asker.pid) if asker else ("", 0)
        if isinstance(record, RouteInfo) and not record.deleted:
            seen, protocol = self._route(record), record.protocol
        else:
            seen, protocol = _seen(record, ours=item is not None), 0
        return {key: Sign(fate(present, wanted), seen, protocol, name, pid)}

    def _route(self, record: RouteInfo) -> str:
        if (instead := NO_WAY.get(record.kind)) is not None:
            return f"was {instead}"
        via = f" via {record.via}" if record.via else ""
        return f"led{via} dev {self._dataplane.link_name(record.link) or '?'}"

    def _of_underlay(self, reconciler: Reconciler, records: list[Record]) -> Signs:
        own = [record for record in records if self._is_underlays(reconciler, record)]
        if (
            own
        ):  # where a claim waits, other programs' addresses must not have it tried all the time
            self._told.underlay_changed(hurry=reconciler.me is not None)
        elif any(may_put_on_link(reconciler, record) for record in records):
            self._told.underlay_changed(hurry=False)
        links = [record for record in own if isinstance(record, LinkInfo)]
        if links:
            reconciler.hurry()  # the kernel drops routes via a link that goes down and tells nobody
        return {("link", link.name): Sign("up", "was set down") for link in links if not link.up}

    def _is_underlays(self, reconciler: Reconciler, record: Record) -> bool:
        """An interface that carries a VTEP or has others on link, or its addresses; a VTEP's address anywhere."""
        me = reconciler.me
        if not isinstance(record, LinkInfo | AddressInfo):
            return False
        if me is None:  # any may be the one that is waited for
            if isinstance(record, LinkInfo) or record.deleted:
                return False
            return not record.address.is_link_local
        names = {*me.connected.links, *(vtep.underlay for vtep in me.vteps)}
        if isinstance(record, LinkInfo):  # by the name that it has, or had before this
            return not names.isdisjoint((record.name, self._dataplane.link_name(record.index)))
        name = self._dataplane.link_name(record.link)
        return name in names or any(record.address.ip == vtep.local for vtep in me.vteps)


def may_put_on_link(reconciler: Reconciler, record: Record) -> bool:
    """A route of others that may change who is on link, or by which interface the tunnel goes."""
    me, network = reconciler.me, reconciler.network
    if not isinstance(record, RouteInfo):
        return False
    if me is None or network is None:  # a default route may be what is waited for
        return not record.dst.prefixlen
    if record.protocol == Marks(me.instance).route_protocol or record.table != RT_TABLE_MAIN:
        return False
    near = record.via is None or me.connected.covers(record.dst)
    return not record.dst.prefixlen or (network.backend.direct and near)


def _records(events: list[Event]) -> list[Record]:
    return [event.record for event in events if not isinstance(event.record, TableChange)]


def _seen(record: Record, *, ours: bool) -> str:
    """What became of an object, where the comparison with what is wanted will not tell."""
    if record.deleted:
        return "was deleted"
    if isinstance(record, LinkInfo):
        return ("" if record.up else "was set down") if ours else "lost our mark (its alias)"
    return "" if ours else "was no more permanent"
