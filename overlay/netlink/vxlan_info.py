"""What the kernel says of a VXLAN device, and what of it nobody should have asked for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from overlay.model import Address
from overlay.netlink import constants as c
from overlay.netlink.attributes import unpack_address, unpack_number

_ODD = {
    c.IFLA_VXLAN_GROUP: "a remote",
    c.IFLA_VXLAN_GROUP6: "a remote",
    c.IFLA_VXLAN_TTL: "ttl",
    c.IFLA_VXLAN_TOS: "tos",
    c.IFLA_VXLAN_LIMIT: "maxaddress",
    c.IFLA_VXLAN_PROXY: "proxy",
    c.IFLA_VXLAN_RSC: "rsc",
    c.IFLA_VXLAN_L2MISS: "l2miss",
    c.IFLA_VXLAN_L3MISS: "l3miss",
    c.IFLA_VXLAN_DF: "df",
}
"""Settings that are 0 or absent on a device as we make it, by ip-link(8)'s names."""


@dataclass(frozen=True, slots=True)
class VxlanInfo:
    """The fixed part of a VXLAN device. ``lower`` is the underlay's link index, or 0.

    ``odd`` are settings that hurt and that neither we nor flannel give, in words; empty if there are none.
    """

    vni: int
    port: int
    local: Address | None
    lower: int
    learning: bool
    gbp: bool
    odd: str = ""


def read(data: Mapping[int, bytes]) -> VxlanInfo:
    """IFLA_INFO_DATA of a VXLAN device."""
    local = data.get(c.IFLA_VXLAN_LOCAL) or data.get(c.IFLA_VXLAN_LOCAL6)
    return VxlanInfo(
        vni=_number(data, c.IFLA_VXLAN_ID),
        port=int.from_bytes(data.get(c.IFLA_VXLAN_PORT, b""), "big"),
        local=unpack_address(local) if local else None,
        lower=_number(data, c.IFLA_VXLAN_LINK),
        learning=bool(_number(data, c.IFLA_VXLAN_LEARNING)),
        gbp=c.IFLA_VXLAN_GBP in data,  # a bare flag
        odd=", ".join(
            dict.fromkeys(word for kind, word in _ODD.items() if any(data.get(kind, b"")))
        ),
    )


def _number(data: Mapping[int, bytes], kind: int) -> int:
    value = data.get(kind)
    return unpack_number(value) if value else 0
