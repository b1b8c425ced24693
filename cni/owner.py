"""Who an attachment belongs to, and every bounded name that follows from it. Pure.

(network, container, interface) is the key of everything: the CNI specification lets a container
join a network through several interfaces, and a name may come again with a new container.
"""

import functools
import hashlib
from dataclasses import dataclass

from overlay.model import ALIAS_PREFIX, POD_LINK_PREFIX

LONGEST_NAME = 200
"""Bytes of a file name that we use as it is: NAME_MAX is 255, and suffixes must fit."""
_DIGESTED = "sha256-"
LONGEST_ALIAS = 255
"""Linux' IFALIASZ - 1 (include/uapi/linux/if.h)."""


@dataclass(frozen=True, slots=True)
class Owner:
    """One interface of one container in one network; all three are checked text."""

    network: str
    container: str
    ifname: str

    @property
    def name(self) -> str:
        """``<container>@<ifname>``, or a digest of it where that is too long for a file name."""
        return bounded(f"{self.container}@{self.ifname}")

    @property
    def place(self) -> str:
        """``<network>/<name>``, both bounded: the record's path, and what an allocation points to."""
        return f"{bounded(self.network)}/{self.name}"

    @property
    def digest(self) -> str:
        """Hexadecimal SHA-256 over all three parts, which cannot hold a slash."""
        return _digest(f"{self.network}/{self.container}/{self.ifname}")

    @property
    def host_link(self) -> str:
        """Name of the host's end of the veth pair: 15 characters, as the kernel allows."""
        return POD_LINK_PREFIX + self.digest[:12]

    @property
    def alias(self) -> str:
        """The host end's ifalias, our mark; the digest stands in where the names are too long."""
        alias = f"{ALIAS_PREFIX}{self.network}/{self.container}/{self.ifname}"
        return alias if len(alias) <= LONGEST_ALIAS else f"{ALIAS_PREFIX}{self.digest}"

    def __str__(self) -> str:
        return f"{self.ifname} of container {self.container} in network {self.network}"


def owner_at(place: str) -> Owner | None:
    """The owner that a place names, or None where a digest stands for a long name."""
    network, _, name = place.partition("/")
    container, at, ifname = name.partition("@")  # an interface's name may have one as well
    if not (network and container and at and ifname):
        return None
    return None if _DIGESTED in (network[:7], name[:7]) else Owner(network, container, ifname)


def bounded(name: str) -> str:
    """A file name for ``name``: itself, or ``sha256-<digest>`` where it is too long."""
    return name if len(name) <= LONGEST_NAME else f"{_DIGESTED}{_digest(name)}"


@functools.lru_cache(maxsize=1024)  # an attachment asks for its own half a dozen times
def _digest(text: str) -> str:
    """Of any text, that of a file name which is no UTF-8 included."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
