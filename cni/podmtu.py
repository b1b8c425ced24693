"""The MTU of a pod that runs: both ends of its veth, and the routes in it that state one.

The order is the packets': nothing may be sent that the next thing on its way cannot hold, because a veth drops
such a packet without a word. Smaller: the pod's end (which sends), its routes, the host's end. Larger: the other
way round. The node's own devices were changed before (agent.podlinks says why).
"""

import contextlib
import errno
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from cni import attach, pods, sight
from cni.record import Attachment
from overlay.errors import KernelRefused
from overlay.model import Family
from overlay.netlink import LinkInfo, Netlink, link_messages, messages, parse
from overlay.netlink.constants import RT_TABLE_LOCAL
from overlay.netlink.route_metrics import route_deletion, route_mtu, route_with_mtu


def follow(record: Attachment, fits: int) -> tuple[Attachment, tuple[str, ...]]:
    """Give a pod the MTU that is due where ``fits`` bytes fit; returns its journal as it is now, and which routes the
    kernel refused: they keep no link and no other route from it.

    An end in the pod that is smaller than what we gave (a plugin chained after us may do that) never gets more.

    Raises:
        OverlayError: the pod cannot be entered, or the kernel refused.
    """
    with _entered(record) as pod, Netlink() as host:
        inner = attach.find(pod, record.ifname)
        if inner is None:
            raise KernelRefused(
                f"interface {record.ifname} is gone from the pod", errno=errno.ENODEV
            )
        outer = _outer_end(host, record, inner)
        asked = record.asked_mtu if record.asked_mtu >= 0 else -record.most_mtu
        if record.mtu > inner.mtu != record.due_mtu(fits):  # that would be ours, half done
            asked = -min(record.most_mtu or inner.mtu, inner.mtu)
        new = msgspec.structs.replace(record, asked_mtu=asked)
        new = msgspec.structs.replace(new, mtu=new.due_mtu(fits))
        if new.mtu < inner.mtu:
            refused = _set_inner(pod, inner, new.mtu)
            _set(host, outer, new.mtu)
        else:
            _set(host, outer, new.mtu)
            refused = _set_inner(pod, inner, new.mtu)
    return new, refused


def _set_inner(pod: Netlink, inner: LinkInfo, mtu: int) -> tuple[str, ...]:
    """The link, and those of its routes whose own MTU does not fit or was the link's; those that were refused."""
    _set(pod, inner, mtu)
    refused = []
    for family in Family:
        for _, body in pod.dump(messages.route_dump(family, link=inner.index, table=0)):
            stated = route_mtu(body)
            if not stated or parse.parse_route(body).table == RT_TABLE_LOCAL:
                continue
            # The kernel's own rule for IPv6 (rt6_mtu_change): too large, or limited by this link alone.
            if stated > mtu or (stated == inner.mtu and stated != mtu):
                try:
                    _set_route(pod, family, body, mtu)
                except KernelRefused as error:
                    dst = parse.parse_route(body).dst
                    refused.append(
                        f"its route to {dst} keeps MTU {stated} instead of {mtu}: {error}"
                    )
    return tuple(refused)


def _set_route(pod: Netlink, family: Family, body: bytes, mtu: int) -> None:
    """IPv4 replaces the first route to a subnet with that metric, which may be another one of several: of the pod's
    other interface, say. So the new one is put behind all of them, and then the old one goes."""
    if family is Family.V6:
        return pod.request(route_with_mtu(body, mtu))
    try:
        pod.request(route_with_mtu(body, mtu, beside=True))
    except KernelRefused as error:
        if error.errno != errno.EEXIST:  # that would be ours, half done
            raise
    return pod.request(route_deletion(body))


def _set(netlink: Netlink, link: LinkInfo | None, mtu: int) -> None:
    if link is not None and link.mtu != mtu:
        netlink.request(link_messages.link_set(link.index, mtu=mtu))


@contextmanager
def _entered(record: Attachment) -> Iterator[Netlink]:
    """A socket in the pod, by the runtime's path or, where that is gone, by a process that lives there."""
    way = record.netns
    if record.netns_inode and sight.inode_at(way) != record.netns_inode:
        way = pods.ways_in().get(record.netns_inode, way)
        if sight.inode_at(way) != record.netns_inode:
            raise KernelRefused(
                f"its network namespace cannot be entered by {record.netns}", errno=errno.ENOENT
            )
    with attach.namespace(way) as descriptor, Netlink.in_namespace(descriptor) as pod:
        yield pod


def _outer_end(host: Netlink, record: Attachment, inner: LinkInfo) -> LinkInfo | None:
    """By its name and mark, or, of a pod that another plugin attached, as the other end of a veth in our bridge."""
    if record.host_link:
        link = attach.find(host, record.host_link) or attach.renamed(host, record.owner)
        return link if link is not None and attach.is_ours(link, record.owner) else None
    bridge = attach.find(host, record.bridge)
    with contextlib.suppress(KernelRefused):
        for _, body in host.get(link_messages.link_get(inner.peer)):
            link = parse.parse_link(body)
            both = link.kind == inner.kind == "veth" and link.peer == inner.index
            return link if both and bridge is not None and link.master == bridge.index else None
    return None
