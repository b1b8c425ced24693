"""The kernel steps that put one pod on the bridge and take it off again.

One RTM_NEWLINK makes the veth pair with the pod's end already inside the pod and the host's end already
in the bridge, one marks it and brings it up; what remains inside the pod is one batch. Nothing
here waits for anybody else's pod.
"""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

from cni import sight
from cni.owner import Owner
from cni.results import PodRoute
from cni.steps import Steps
from overlay.errors import (
    BadEnvironment,
    ForeignObject,
    KernelBusy,
    KernelRefused,
    NotReady,
    OverlayError,
)
from overlay.model import LEAST_V6_MTU, Family, HostAddress
from overlay.netlink import LinkInfo, Netlink, link_messages, messages, parse
from overlay.netlink.namespace import open_inside

RTPROT_BOOT = 3
"""linux/rtnetlink.h; what `ip route add` gives a pod's default route."""
_GONE = {errno.ENODEV, errno.ENOENT}


@dataclass(frozen=True, slots=True)
class PodLink:
    """What is asked for: the pod's interface, its addresses and its routes."""

    owner: Owner
    bridge: str
    mtu: int
    addresses: tuple[HostAddress, ...]
    routes: tuple[PodRoute, ...]
    wanted_mac: str = ""

    @property
    def mac(self) -> str:
        """0a:58 and the IPv4 address, else a digest of the IPv6 one.

        An address that is given again keeps its MAC: the node and its pods remember neighbours, and only after
        seconds of trying an old MAC do they ask anew.
        """
        if self.wanted_mac:
            return self.wanted_mac
        first = self.addresses[0].ip.packed
        tail = first if len(first) == 4 else hashlib.sha256(first).digest()[:4]
        return "0a:58:" + ":".join(f"{byte:02x}" for byte in tail)

    @property
    def host_mac(self) -> str:
        """Locally administered, from the owner's digest."""
        tail = bytes.fromhex(self.owner.digest[12:22])
        return "0e:" + ":".join(f"{byte:02x}" for byte in tail)


@contextmanager
def namespace(path: str) -> Iterator[int]:
    """An open descriptor of the pod's network namespace.

    Raises:
        BadEnvironment: there is none at that path, or it is the host's own.
    """
    try:  # O_NONBLOCK: a named pipe at that path must not hold us
        descriptor = os.open(sight.way_to(path), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BadEnvironment(f"CNI_NETNS={path} cannot be opened: {error.strerror}") from error
    try:
        if fault := _fault(os.fstat(descriptor)):
            raise BadEnvironment(f"CNI_NETNS={path} is {fault}")
        yield descriptor
    finally:
        os.close(descriptor)


def _fault(given: os.stat_result) -> str:
    """A pod's default route in the host's own namespace would cut the host off."""
    own = os.stat("/proc/thread-self/ns/net")
    if given.st_dev != own.st_dev:
        return "not a network namespace"
    return "the host's own network namespace" if given.st_ino == own.st_ino else ""


def find(netlink: Netlink, name: str) -> LinkInfo | None:
    """A link by name, or None."""
    try:
        answers = netlink.get(link_messages.link_get(name))
    except KernelRefused as error:
        if error.errno in _GONE:
            return None
        raise
    return next((parse.parse_link(body) for _, body in answers), None)


def renamed(netlink: Netlink, owner: Owner) -> LinkInfo | None:
    """The host's end under another name, by its mark; looks through all links."""
    links = (parse.parse_link(body) for _, body in netlink.dump(link_messages.link_dump()))
    return next((it for it in links if it.kind == "veth" and it.alias == owner.alias), None)


def attach(link: PodLink, netns: int, steps: Steps) -> LinkInfo:
    """Make everything; on any failure nothing is left. Returns the bridge.

    Raises:
        NotReady: the bridge is not there, or the request's time is up.
        KernelRefused: the pod has an interface of that name already, or what the kernel says.
    """
    steps.at("look")
    with Netlink() as host, ExitStack() as undo:
        bridge = find(host, link.bridge)
        if bridge is None:
            raise NotReady(f"bridge {link.bridge} is not there", hint="overlayctl status")
        steps.at("veth")
        try:
            _make(host, link, netns, bridge.index)
        except KernelBusy:  # its answer may have been lost, and the pair be there
            _take_back(link.owner)
            raise
        except KernelRefused as error:
            raise _explained(error, link.owner.ifname, netns) from error
        undo.callback(_take_back, link.owner)
        _mark(host, link)
        steps.at("pod")
        _configure(link, netns)
        steps.at("end")  # a runtime that was told of a failure must not get a pod after all
        undo.pop_all()
        return bridge


def _explained(error: KernelRefused, ifname: str, netns: int) -> KernelRefused:
    """EEXIST may be about either end: looked up only then, since hardly ever is it there."""
    if error.errno != errno.EEXIST:
        return error
    pod, index = Netlink.at_link(netns, ifname)
    pod.close()
    if not index:
        return error
    return KernelRefused(f"the pod already has an interface {ifname}", errno=errno.EEXIST)


def detach(owner: Owner, *, netns: str = "", mac: str = "") -> None:
    """Delete the host's end, and the pod's with it; nothing there is success.

    Where the host's end is not found by name, the pod's end in ``netns`` is deleted, if its MAC is
    still the ``mac`` of the journal: the path may meanwhile be another container's.

    Raises:
        ForeignObject: a link of that name bears somebody else's mark.
    """
    with Netlink() as host:
        link = find(host, owner.host_link)
        if link is not None and not is_ours(link, owner):
            raise ForeignObject(
                f"link {link.name} ({link.kind}, alias {link.alias!r}) stands where {owner} would be",
                errno=errno.EEXIST,
                hint=f"look: ip -d link show {link.name}",
            )
        if link is not None:
            _delete(host, link)
        elif netns and mac:
            _detach_inside(netns, owner.ifname, mac)


def inode(descriptor: int) -> int:
    """What tells a network namespace from every other that lives now."""
    return os.fstat(descriptor).st_ino


def is_attached(owner: Owner) -> bool:
    """Whether the host's end of this attachment is there."""
    with Netlink() as host:
        link = find(host, owner.host_link)
    return link is not None and is_ours(link, owner)


def is_ours(link: LinkInfo, owner: Owner) -> bool:
    """Whether a link is the host's end: by the mark, or a veth of our name without any.

    That one is of an ADD that was killed before it could mark it.
    """
    return link.alias == owner.alias or (link.kind == "veth" and not link.alias)


def _take_back(owner: Owner) -> None:
    """Undo a half-made link; if even that fails, the first error is the one to tell."""
    with suppress(OverlayError):
        detach(owner)


def _detach_inside(netns: str, ifname: str, mac: str) -> None:
    with (
        suppress(BadEnvironment),  # the namespace is gone, and the link with it
        namespace(netns) as descriptor,
        Netlink.in_namespace(descriptor) as pod,
    ):
        link = find(pod, ifname)
        if link is not None and link.kind == "veth" and link.mac == mac:
            _delete(pod, link)


def _delete(netlink: Netlink, link: LinkInfo) -> None:
    try:
        netlink.request(link_messages.link_delete(link.index))
    except KernelRefused as error:
        if error.errno not in _GONE:
            raise


def _make(host: Netlink, link: PodLink, netns: int, bridge: int) -> None:
    host.request(
        link_messages.link_veth(
            link.owner.host_link,
            link.owner.ifname,
            mtu=link.mtu,
            netns_fd=netns,
            master=bridge,
            mac=link.host_mac,
            peer_mac=link.mac,
        )
    )


def _mark(host: Netlink, link: PodLink) -> None:
    """Where the kernel has no IPv6 for a link it refuses to be told of a link-local address."""
    if link.mtu >= LEAST_V6_MTU:
        try:
            return host.request(_host_end(link.owner, has_v6=True))
        except KernelRefused as error:
            if error.errno != errno.EAFNOSUPPORT:  # booted with ipv6.disable=1
                raise
    return host.request(_host_end(link.owner, has_v6=False))


def _host_end(owner: Owner, *, has_v6: bool) -> bytes:
    """Marked, UP, and in hairpin mode.

    That is for a pod that calls its own host port or service: where iptables sees bridged frames (as
    kubernetes wants it), the answer is a frame that leaves by the port it came in by.
    """
    return link_messages.link_set(
        owner.host_link, alias=owner.alias, no_link_local=has_v6, up=True, hairpin=True
    )


def _configure(link: PodLink, netns: int) -> None:
    """Inside the pod: loopback, addresses, up, routes; in one batch, failing as a whole."""
    if any(Family.of(address) is Family.V6 for address in link.addresses):
        open_inside(netns, partial(_switch_ipv6_on, link.owner.ifname))
    pod, index = Netlink.at_link(netns, link.owner.ifname)
    requests = [
        link_messages.link_set("lo", up=True),
        *(messages.address_add(index, address) for address in link.addresses),
        link_messages.link_set(index, up=True),
        *(
            # A pod of two networks has two default routes; the one that was there first stays first.
            messages.route_append(route.dst, link=index, via=route.via, protocol=RTPROT_BOOT)
            for route in link.routes
        ),
    ]
    with pod:
        if not index:
            raise KernelRefused(
                f"{link.owner.ifname} vanished while it was configured", errno=errno.ENODEV
            )
        for error in pod.batch(requests):
            if error is not None:
                raise error


def _switch_ipv6_on(ifname: str) -> None:
    """Some runtimes switch IPv6 off in every new namespace; a pod that is given an address of it may use it."""
    with suppress(OSError), open(f"/proc/sys/net/ipv6/conf/{ifname}/disable_ipv6", "r+") as switch:
        if switch.read(1) != "0":
            switch.seek(0)
            switch.write("0")
