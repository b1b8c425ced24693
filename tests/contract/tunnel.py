"""Two network namespaces with a cable between them, and on it a tunnel as two nodes have it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from overlay.model import Address
from tests.contract import spaces
from tests.contract.spaces import inside, ip


@dataclass(frozen=True, slots=True)
class Two:
    """``v1`` is the tunnel, ``e0`` the cable; by IP version. ``here`` is number 1, ``there`` 2."""

    here: Path
    there: Path
    version: int

    def address(self, number: int) -> str:
        """An end's VTEP."""
        return f"10.5.{number}.0" if self.version == 4 else f"fd00:5:0:{number}::"

    def underlay(self, number: int) -> Address:
        """An end of the cable."""
        return ip_address(f"192.0.2.{number}" if self.version == 4 else f"2001:db8::{number}")


@contextmanager
def tunnel(version: int) -> Iterator[Two]:
    """Up, with the neighbours and routes that lead through it."""
    with spaces.namespace() as here, spaces.namespace() as there:
        made = Two(here, there, version)
        length, bits, nodad = (24, 32, "") if version == 4 else (64, 128, " nodad")
        words = f"link add e0 type veth peer name e0 netns {there.name}"
        ip(here, *words.split())
        for space, own, other in ((here, 1, 2), (there, 2, 1)):
            vtep, peer, mac = made.address(own), made.address(other), "02:00:00:00:00:0"
            local, remote = made.underlay(own), made.underlay(other)
            lines = (
                f"addr add {local}/{length} dev e0{nodad}",
                "link set e0 up",
                f"link add v1 address {mac}{own} type vxlan id 1 dev e0 local {local} dstport 8472",
                f"addr add {vtep}/{bits} dev v1{nodad}",
                "link set v1 up",
                f"neigh add {peer} lladdr {mac}{other} dev v1",
                f"route add {peer}/{length} via {peer} dev v1 onlink",
            )
            for line in lines:
                ip(space, *line.split())
            inside(space, *f"bridge fdb add {mac}{other} dst {remote} dev v1".split())
        yield made
