"""Numbered nodes for tests of the registry: who they are and where their VTEPs are."""

import threading
from ipaddress import ip_address, ip_network
from typing import Any

from agent.claim import Identity, Tunnel
from agent.etcd import Etcd
from agent.records import Claimed
from agent.registry import Registry
from agent.vigil import Vigil
from overlay.errors import LeaseLost
from overlay.model import Family, Lease, Network, Subnet
from overlay.netconfig import parse_network


def network(cidr: str, length: int = 24, *, v6: str = "") -> Network:
    """A vxlan network; dual stack with ``v6``."""
    six = f'"EnableIPv6":true,"IPv6Network":"{v6}","IPv6SubnetLen":64,' if v6 else ""
    text = f'{{"Network":"{cidr}","SubnetLen":{length},{six}"Backend":{{"Type":"vxlan"}}}}'
    return parse_network(text.encode())


CONFIG = b'{"Network":"10.5.0.0/16","SubnetMax":"10.5.199.0","Backend":{"Type":"vxlan"}}'
NETWORK = parse_network(CONFIG)
"""Nobody claims from 10.5.200.0/24 on by chance, where tests write records by hand."""
SMALL = network("10.5.0.0/28", 30)  # three subnets
FIRST, SECOND = (ip_network(f"10.5.0.{n}/30") for n in (4, 8))


def identity(number: int) -> Identity:
    """Node ``number``."""
    return Identity(f"n{number}", f"{number:032x}", "0.1.0")


def tunnels(number: int, *, v6: bool = False) -> dict[Family, Tunnel]:
    """Its VTEP, or both."""
    mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
    found = {Family.V4: Tunnel(ip_address(int(ip_address("198.18.0.0")) + number), mac, 1)}
    if v6:
        six = ip_address(int(ip_address("2001:db8::")) + number)
        found[Family.V6] = Tunnel(six, f"02:06:00:00:{number >> 8:02x}:{number & 255:02x}", 1)
    return found


class Counting(Etcd):
    """Says which calls were made."""

    def __init__(self, url: str) -> None:
        super().__init__([url], timeout_s=20)
        self.calls: list[str] = []

    def range(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        self.calls.append("range")
        return super().range(*args, **more)

    def txn(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        self.calls.append("txn")
        return super().txn(*args, **more)

    def grant(self, ttl_s: int) -> int:
        self.calls.append("grant")
        return super().grant(ttl_s)

    def keepalive(self, lease: int) -> int:
        self.calls.append("keepalive")
        return super().keepalive(lease)

    def revoke(self, lease: int) -> None:
        self.calls.append("revoke")
        super().revoke(lease)


def take(registry: Registry, number: int, *, net: Any = SMALL, **more: Any) -> Lease:  # noqa: ANN401
    """Node ``number`` claims."""
    return registry.claim(identity(number), net, tunnels(number), ttl_s=600, **more).lease


def subnets(lease: Lease) -> tuple[Subnet, ...]:
    """What a lease holds."""
    return tuple(end.subnet for end in lease.endpoints)


class Living:
    """A node that holds a lease and watches, as agent.life does. ``claimed`` is what it holds now."""

    def __init__(self, url: str, prefix: str, number: int, *, net: Network = NETWORK) -> None:
        self.registry = Registry(Etcd([url], timeout_s=20), prefix)
        self.claimed = self.registry.claim(identity(number), net, tunnels(number), ttl_s=60)
        self.lost = ""
        self.changes = 0
        self._vigil = Vigil(self.registry)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(20)

    def _run(self) -> None:
        for event in self.registry.watch(on_lost=lambda _: None, on_back=lambda: None):
            try:
                after: Claimed | None = self._vigil.told(event, self.claimed)
            except LeaseLost as error:
                self.lost = str(error)
                return
            finally:
                self._ready.set()
            assert after is not None
            self.changes += after is not self.claimed
            self.claimed = after

    def stop(self) -> None:
        """Die: the record stays, nobody answers for it any more."""
        self.registry.close()
        self._thread.join(30)
        assert not self._thread.is_alive()
