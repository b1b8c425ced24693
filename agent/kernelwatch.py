"""Netlink events → the reconcile loop: what is not explained by what we want is looked at again.

Our own changes come back as events too. They carry the wanted value, so a dictionary look-up tells them
apart; anything else (a deleted route, a device that went down, lost events) asks for a full read, which
alone decides what is wrong. Reads follow one another at a distance, so that a fight with another program
costs little. What changes about the underlay is passed on: its address may be the one peers know. All records
are passed on as well, for those who look after what is not in the wanted state (agent.podlinks).
"""

import logging
import threading
from typing import Protocol

from agent.loop import Loop
from agent.reconcile import Reconciler
from overlay.dataplane import Dataplane
from overlay.errors import BadInput
from overlay.marks import Marks
from overlay.netlink.monitor import Monitor
from overlay.netlink.parse import AddressInfo, LinkInfo, Record, RouteInfo

log = logging.getLogger(__name__)

RT_TABLE_MAIN = 254
LOOK_AFTER_S = 0.15
"""Changes come in groups: wait for the rest of the group before looking."""


class Told(Protocol):
    """Who is told; both must be quick."""

    def underlay_changed(self, *, hurry: bool = True) -> None:
        """The interface of a VTEP, or its addresses; without ``hurry`` a route, which may change all the time."""

    def heard(self, records: list[Record] | None) -> None:
        """All that was read; None if some of it was lost."""


class KernelWatch:
    """One thread; it touches the kernel only to listen."""

    def __init__(self, loop: Loop, dataplane: Dataplane, told: Told) -> None:
        self._told = told
        self._loop = loop
        self._dataplane = dataplane
        self._monitor = Monitor()
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
                records = self._monitor.read()
            except EOFError:
                return
            except BadInput as error:
                log.warning("a kernel event cannot be read: %s", error)
                continue
            self._told.heard(records)
            if records is None:
                log.info("kernel events were lost, reading everything")
                self._told.underlay_changed()
                self._loop.post(lambda reconciler: reconciler.kernel_changed())
            elif records:
                self._loop.post(lambda reconciler, these=records: self._judge(reconciler, these))  # type: ignore[misc]

    def _judge(self, reconciler: Reconciler, records: list[Record]) -> None:
        """In the loop's thread."""
        if any(self._is_underlays(reconciler, record) for record in records):
            self._told.underlay_changed()
        elif any(may_put_on_link(reconciler, record) for record in records):
            self._told.underlay_changed(hurry=False)
        for record in records:
            item = self._dataplane.observe(record)
            if item is not None and not reconciler.explains(item, deleted=record.deleted):
                reconciler.kernel_changed(after_s=LOOK_AFTER_S)
                return

    def _is_underlays(self, reconciler: Reconciler, record: Record) -> bool:
        """An interface that carries a VTEP or has others on link, or its addresses; a VTEP's address anywhere."""
        me = reconciler.me
        if me is None or not isinstance(record, LinkInfo | AddressInfo):
            return False
        names = {*me.connected.links, *(vtep.underlay for vtep in me.vteps)}
        if isinstance(record, LinkInfo):
            return record.name in names
        name = self._dataplane.link_name(record.link)
        return name in names or any(record.address.ip == vtep.local for vtep in me.vteps)


def may_put_on_link(reconciler: Reconciler, record: Record) -> bool:
    """A route of others that may change who is on link, or by which interface the tunnel goes."""
    me, network = reconciler.me, reconciler.network
    if me is None or network is None or not isinstance(record, RouteInfo):
        return False
    if record.protocol == Marks(me.instance).route_protocol or record.table != RT_TABLE_MAIN:
        return False
    near = record.via is None or me.connected.covers(record.dst)
    return not record.dst.prefixlen or (network.backend.direct and near)
