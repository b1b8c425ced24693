"""Pods that another plugin attached to our bridge: their addresses are held, so that no new pod gets one.

After a take-over from flannel its pods live on in cni0 under addresses that host-local gave them, of which our
allocator knows nothing. They are found by the bridge's ports: in which namespace the other end lies, and
which of our addresses it has there. host-local's files tell the names that a DEL will come with.

A pod that was found gets a journal like any other, so the sweep frees its address once the pod is proven gone.
Where a port leads to no namespace that can be entered, all that host-local holds is held, without a journal,
until a DEL. After a reboot no foreign port is there, so nothing is taken in.
"""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cni import attach, hostlocal, lock, pods, strays
from cni.ipam import Ipam
from cni.owner import Owner
from cni.record import RECORD_VERSION, Attachment
from cni.steps import Steps
from overlay.errors import AddressTaken, OverlayError
from overlay.model import ALIAS_PREFIX, POD_LINK_PREFIX, Address, HostAddress
from overlay.netlink import LinkInfo, Netlink, link_messages, messages, parse
from overlay.nodefile import NodeFamily

UNNAMED = "unnamed"
"""The network of a pod whose address is in no file of host-local; its container is then the port's name."""


@dataclass(frozen=True, slots=True)
class Pod:
    """The inner end of a foreign port. ``netns`` is a path, ``inode`` what it leads to."""

    port: str
    netns: str
    inode: int
    ifname: str
    mac: str
    mtu: int
    addresses: tuple[HostAddress, ...]


@dataclass(slots=True)
class TakeIn:
    """One look at a bridge: ``addresses`` are newly held, ``said`` are sentences for an operator."""

    run_dir: Path
    bridge: str
    families: Sequence[NodeFamily]
    host_local: Path
    addresses: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def run(self, *, doubtful: bool) -> "TakeIn":
        """Hold the addresses of all foreign ports' pods; again is harmless.

        ``doubtful`` says that ports which lead nowhere count as well: right after a take-over, when nobody
        can have freed anything yet.

        Raises:
            OverlayError: the kernel or the run directory cannot be read.
        """
        found, closed = _survey(self.bridge, self.families)
        names = hostlocal.allocations(self.host_local) if found or closed else {}
        for pod in found:
            self._hold(pod, names)
        if closed and doubtful:
            self.said.append(
                f"ports of {self.bridge} lead to no namespace that can be entered: {', '.join(closed)}; all that "
                f"{self.host_local} holds is held until the runtime's DEL, or: overlayctl ipam release ADDRESS"
            )
            for text, owner in names.items():
                self._take(owner, ip_address(text))
        return self

    def _hold(self, pod: Pod, names: Mapping[str, Owner]) -> None:
        owner = next(
            (names[str(item.ip)] for item in pod.addresses if str(item.ip) in names),
            Owner(UNNAMED, pod.port, pod.ifname),
        )
        ipam = Ipam(self.run_dir)
        if self._is_known(ipam, owner, pod):
            return
        for address in pod.addresses:
            self._take(owner, address.ip)
        ipam.write(
            Attachment(
                network=owner.network,
                container=owner.container,
                ifname=owner.ifname,
                netns=pod.netns,
                host_link="",
                addresses=tuple(str(address) for address in pod.addresses),
                mac=pod.mac,
                version=RECORD_VERSION,
                netns_inode=pod.inode,
                boot=pods.boot_id(),
                mtu=pod.mtu,
                bridge=self.bridge,
                adopted=str(self.host_local / owner.network),
            )
        )

    @staticmethod
    def _is_known(ipam: Ipam, owner: Owner, pod: Pod) -> bool:
        """Taken in before, or attached by a plugin that had its address from us."""
        held = ipam.held()
        places = {held.get(str(address.ip), "") for address in pod.addresses}
        records = [ipam.record_at(place) for place in {owner.place, *places} - {""}]
        return any(record is not None and record.netns_inode == pod.inode for record in records)

    def _take(self, owner: Owner, address: Address) -> None:
        ipam = Ipam(self.run_dir)
        family = next((one for one in self.families if address in one.subnet), None)
        if family is None or ipam.held().get(str(address)) == owner.place:
            return
        try:
            ipam.take(owner, family, wanted=address, linkless=True)
        except AddressTaken as error:
            self.said.append(f"{error} and used by {owner} of another plugin: one must go")
            return
        self.addresses.append(str(address))


def delete(owner: Owner, netns: str, run_dir: Path, steps: Steps) -> None:
    """DEL of a pod that was taken in: its link, host-local's file, and our hold on its address.

    The runtime sends it to the plugin of today, under the network's name of today: container and interface
    tell whom it means.
    """
    ipam = Ipam(run_dir)
    for place in _places(ipam, owner):
        with lock.held(run_dir, place, steps):
            record = ipam.record_at(place)
            # One that cannot be read may be a living pod's of ours; who was taken in has no link of ours.
            if not (record.adopted if record is not None else place in ipam.linkless()):
                continue
            if record is not None:
                steps.at("veth")
                attach.detach(record.owner, netns=netns, mac=record.mac)
                steps.at("address")
                for text in record.addresses:
                    hostlocal.forget(Path(record.adopted), text.partition("/")[0], record.container)
            ipam.release_at(place, record)


def export(run_dir: Path, network: Path) -> list[str]:
    """Tell host-local of our own pods, before flannel's plugin serves this node again; returns the addresses.

    Raises:
        AddressTaken: host-local has given one of them to somebody else.
        OSError: its directory cannot be written.
    """
    ipam, written = Ipam(run_dir), list[str]()
    for place in ipam.places():
        record = ipam.record_at(place)
        if record is None or record.adopted:
            continue
        for text in record.addresses:
            address = text.partition("/")[0]
            if hostlocal.reserve(network, address, record.owner):
                written.append(address)
    return written


def _places(ipam: Ipam, owner: Owner) -> list[str]:
    """What this container and interface have in other networks than the owner's, by journals and holds."""
    held = {place for place in ipam.linkless() if place.endswith(f"/{owner.name}")}
    with contextlib.suppress(OSError):
        for network in os.listdir(ipam.records):
            place = f"{network}/{owner.name}"
            if os.path.lexists(f"{ipam.records}/{place}.json"):
                held.add(place)
    return sorted(held - {owner.place})


# --- looking ------------------------------------------------------------------------------------------


def _survey(bridge: str, families: Sequence[NodeFamily]) -> tuple[list[Pod], list[str]]:
    """The pods of foreign ports with an address of ours, and the ports that lead nowhere."""
    with Netlink() as host:
        home = attach.find(host, bridge)
        if home is None:
            return [], []
        ports = [link for link in _links(host) if link.master == home.index and _is_foreign(link)]
        ways = dict(strays.ways_in(host)) if ports else {}
    found, closed = list[Pod](), list[str]()
    for port in ports:
        path = ways.get(port.peer_namespace, "")
        try:
            pod = _inner_end(port, path, families) if path else None
        except OverlayError:  # it went while we looked
            pod = None
        if pod is None:
            closed.append(port.name)
        elif pod.addresses:
            found.append(pod)
    return found, closed


def _is_foreign(link: LinkInfo) -> bool:
    """Our own ends bear our mark, or, in the midst of an ADD, at least our name."""
    return not link.alias.startswith(ALIAS_PREFIX) and not link.name.startswith(POD_LINK_PREFIX)


def _links(netlink: Netlink) -> list[LinkInfo]:
    return [parse.parse_link(body) for _, body in netlink.dump(link_messages.link_dump())]


def _inner_end(port: LinkInfo, path: str, families: Sequence[NodeFamily]) -> Pod | None:
    with attach.namespace(path) as descriptor, Netlink.in_namespace(descriptor) as inside:
        link = next((one for one in _links(inside) if one.index == port.peer), None)
        if link is None:
            return None
        addresses = tuple(
            address
            for family in families
            for _, body in inside.dump(messages.address_dump(family.family, link=link.index))
            if (address := parse.parse_address(body).address) in family.subnet
        )
        inode = attach.inode(descriptor)
    return Pod(port.name, path, inode, link.name, link.mac, link.mtu, addresses)
