"""What tells the objects of one agent from those of another on the same node. Pure.

A node may run several agents, one for each network. Each has an instance name, that of the first is empty, and
from it follow the marks on all that it makes and the defaults of all that it must not share. The empty name
gives what every agent had before there were instances, so that nothing changes on a node with one.

The routes of an instance have a protocol number of their own: one made for a peer on the same link leads over
the underlay's interface, so nothing else tells whose it is, least of all to an agent that has just started.
"""

import re
import zlib
from dataclasses import dataclass
from typing import Final

from overlay.model import ROUTE_PROTOCOL

LONGEST_INSTANCE = 11
"""``ovl-<instance>`` must fit into the kernel's 15 characters of a link's name."""
INSTANCE = re.compile(r"[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?")
_ALIAS = re.compile(rf"overlay(?:-({INSTANCE.pattern}))?:[^/]*")
_PROTOCOLS: Final = tuple(number for number in range(100, 186) if number != ROUTE_PROTOCOL)
"""Like ROUTE_PROTOCOL unassigned in Linux' rtnetlink.h and in FRR's and iproute2's tables: 99 is openr, 186 BGP."""


@dataclass(frozen=True, slots=True)
class Marks:
    """One instance's, which is empty for the only one or the first one of a node."""

    instance: str = ""

    @property
    def name(self) -> str:
        """Of the CNI network, and what the others begin with."""
        return f"overlay-{self.instance}" if self.instance else "overlay"

    @property
    def unit(self) -> str:
        """systemd's name of the agent, without ``.service``."""
        return f"overlay-agent@{self.instance}" if self.instance else "overlay-agent"

    @property
    def vtep_alias(self) -> str:
        """The VXLAN device's ifalias."""
        return f"{self.name}:vtep"

    @property
    def bridge_alias(self) -> str:
        """The bridge's ifalias."""
        return f"{self.name}:bridge"

    @property
    def table(self) -> str:
        """The nft table."""
        return f"inet {self.name}"

    @property
    def route_protocol(self) -> int:
        """The rtm_protocol of our routes; of two names that give the same one the agents refuse to start."""
        if not self.instance:
            return ROUTE_PROTOCOL
        return _PROTOCOLS[zlib.crc32(self.instance.encode()) % len(_PROTOCOLS)]

    @property
    def conflist(self) -> str:
        """The file's name; runtimes take the first by name for every pod that asks for none, so that is the first's."""
        return f"11-{self.name}.conflist" if self.instance else "10-overlay.conflist"

    @property
    def bridge(self) -> str:
        """The default name of the bridge."""
        return f"ovl-{self.instance}" if self.instance else "overlay0"

    @property
    def run_dir(self) -> str:
        """The default run directory."""
        return f"/run/{self.name}"

    @property
    def state_dir(self) -> str:
        """The default state directory."""
        return f"/var/lib/{self.name}"

    def are_on(self, alias: str) -> bool:
        """True if an ifalias says: our VTEP or bridge. A pod's has a path behind."""
        return alias.startswith(f"{self.name}:") and "/" not in alias

    def are_of_another(self, alias: str) -> bool:
        """True if an ifalias says: the VTEP or bridge of another agent."""
        return not self.are_on(alias) and bool(_ALIAS.fullmatch(alias))

    def __str__(self) -> str:
        return f'instance "{self.instance}"' if self.instance else "the instance without a name"


ONLY = Marks()
"""Of a node with one agent."""


def owner_of(alias: str) -> Marks | None:
    """Whose VTEP or bridge bears this ifalias; None if no agent's."""
    found = _ALIAS.fullmatch(alias)
    return Marks(found[1] or "") if found else None


def is_conflist(name: str) -> bool:
    """True for the file name of any instance's conflist."""
    return instance_of(name) is not None


def instance_of(conflist: str) -> str | None:
    """The instance whose conflist has this file name; None if no agent's has."""
    found = re.fullmatch(
        rf"10-overlay\.conflist|11-overlay-({INSTANCE.pattern})\.conflist", conflist
    )
    return (found[1] or "") if found else None
