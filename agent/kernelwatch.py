"""Netlink events → the reconcile loop: what is not explained by what we want is looked at again.

Our own changes come back as events too. They carry the wanted value, so a dictionary look-up tells them
apart; anything else (a deleted route, a device that went down, lost events) asks for a full read, which
alone decides what is wrong. Reads follow one another at a distance, so that a fight with another program
costs little. What changes about the underlay is passed on: its address may be the one peers know.
"""

import logging
import threading
from collections.abc import Callable
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


class Look(Protocol):
    """Told that the underlay changed. Must be quick."""

    def __call__(self, *, hurry: bool = True) -> None:
        """Without ``hurry`` it was a route, which may change all the time."""


class KernelWatch:
    """One thread; it touches the kernel only to listen. ``heard`` is told of all that is read, and must be quick."""

    def __init__(
        self,
        loop: Loop,
        dataplane: Dataplane,
        *,
        underlay_changed: Look,
        heard: Callable[[list[Record] | None], None],
    ) -> None:
        self._heard = heard
        self._underlay_changed = underlay_changed
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
            self._heard(records)
            if records is None:
                log.info("kernel events were lost, reading everything")
                self._underlay_changed()
                self._loop.post(lambda reconciler: reconciler.kernel_changed())
            elif records:
                self._loop.post(lambda reconciler, these=records: self._judge(reconciler, these))  # type: ignore[misc]

    def _judge(self, reconciler: Reconciler, records: list[Record]) -> None:
        """In the loop's thread."""
        if any(self._is_underlays(reconciler, record) for record in records):
            self._underlay_changed()
        elif any(may_put_on_link(reconciler, record) for record in records):
            self._underlay_changed(hurry=False)
        for record in records:
            item = self._dataplane.observe(record)
            if item is not None and not reconciler.explains(item, deleted=record.deleted):
                reconciler.kernel_changed(after_s=LOOK_AFTER_S)
                return

    def _is_underlays(self, reconciler: Reconciler, record: Record) -> bool:
        """The interface that carries a VTEP, or its addresses; a VTEP's address wherever it goes to."""
        vteps = reconciler.me.vteps if reconciler.me else ()
        match record:
            case LinkInfo():
                return any(record.name == vtep.underlay for vtep in vteps)
            case AddressInfo():
                name = self._dataplane.link_name(record.link)
                return any(
                    name == vtep.underlay or record.address.ip == vtep.local for vtep in vteps
                )
            case _:
                return False


def may_put_on_link(reconciler: Reconciler, record: Record) -> bool:
    """A route of others that may change who is on link, or by which interface the tunnel goes."""
    me, network = reconciler.me, reconciler.network
    if me is None or network is None or not isinstance(record, RouteInfo):
        return False
    if record.protocol == Marks(me.instance).route_protocol or record.table != RT_TABLE_MAIN:
        return False
    near = record.via is None or me.connected.covers(record.dst)
    return not record.dst.prefixlen or (network.backend.direct and near)
