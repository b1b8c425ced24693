"""What IPv6 wants of a node and IPv4 does not. Pure.

Forwarding. Linux ignores router advertisements on an interface with accept_ra=1 once net.ipv6.conf.all.forwarding
is 1, and forgets the default routes it has from them at that very moment. A host whose underlay accepted them goes on
doing so with accept_ra=2, which has to be set before (linux, Documentation/networking/ip-sysctl.rst).

Link-local. Linux solicits a neighbour on behalf of somebody else from a link-local address only (ndisc_solicit in
net/ipv6/ndisc.c): without one on the bridge no pod is found by what comes out of the tunnel. We set it, so that
it needs no duplicate address detection. The tunnel's neighbours are permanent, so its device needs none.
"""

from collections.abc import Sequence
from ipaddress import ip_interface

from overlay.model import Bridge, HostAddress, KernelObject, LinkAddress, Sysctl

ACCEPT_RA_ALTHOUGH_FORWARDING = "2"


def deaf(links: Sequence[str]) -> list[KernelObject]:
    """A pod must not be able to configure its node by a router advertisement (CVE-2020-13597)."""
    return [Sysctl(_of(link, "accept_ra"), "0") for link in links]


def carrying(bridge: Bridge, device: str, underlay: str) -> list[KernelObject]:
    """What a node needs to carry pods' IPv6: over ``device``, whose packets ``underlay`` takes."""
    return [
        Sysctl(_of(underlay, "accept_ra"), ACCEPT_RA_ALTHOUGH_FORWARDING, instead_of="1"),
        # A host may have IPv6 off by default, and on for some interfaces.
        *(Sysctl(_of(link, "disable_ipv6"), "0") for link in (bridge.name, device) if link),
        LinkAddress(bridge.name, link_local(bridge.mac)),
    ]


def link_local(mac: str) -> HostAddress:
    """The fe80 address that the kernel would make of a MAC (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    tail = bytes((octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]))
    return ip_interface((bytes.fromhex("fe80") + bytes(6) + tail, 64))


def _of(link: str, name: str) -> str:
    return f"net/ipv6/conf/{link}/{name}"
