"""Our two kinds of link: making, changing, adopting and deleting them.

A link is ours by its alias. One that has our name but no alias is adopted if it is what we would have
made (flannel's device at take-over, or our own if we died between making and marking it); anything else
under our name is somebody else's and stays.
"""

import errno
from collections.abc import Mapping

from overlay.dataplane.read import Links, convert
from overlay.errors import ForeignObject, KernelBusy, KernelRefused
from overlay.marks import ONLY, Marks, owner_of
from overlay.model import LEAST_V6_MTU, Action, Bridge, KernelObject, Step, Vxlan
from overlay.netlink import LinkInfo, Netlink, messages, parse

GONE = {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO}
"""What the kernel says when something to be deleted is not there; ENXIO of a link that has no IPv6 any more."""


class LinkDoor:
    """The host's links as last read, and the changes to ours."""

    def __init__(self, netlink: Netlink, marks: Marks = ONLY) -> None:
        self._netlink = netlink
        self.seen = Links.of((), {}, marks)
        self._indexes: dict[str, int] = {}
        """Of links that were found to be ours to write on since ``seen`` was: every entry of every peer asks."""

    def read(self, wanted: Mapping[str, Vxlan | Bridge]) -> None:
        """Look at all links; ``wanted`` are those that ought to be there, by name."""
        answers = self._netlink.dump(messages.link_dump())
        links = (parse.parse_link(body) for _, body in answers)
        self.seen = Links.of(links, wanted, self.seen.marks)
        self._indexes = {}

    def index(self, name: str) -> int:
        """The index of a link; KernelBusy if it is not there, or is somebody else's under the name of ours."""
        known = self._indexes.get(name)
        if known is not None:
            return known
        link = self.seen.by_name.get(name)
        if link is None:
            raise KernelBusy(f"device {name} is not there (yet)")
        if self._is_foreign(link):
            raise KernelBusy(f"the {link.kind or 'link'} {name} that is there is not ours")
        self._indexes[name] = link.index
        return link.index

    def exists(self, item: KernelObject) -> bool:
        """True if the device that an object hangs on is there."""
        link = self.seen.by_name.get(getattr(item, "link", ""))
        return link is not None and not self._is_foreign(link)

    def _is_foreign(self, link: LinkInfo) -> bool:
        """What we would write on it would be changes of somebody else's device."""
        wanted = self.seen.wanted.get(link.name)
        return wanted is not None and self.seen.ours(link.index, _kind(wanted)) is None

    def carry_out(self, step: Step) -> None:
        """Add, change in place or make anew, or delete; then look again."""
        item = step.object
        assert isinstance(item, Vxlan | Bridge)
        if step.action is Action.DELETE:
            self._delete(item.name)
            self.read({name: link for name, link in self.seen.wanted.items() if name != item.name})
            return
        self.read({**self.seen.wanted, item.name: item})
        present = self.seen.by_name.get(item.name)
        if present is not None and self._may_stay(present, item):
            self._set(item)
        else:
            creation = self._creation(item)  # may fail, and then what there is has to stay
            if present is not None:
                self._delete(item.name)
            try:
                self._netlink.request(creation)
            except KernelRefused as error:
                raise self._explained(item.name, error) from error
            self._set(item)
        self.read(self.seen.wanted)

    def _may_stay(self, present: LinkInfo, item: Vxlan | Bridge) -> bool:
        """True: change it in place. False: ours, to be made anew. ForeignObject: hands off."""
        if self.seen.ours(present.index, _kind(item)) is None:
            if self.seen.marks.are_on(present.alias) and present.kind in ("bridge", "vxlan"):
                return False  # our other device: somebody has renamed both
            other = owner_of(present.alias)
            whose = f"belongs to {other}" if other else "we did not make"
            raise ForeignObject(
                f"a {present.kind or 'link'} named {item.name} is there that {whose}, and it is "
                f"not what is needed: {item}",
                errno=errno.EEXIST,
                hint=f"look: ip -d link show {item.name}; then rename or delete it",
            )
        if isinstance(item, Bridge):
            return True
        was = convert(present, self.seen, unmarked=True)
        return isinstance(was, Vxlan) and was.fixed == item.fixed and not was.odd

    def _set(self, item: Vxlan | Bridge) -> None:
        """Mark first, then UP: no fe80 address is made, and a crash between leaves it marked."""
        marks = self.seen.marks
        alias = marks.bridge_alias if isinstance(item, Bridge) else marks.vtep_alias
        present = self.seen.by_name.get(item.name)
        if present is not None and present.mtu < LEAST_V6_MTU <= item.mtu:
            # Until now it had no IPv6 that an address generation mode could be set of.
            self._netlink.request(messages.link_set(item.name, mtu=item.mtu))
        has_v6 = item.mtu >= LEAST_V6_MTU
        mark = messages.link_set(item.name, alias=alias, no_link_local=has_v6)
        # To be given the MAC that it has costs a device all its neighbours (neigh_changeaddr).
        mac = None if present is not None and present.mac == item.mac else item.mac
        values = messages.link_set(item.name, mac=mac, mtu=item.mtu, up=True)
        marking, setting = self._netlink.batch([mark, values])
        if isinstance(marking, KernelRefused) and marking.errno == errno.EAFNOSUPPORT:
            # Booted with ipv6.disable=1: there is no such mode, and nothing to be kept from.
            (marking,) = self._netlink.batch([messages.link_set(item.name, alias=alias)])
        for error in (marking, setting):
            if isinstance(error, KernelRefused) and error.errno == errno.EADDRINUSE:
                raise _taken(item) from error
            if error is not None:
                raise error

    def _delete(self, name: str) -> None:
        """By its index where it was seen: one renamed to what is no UTF-8 has another name than the one we know."""
        link = self.seen.by_name.get(name)
        try:
            self._netlink.request(messages.link_delete(link.index if link else name))
        except KernelRefused as error:
            if error.errno not in GONE:
                raise

    def _explained(self, name: str, error: KernelRefused) -> KernelRefused:
        """The name may be a second one of somebody's link, which no list of links shows."""
        if error.errno != errno.EEXIST:
            return error
        try:
            answers = self._netlink.get(messages.link_get(name))
        except KernelRefused:
            return error
        link = next((parse.parse_link(body) for _, body in answers), None)
        if link is None or link.name == name:
            return error
        return KernelRefused(
            f"{link.name} has {name} as another name (altname), so {name} cannot be made",
            errno=errno.EEXIST,
            hint=f"look: ip link show {name}; then ip link property del dev {link.name} altname {name}",
        )

    def _creation(self, item: Vxlan | Bridge) -> bytes:
        if isinstance(item, Bridge):
            # One byte off, so that setting the MTU next is a change: only an MTU that was changed is
            # kept by the kernel, else a bridge takes the smallest of its ports'.
            return messages.link_bridge(item.name, mac=item.mac, mtu=item.mtu - 1)
        return messages.link_vxlan(
            item.name,
            mac=item.mac,
            mtu=item.mtu,
            vni=item.vni,
            port=item.port,
            local=item.local,
            lower=self.index(item.underlay),
            learning=item.learning,
            gbp=item.gbp,
        )


def _taken(item: Vxlan | Bridge) -> KernelRefused:
    """A program's socket, or a device that shares the port with none (agent.inway names that one)."""
    port = item.port if isinstance(item, Vxlan) else 0
    return KernelRefused(
        f"{item.name} cannot be brought up: somebody else has UDP port {port}",
        errno=errno.EADDRINUSE,
        hint=f"look: ss -lunp sport = :{port}; then end that program, or choose another Port for the network",
    )


def _kind(item: Vxlan | Bridge) -> str:
    return "vxlan" if isinstance(item, Vxlan) else "bridge"
