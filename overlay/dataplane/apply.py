"""Reading what is ours and carrying out steps, through the two kernel doors and /proc/sys.

Peers' entries of a run of steps go to the kernel in one batch; links, addresses, switches and tables one
by one, because each changes what the next may lean on. A step that is already true is success.
"""

import errno
from collections.abc import Hashable, Iterable, Mapping
from itertools import groupby
from pathlib import Path

from overlay.dataplane.read import Links, convert
from overlay.dataplane.ruleset import Rulesets
from overlay.errors import ForeignObject, KernelBusy, KernelRefused, OverlayError
from overlay.model import (
    Action,
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
from overlay.netlink import Netlink, link_messages, messages, parse
from overlay.netlink.parse import Record

GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL}
"""What the kernel says when something to be deleted is not there."""
_BATCHED = (FdbEntry, Neighbour, Route)
_ALIASES = {Vxlan: "overlay:vtep", Bridge: "overlay:bridge"}


class Dataplane:
    """The kernel of the network namespace it was made in. Not thread-safe."""

    def __init__(self, run_dir: Path, *, sysctls: Path = Path("/proc/sys")) -> None:
        self._netlink = Netlink()
        self._rulesets = Rulesets(run_dir / "nft.json")
        self._sysctls = sysctls
        self._sysctl_changes = 0
        self._links = Links.of((), ())

    @property
    def changes(self) -> int:
        """State-changing operations accepted since this object was made."""
        return self._netlink.changes + self._rulesets.changes + self._sysctl_changes

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """Everything that bears our mark; of switches and tables those that ``want`` names.

        Raises:
            KernelBusy: the kernel's lists changed while they were read.
        """
        names = [item.name for item in want.values() if isinstance(item, Vxlan | Bridge)]
        self._read_links(names)
        found: dict[Hashable, KernelObject] = {}
        for record in (*self._links.by_index.values(), *self._records()):
            item = convert(record, self._links)
            if item is not None:
                found[item.key] = item
        for wanted in want.values():
            item = self._look(wanted)
            if item is not None:
                found[item.key] = item
        return found

    def observe(self, record: Record) -> KernelObject | None:
        """What one event is about, if it is ours, by the links as last read."""
        return convert(record, self._links)

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """Carry out steps in order; one result per step, failures stop nothing."""
        results: list[OverlayError | None] = []
        for batched, run in groupby(steps, key=lambda step: isinstance(step.object, _BATCHED)):
            part = list(run)
            results += self._batch(part) if batched else [self._one(step) for step in part]
        return results

    # --- reading -----------------------------------------------------------------------------------------

    def _read_links(self, names: Iterable[str]) -> None:
        answers = self._netlink.dump(link_messages.link_dump())
        self._links = Links.of((parse.parse_link(body) for _, body in answers), names)

    def _records(self) -> Iterable[Record]:
        for family in Family:
            yield from (
                parse.parse_address(body)
                for _, body in self._netlink.dump(messages.address_dump(family))
            )
            yield from (
                parse.parse_route(body)
                for _, body in self._netlink.dump(messages.route_dump(family))
            )
        for link in self._links.by_index.values():
            if not self._links.ours(link.index, "vxlan"):
                continue
            dumps = [messages.neighbour_dump(family, link=link.index) for family in Family]
            for dump in (*dumps, messages.fdb_dump(link=link.index)):
                yield from (parse.parse_neighbour(body) for _, body in self._netlink.dump(dump))

    def _look(self, wanted: KernelObject) -> KernelObject | None:
        if isinstance(wanted, Ruleset):
            return self._rulesets.read(wanted)
        if isinstance(wanted, Sysctl):
            try:
                return Sysctl(wanted.path, (self._sysctls / wanted.path).read_text().strip())
            except OSError:
                return None
        return None

    # --- applying ----------------------------------------------------------------------------------------

    def _one(self, step: Step) -> OverlayError | None:
        try:
            match step.object:
                case Sysctl():
                    self._set_sysctl(step.object)
                case Ruleset():
                    self._rulesets.write(step.object, delete=step.action is Action.DELETE)
                case LinkAddress():
                    self._set_address(step)
                case Vxlan() | Bridge():
                    self._set_link(step)
        except OverlayError as error:
            return error
        return None

    def _set_sysctl(self, item: Sysctl) -> None:
        try:
            (self._sysctls / item.path).write_text(item.value)
        except OSError as error:
            raise KernelRefused(f"{item}: {error.strerror}", errno=error.errno or 0) from error
        self._sysctl_changes += 1

    def _set_address(self, step: Step) -> None:
        item = step.object
        assert isinstance(item, LinkAddress)
        index = self._index(item.link)
        if step.action is Action.DELETE:
            self._unless_gone(messages.address_delete(index, item.address))
        else:
            self._netlink.request(messages.address_add(index, item.address))

    def _set_link(self, step: Step) -> None:
        item, was = step.object, step.was
        assert isinstance(item, Vxlan | Bridge)
        if step.action is Action.DELETE:
            self._unless_gone(link_messages.link_delete(item.name))
        elif step.action is Action.REPLACE and _same_device(item, was):
            self._netlink.request(
                link_messages.link_set(item.name, mac=item.mac, mtu=item.mtu, up=True)
            )
        else:
            if step.action is Action.REPLACE:
                self._unless_gone(link_messages.link_delete(item.name))
            self._make_link(item)
        self._read_links({*self._links.wanted, item.name})

    def _make_link(self, item: Vxlan | Bridge) -> None:
        try:
            self._netlink.request(self._creation(item))
        except KernelRefused as error:
            if error.errno == errno.EEXIST:
                raise ForeignObject(
                    f"{item.name} exists and is not a {_ALIASES[type(item)][8:]} device of ours",
                    errno=error.errno,
                    hint=f"look: ip -d link show {item.name}; then rename or delete it",
                ) from error
            raise
        alias = _ALIASES[type(item)]
        self._netlink.request(link_messages.link_set(item.name, alias=alias, no_link_local=True))
        self._netlink.request(link_messages.link_set(item.name, up=True))

    def _creation(self, item: Vxlan | Bridge) -> bytes:
        if isinstance(item, Bridge):
            return link_messages.link_bridge(item.name, mac=item.mac, mtu=item.mtu)
        return link_messages.link_vxlan(
            item.name,
            mac=item.mac,
            mtu=item.mtu,
            vni=item.vni,
            port=item.port,
            local=item.local,
            lower=self._index(item.underlay),
            learning=item.learning,
            gbp=item.gbp,
        )

    def _batch(self, steps: list[Step]) -> list[OverlayError | None]:
        results: list[OverlayError | None] = [None] * len(steps)
        sent: list[tuple[int, bytes]] = []
        for place, step in enumerate(steps):
            try:
                sent.append((place, self._message(step)))
            except OverlayError as error:
                results[place] = error
        answers = self._netlink.batch([body for _, body in sent])
        for (place, _), answer in zip(sent, answers, strict=True):
            results[place] = _judged(steps[place], answer)
        return results

    def _message(self, step: Step) -> bytes:
        item, delete = step.object, step.action is Action.DELETE
        match item:
            case FdbEntry():
                make = messages.fdb_delete if delete else messages.fdb_replace
                return make(self._index(item.link), item.mac, item.underlay)
            case Neighbour() if delete:
                return messages.neighbour_delete(self._index(item.link), item.ip)
            case Neighbour():
                return messages.neighbour_replace(self._index(item.link), item.ip, item.mac)
            case Route():
                send = {
                    Action.ADD: messages.route_add,
                    Action.REPLACE: messages.route_replace,
                    Action.DELETE: messages.route_delete,
                }[step.action]
                index = self._index(item.link)
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

    def _index(self, name: str) -> int:
        link = self._links.by_name.get(name)
        if link is None:
            raise KernelBusy(f"device {name} is not there (yet)")
        return link.index


def _same_device(item: Vxlan | Bridge, was: KernelObject | None) -> bool:
    """True if the living device can be changed in place."""
    if isinstance(item, Vxlan):
        return isinstance(was, Vxlan) and was.fixed == item.fixed
    return isinstance(was, Bridge)


def _judged(step: Step, error: OverlayError | None) -> OverlayError | None:
    if not isinstance(error, KernelRefused):
        return error
    if step.action is Action.DELETE and error.errno in GONE:
        return None
    if step.action is Action.ADD and isinstance(step.object, Route) and error.errno == errno.EEXIST:
        family = "-6 " if Family.of(step.object.dst) is Family.V6 else ""
        return ForeignObject(
            f"a route to {step.object.dst} that is not ours stands in the way",
            errno=errno.EEXIST,
            hint=f"look: ip {family}route show {step.object.dst}; then delete it",
        )
    return error
