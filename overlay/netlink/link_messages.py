"""Requests about links: VXLAN, bridge, veth; set, delete, get. Pure bytes, nothing is sent here.

A link may be named by its index or by its name.
"""

import struct
from ipaddress import IPv4Address

from overlay.model import Address
from overlay.netlink.attributes import (
    attribute,
    big_endian16,
    message,
    nested,
    number8,
    number32,
    pack_mac,
    text,
)
from overlay.netlink.constants import (
    IFF_NOARP,
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_AF_SPEC,
    IFLA_BRPORT_MODE,
    IFLA_EXT_MASK,
    IFLA_GROUP,
    IFLA_IFALIAS,
    IFLA_IFNAME,
    IFLA_INET6_ADDR_GEN_MODE,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NET_NS_FD,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    IFLA_TXQLEN,
    IFLA_VXLAN_GBP,
    IFLA_VXLAN_ID,
    IFLA_VXLAN_LEARNING,
    IFLA_VXLAN_LINK,
    IFLA_VXLAN_LOCAL,
    IFLA_VXLAN_LOCAL6,
    IFLA_VXLAN_PORT,
    IFLA_VXLAN_TTL,
    IN6_ADDR_GEN_MODE_NONE,
    NETNSA_FD,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    RTEXT_FILTER_SKIP_STATS,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_GETNSID,
    RTM_NEWLINK,
    RTM_SETLINK,
    VETH_INFO_PEER,
)

_IFINFO = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, type, index, flags, change mask."""
_AF_INET6 = 10
_ONE_QUEUE = number32(IFLA_NUM_TX_QUEUES, 1) + number32(IFLA_NUM_RX_QUEUES, 1)
"""A veth has a queue per CPU by default, which only XDP uses and every creation pays for."""
_NO_LINK_LOCAL = nested(
    IFLA_AF_SPEC, nested(_AF_INET6, number8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE))
)
"""Keeps the kernel from making an fe80 address by itself (effective on a link that exists)."""


def link_vxlan(
    name: str,
    *,
    mac: str,
    mtu: int,
    vni: int,
    port: int,
    local: Address,
    lower: int,
    learning: bool = False,
    gbp: bool = False,
) -> bytes:
    """Make a VXLAN device (DOWN). ``lower`` is the index of the interface that carries ``local``.

    No remote and no group: every destination is an FDB entry. TTL 0: the kernel takes the route's.
    """
    is_v4 = isinstance(local, IPv4Address)
    data = [
        number32(IFLA_VXLAN_ID, vni),
        number32(IFLA_VXLAN_LINK, lower),
        attribute(IFLA_VXLAN_LOCAL if is_v4 else IFLA_VXLAN_LOCAL6, local.packed),
        number8(IFLA_VXLAN_TTL, 0),
        number8(IFLA_VXLAN_LEARNING, int(learning)),
        big_endian16(IFLA_VXLAN_PORT, port),
    ]
    if gbp:
        data.append(attribute(IFLA_VXLAN_GBP, b""))
    return _create(name, _own(mac, mtu), number32(IFLA_TXQLEN, 0), _link_info("vxlan", *data))


def link_bridge(name: str, *, mac: str, mtu: int) -> bytes:
    """Make a bridge (DOWN). Its MAC is stated, so it does not follow its ports' MACs."""
    return _create(name, _own(mac, mtu), _link_info("bridge"))


def link_veth(
    name: str,
    peer_name: str,
    *,
    mtu: int,
    netns_fd: int,
    master: int | None = None,
    mac: str | None = None,
    peer_mac: str | None = None,
    group: int = 0,
) -> bytes:
    """Make a veth pair in one request: host end (DOWN) in its bridge, the peer already in the pod.

    ``netns_fd`` is an open descriptor of the pod's network namespace, ``master`` the bridge's index.
    """
    peer = [
        _own(peer_mac, mtu),
        _ONE_QUEUE,
        number32(IFLA_NET_NS_FD, netns_fd),
        text(IFLA_IFNAME, peer_name),
    ]
    info = _link_info("veth", nested(VETH_INFO_PEER, _IFINFO.pack(0, 0, 0, 0, 0), *peer))
    parts = [_own(mac, mtu), _ONE_QUEUE, info]
    if master is not None:
        parts.append(number32(IFLA_MASTER, master))
    if group:
        parts.append(number32(IFLA_GROUP, group))
    return _create(name, *parts)


def link_set(
    link: int | str,
    *,
    up: bool | None = None,
    mtu: int | None = None,
    mac: str | None = None,
    master: int | None = None,
    alias: str | None = None,
    group: int | None = None,
    no_link_local: bool = False,
    hairpin: bool | None = None,
    name: str = "",
) -> bytes:
    """Change what is given. ``master`` 0 takes it out of its bridge; ``alias`` "" removes the alias; ``name`` is a new
    one, of a ``link`` that is given by its index.

    ``hairpin`` lets a bridge port send frames back where they came from, or not.
    """
    parts = [_own(mac, mtu)]
    if name:
        parts.append(text(IFLA_IFNAME, name))
    if master is not None:
        parts.append(number32(IFLA_MASTER, master))
    if alias is not None:
        parts.append(attribute(IFLA_IFALIAS, alias.encode()))
    if group is not None:
        parts.append(number32(IFLA_GROUP, group))
    if no_link_local:
        parts.append(_NO_LINK_LOCAL)
    if hairpin is None:
        return message(RTM_SETLINK, 0, _which(link, up), *parts)
    data = nested(IFLA_INFO_SLAVE_DATA, number8(IFLA_BRPORT_MODE, int(hairpin)))
    parts.append(nested(IFLA_LINKINFO, text(IFLA_INFO_SLAVE_KIND, "bridge"), data))
    # SETLINK knows nothing of a port's settings; without NLM_F_CREATE this changes what is there.
    return message(RTM_NEWLINK, 0, _which(link, up), *parts)


def link_delete(link: int | str) -> bytes:
    """Delete a link (and a veth's other end)."""
    return message(RTM_DELLINK, 0, _which(link, None))


def group_delete(group: int) -> bytes:
    """Delete every link of a group at once, much cheaper than one by one; never group 0."""
    if group <= 0:
        raise ValueError("link group 0 holds every link nobody has grouped; it is never deleted")
    return message(RTM_DELLINK, 0, _IFINFO.pack(0, 0, 0, 0, 0), number32(IFLA_GROUP, group))


def link_get(link: int | str) -> bytes:
    """Ask for one link."""
    return message(
        RTM_GETLINK, 0, _which(link, None), number32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    )


def link_dump() -> bytes:
    """Ask for all links, without their statistics."""
    mask = number32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return message(RTM_GETLINK, NLM_F_DUMP, _IFINFO.pack(0, 0, 0, 0, 0), mask)


def namespace_number(descriptor: int) -> bytes:
    """Ask for our own number of the network namespace behind an open descriptor."""
    return message(RTM_GETNSID, 0, struct.pack("=Bxxx", 0), number32(NETNSA_FD, descriptor))


def _which(link: int | str, up: bool | None) -> bytes:
    index = link if isinstance(link, int) else 0
    change = 0 if up is None else IFF_UP
    if up:
        change |= IFF_NOARP  # what is to carry packets asks for its neighbours
    head = _IFINFO.pack(0, 0, index, IFF_UP if up else 0, change)
    return head if isinstance(link, int) else head + text(IFLA_IFNAME, link)


def _own(mac: str | None, mtu: int | None) -> bytes:
    parts = b"" if mac is None else attribute(IFLA_ADDRESS, pack_mac(mac))
    return parts if mtu is None else parts + number32(IFLA_MTU, mtu)


def _link_info(kind: str, *data: bytes) -> bytes:
    parts = [text(IFLA_INFO_KIND, kind)]
    if data:
        parts.append(nested(IFLA_INFO_DATA, *data))
    return nested(IFLA_LINKINFO, *parts)


def _create(name: str, *parts: bytes) -> bytes:
    head = _IFINFO.pack(0, 0, 0, 0, 0) + text(IFLA_IFNAME, name)
    return message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, head, *parts)
