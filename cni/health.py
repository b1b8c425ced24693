"""What is there of a pod's network, compared with what ADD left: faults in words, and mending the host's side.

CHECK asks by a runtime's prevResult, the agent by its journal. What plugins chained after us changed
(routes, a smaller MTU, the MAC in prevResult) is no fault; more than one thing may be wrong, and all of it is said.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from cni import attach
from cni.attach import find
from cni.record import Attachment
from overlay.errors import BadEnvironment, KernelRefused, OverlayError
from overlay.model import Address, Family, HostAddress
from overlay.netlink import LinkInfo, Netlink, link_messages, messages, parse


@dataclass(frozen=True, slots=True)
class Expected:
    """Mostly the pod's side. ``mac`` and ``mtu`` are not compared where empty or 0.

    ``mtu`` is the most that the pod's end may have, and what the host's end has.
    """

    ifname: str
    mac: str
    mtu: int
    addresses: tuple[HostAddress, ...]
    destinations: frozenset[str]


@dataclass(frozen=True, slots=True)
class Faults:
    """``host`` can be mended from outside of the pod, ``pod`` is the pod's or a chained plugin's, ``bridge`` concerns
    all pods, and the reconciler looks after it."""

    host: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    bridge: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        """Of all three."""
        return (*self.bridge, *self.host, *self.pod)


def look(record: Attachment, expected: Expected, gateways: tuple[Address, ...]) -> Faults:
    """Compare an attachment with the kernel; raises OverlayError only if it cannot be asked."""
    with Netlink() as host:
        # A record of an older version does not say which bridge it was.
        bridge = find(host, record.bridge) if record.bridge else None
        common = tuple(_of_the_bridge(host, record, bridge, gateways))
        found = tuple(_on_the_host(host, record, bridge, expected.mtu))
    return Faults(found, tuple(_in_the_pod(record.netns, expected)), common)


def mend(record: Attachment) -> None:
    """Put the host's end right: name, mark, bridge, MTU, UP. The pod's own side is not touched.

    Raises:
        OverlayError: it is gone, or the kernel refused.
    """
    with Netlink() as host:
        link, bridge = find(host, record.host_link), find(host, record.bridge)
        if link is None and (link := attach.renamed(host, record.owner)) is not None:
            _name(host, link.index, record.host_link)
        if link is None:
            raise KernelRefused(
                f"the host's end {record.host_link} is gone, and the pod's with it: start the pod anew",
                errno=errno.ENODEV,
            )
        if bridge is None:
            raise KernelRefused(f"bridge {record.bridge} is gone", errno=errno.ENODEV)
        if not attach.is_ours(link, record.owner):
            raise KernelRefused(f"{link.name} bears another mark: {link.alias!r}", errno=17)
        host.request(
            link_messages.link_set(
                link.index,
                alias=record.owner.alias,
                master=None if link.master == bridge.index else bridge.index,
                mtu=record.mtu or None,
                up=True,
            )
        )
        if link.master != bridge.index:  # a port begins with the kernel's settings, not with ADD's
            host.request(link_messages.link_set(link.index, hairpin=True))


def _name(host: Netlink, index: int, name: str) -> None:
    try:
        host.request(link_messages.link_set(index, name=name))
    except KernelRefused as error:
        if error.errno != errno.EBUSY:
            raise
        # Before Linux 6.3 only a link that is down can get another name.
        host.request(link_messages.link_set(index, up=False))
        host.request(link_messages.link_set(index, name=name))


def _of_the_bridge(
    host: Netlink, record: Attachment, bridge: LinkInfo | None, gateways: tuple[Address, ...]
) -> Iterator[str]:
    if bridge is None and record.bridge:
        yield f"bridge {record.bridge} is gone"
    if bridge is not None:
        if not bridge.up:
            yield f"bridge {bridge.name} is down"
        there = _addresses(host, bridge)
        for gateway in gateways:
            if gateway not in {item.ip for item in there}:
                yield f"bridge {bridge.name} has lost its address {gateway}"


def _on_the_host(
    host: Netlink, record: Attachment, bridge: LinkInfo | None, mtu: int
) -> Iterator[str]:
    link = find(host, record.host_link)
    if link is None:
        other = attach.renamed(host, record.owner)
        yield f"the host's end {record.host_link} is {f'named {other.name}' if other else 'gone'}"
        return
    if not attach.is_ours(link, record.owner):
        yield f"the host's end {link.name} bears another mark: {link.alias!r}"
        return
    if not link.alias:
        yield f"the host's end {link.name} has lost its mark"
    if not link.up:
        yield f"the host's end {link.name} is down"
    if bridge is not None and link.master != bridge.index:
        yield f"the host's end {link.name} is not in bridge {bridge.name}"
    if mtu and link.mtu != mtu:
        yield f"the host's end {link.name} has MTU {link.mtu} instead of {mtu}"


def _in_the_pod(netns: str, expected: Expected) -> Iterator[str]:
    try:
        with attach.namespace(netns) as descriptor, Netlink.in_namespace(descriptor) as pod:
            yield from _inside(pod, expected)
    except BadEnvironment as error:
        yield str(error)


def _inside(pod: Netlink, expected: Expected) -> Iterator[str]:
    link = find(pod, expected.ifname)
    if link is None:
        yield f"interface {expected.ifname} is gone from the pod"
        return
    if not link.up:
        yield f"interface {link.name} is down"
    if expected.mac and link.mac != expected.mac.lower():
        yield f"interface {link.name} has MAC {link.mac} instead of {expected.mac}"
    if expected.mtu and link.mtu > expected.mtu:
        yield f"interface {link.name} has MTU {link.mtu}, {expected.mtu} is the most that fits"
    there = _addresses(pod, link)
    for address in expected.addresses:
        if address not in there:
            yield f"address {address} is gone from {link.name}"
    known = _destinations(pod, link, {Family.of(item) for item in expected.addresses})
    for destination in sorted(expected.destinations - known):
        yield f"the route to {destination} is gone"


def _addresses(netlink: Netlink, link: LinkInfo) -> set[HostAddress]:
    return {
        found.address
        for family in Family
        for _, body in netlink.dump(messages.address_dump(family, link=link.index))
        if (found := parse.parse_address(body)).link == link.index
    }


def _destinations(pod: Netlink, link: LinkInfo, families: set[Family]) -> set[str]:
    """In whatever table: a chained plugin may have moved them."""
    found: set[str] = set()
    for family in families:
        try:
            answers = pod.dump(messages.route_dump(family, link=link.index, table=0))
        except OverlayError:
            continue
        found |= {str(parse.parse_route(body).dst) for _, body in answers}
    return found
