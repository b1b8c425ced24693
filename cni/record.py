"""The journal of one attachment: what a DEL, a CHECK and the agent's own sweep need to know. Pure bytes.

Written by rename before the first kernel step, below ``<run>/attachments/<network>/``, so that whatever a
killed ADD has left is found again. Records of an older version are read; keys of a newer one are ignored.
"""

import ipaddress
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cni.netconf import IFNAME, is_program
from cni.owner import Owner
from overlay.model import LEAST_V6_MTU

RECORD_VERSION = 2
BEFORE_FLAT = 1
"""Version 1 kept its addresses in a directory per network."""
NOT_KNOWN = -1
"""What a record of before `asked_mtu` says."""
MOST_BYTES = 1 << 20
LAST_SECOND = 253402300800.0
"""The end of the year 9999, beyond which no calendar of ours goes."""


class Attachment(msgspec.Struct, frozen=True):
    """One attachment.

    ``netns`` is the runtime's path, ``netns_inode`` what it led to, ``boot`` the kernel's boot id then;
    ``host_link`` is empty where another plugin made the interface; ``delegate`` is the configuration to
    hand to the IPAM plugin that gave the addresses, found along ``path``; ``created`` is Unix seconds.
    ``adopted`` is set where another plugin attached the pod before us: the directory of its network's
    allocations (`cni.adopted`). ``mtu`` is what the pod was given last, ``asked_mtu`` what its
    configuration asks for: 0 is whatever fits, -N at most N where nobody knows, NOT_KNOWN at most ``mtu``.
    """

    network: str
    container: str
    ifname: str
    netns: str
    host_link: str
    addresses: tuple[str, ...] = ()
    mac: str = ""
    pod: str = ""
    created: Annotated[float, Meta(ge=0, lt=LAST_SECOND)] = 0.0
    version: int = BEFORE_FLAT  # what a record without the key is
    netns_inode: int = 0
    boot: str = ""
    mtu: int = 0
    bridge: str = ""
    delegate: dict[str, Any] = {}
    path: str = ""
    adopted: str = ""
    asked_mtu: int = NOT_KNOWN

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        return Owner(self.network, self.container, self.ifname)

    @property
    def most_mtu(self) -> int:
        """The largest MTU that this pod may have, in bytes; 0 is whatever fits."""
        return self.mtu if self.asked_mtu == NOT_KNOWN else abs(self.asked_mtu)

    def due_mtu(self, fits: int) -> int:
        """What the pod should have on a node where ``fits`` bytes fit.

        Never so little that the kernel would take its IPv6 addresses away, and not give them back.
        """
        least = LEAST_V6_MTU if any(":" in text for text in self.addresses) else 0
        return max(min(self.most_mtu or fits, fits), least)


def encode(attachment: Attachment) -> bytes:
    """As JSON."""
    return msgspec.json.encode(attachment)


def decode(data: bytes) -> Attachment | None:
    """The reverse, or None for bytes that are no record, or one that names what cannot be."""
    try:
        found = msgspec.json.decode(data, type=Attachment)
        for text in found.addresses:
            ipaddress.ip_interface(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    return found if _is_sane(found) else None


def _is_sane(found: Attachment) -> bool:
    """It leads to no file elsewhere, to no program elsewhere, and to nothing that the kernel cannot look up."""
    ipam = found.delegate.get("ipam")
    return (
        all(part and "/" not in part for part in (found.network, found.container, found.ifname))
        and all(not name or IFNAME.fullmatch(name) for name in (found.host_link, found.bridge))
        and "\0" not in found.netns + found.path + found.adopted
        and (not found.delegate or (isinstance(ipam, dict) and is_program(ipam.get("type"))))
    )
