"""Host ends in our bridge that no journal knows: whose pod is gone they are taken away, else taken in again.

A journal can be lost (somebody emptied the run directory) while its pod lives on. Without it the pod's address
would be given to the next one; so what the kernel still holds is written down again. The proof that a
pod is gone: no process lives in, and no mount holds, the namespace at the other end of the veth.

The other way round, where an allocation was lost and its journal was not, the journal tells what is to be held.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path

from cni import attach, collect, lock, pods
from cni.ipam import Ipam
from cni.owner import Owner, owner_at
from cni.record import RECORD_VERSION, Attachment
from overlay.errors import KernelRefused, OverlayError
from overlay.model import ALIAS_PREFIX, POD_LINK_PREFIX, Address
from overlay.netlink import LinkInfo, Netlink, link_messages, messages, parse
from overlay.nodefile import NodeFamily


@dataclass(frozen=True, slots=True)
class Stray:
    """A host end without a journal; ``netns`` is a path to its pod's namespace, empty if that is gone."""

    link: str
    index: int
    owner: Owner | None
    netns: str

    @property
    def place(self) -> str:
        """The attachment's, or the link's name where the mark is a digest."""
        return self.owner.place if self.owner else self.link


def survey(run_dir: Path, bridge: str) -> list[Stray]:
    """All strays in a bridge; nothing is changed."""
    known = set(_known(Ipam(run_dir)))
    with Netlink() as host:
        home = attach.find(host, bridge)
        lost = (
            []
            if home is None
            else [one for one in _ours(host, home.index) if one.name not in known]
        )
        if lost:  # by an ADD that began meanwhile; of one that ended meanwhile the first look knew
            known |= set(_known(Ipam(run_dir)))
            lost = [one for one in lost if one.name not in known]
        ways = dict(ways_in(host)) if lost else {}
    return [
        Stray(link.name, link.index, named(link), ways.get(link.peer_namespace, ""))
        for link in lost
    ]


def named(link: LinkInfo) -> Owner | None:
    """The owner in a link's mark, or None where it holds a digest or none."""
    parts = link.alias.removeprefix(ALIAS_PREFIX).split("/")
    if not link.alias.startswith(ALIAS_PREFIX) or len(parts) != 3:
        return None
    owner = Owner(*parts)
    return owner if owner.host_link == link.name else None


def take_in(
    run_dir: Path, stray: Stray, families: tuple[NodeFamily, ...], *, bridge: str, fits: int
) -> str:
    """Write down again what the pod has; returns its addresses. ``fits`` is the MTU that pods get now.

    What its configuration asked for is lost as well: a pod with another MTU than the others never gets more than that.

    Raises:
        OverlayError: the pod cannot be looked at, or one of its addresses is somebody else's by now.
    """
    owner = stray.owner
    if owner is None:
        raise KernelRefused(f"{stray.link} does not say whose it is", errno=2)
    if (run_dir / "attachments" / f"{owner.place}.json").exists():
        raise KernelRefused(f"{owner} has a record by now", errno=17)
    with (
        attach.namespace(stray.netns) as descriptor,
        Netlink.in_namespace(descriptor) as pod,
    ):
        inode = attach.inode(descriptor)
        link = attach.find(pod, owner.ifname)
        if link is None:
            raise KernelRefused(f"its pod has no {owner.ifname}", errno=19)
        found = [
            parse.parse_address(body).address
            for family in families
            for _, body in pod.dump(messages.address_dump(family.family, link=link.index))
        ]
    ipam, held = Ipam(run_dir), []
    already = ipam.held()
    for family in families:
        for address in found:
            if address not in family.subnet or address.ip == family.gateway.ip:
                continue
            if already.get(str(address.ip)) != owner.place:  # only the journal may have been lost
                ipam.take(owner, family, wanted=address.ip)
            held.append(str(address))
    ipam.write(
        Attachment(
            network=owner.network,
            container=owner.container,
            ifname=owner.ifname,
            netns=stray.netns,
            host_link=stray.link,
            addresses=tuple(held),
            mac=link.mac,
            version=RECORD_VERSION,
            netns_inode=inode,
            boot=pods.boot_id(),
            mtu=link.mtu,
            asked_mtu=0 if link.mtu == fits else -link.mtu,
            bridge=bridge,
        )
    )
    return ", ".join(held)


def unheld(record: Attachment, held: Mapping[str, str]) -> list[Address]:
    """The addresses that an attachment has by its journal and not by an allocation."""
    found = [ip_interface(text).ip for text in record.addresses]
    return [address for address in found if held.get(str(address)) != record.owner.place]


def hold_again(run_dir: Path, place: str, families: tuple[NodeFamily, ...]) -> list[Address]:
    """Take what a journal says and no allocation holds, before the next pod is given it; returns what was taken.

    Raises:
        AddressTaken: another attachment has got one meanwhile.
    """
    ipam, taken = Ipam(run_dir), list[Address]()
    with lock.tried(run_dir, place) as free:
        record = collect.record_of(ipam, place) if free else None
        for address in unheld(record, ipam.held()) if record else ():
            home = next((one for one in families if address in one.subnet), None)
            if record is not None and home is not None:
                ipam.take(record.owner, home, wanted=address, linkless=not record.host_link)
                taken.append(address)
    return taken


def remove(stray: Stray) -> None:
    """Delete the host end, and with it the other one."""
    with Netlink() as host:
        link = attach.find(host, stray.link)
        if link is not None and link.index == stray.index:
            host.request(link_messages.link_delete(link.index))


def _ours(host: Netlink, bridge: int) -> Iterator[LinkInfo]:
    for _, body in host.dump(link_messages.link_dump()):
        link = parse.parse_link(body)
        if (
            link.master == bridge
            and link.kind == "veth"
            and link.name.startswith(POD_LINK_PREFIX)
            and link.alias.startswith(ALIAS_PREFIX)
        ):
            yield link


def _known(ipam: Ipam) -> Iterator[str]:
    """The host ends of all journals, of those that cannot be read as well."""
    for place in ipam.places():
        record = collect.record_of(ipam, place)
        owner = record.owner if record else owner_at(place)
        if owner is not None:
            yield owner.host_link


def ways_in(host: Netlink) -> Iterator[tuple[int, str]]:
    """(the host's number for a namespace, a path that leads to it) for all that live."""
    for path in pods.ways_in().values():
        with contextlib.suppress(OSError, OverlayError):
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                number = _number(host, descriptor)
            finally:
                os.close(descriptor)
            if number is not None:
                yield number, path


def _number(host: Netlink, descriptor: int) -> int | None:
    for _, body in host.get(link_messages.namespace_number(descriptor)):
        return parse.parse_namespace_number(body)
    return None
