"""The only door to the kernel's network configuration (rtnetlink).

``socket`` sends and receives, ``messages`` says requests in bytes, ``parse`` reads answers,
``monitor`` listens. Bytes are packed here rather than by a library because the hot path (three
messages per peer) is several times faster so; docs/decisions has the numbers.
"""

from overlay.netlink.parse import AddressInfo, LinkInfo, NeighbourInfo, RouteInfo
from overlay.netlink.socket import Netlink
from overlay.netlink.vxlan_info import VxlanInfo

__all__ = ["AddressInfo", "LinkInfo", "NeighbourInfo", "Netlink", "RouteInfo", "VxlanInfo"]
