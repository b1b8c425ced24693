"""From the network config to "who we are": underlay, VTEP, lease. Asks etcd, changes no kernel state."""

import logging
from pathlib import Path

from agent import adoption, underlay
from agent.config import Config
from agent.memory import Memory
from agent.pages import attachments
from agent.registry import Claimed, Identity, Registry, Tunnel
from agent.underlay import Hosts, Underlay
from overlay import __version__, netconfig
from overlay.desired import Me, Vtep
from overlay.errors import BadConfig
from overlay.model import Address, Family, Network
from overlay.netlink import Netlink

log = logging.getLogger(__name__)

IPV6_SYSCTLS = Path("/proc/sys/net/ipv6/conf")  # absent where the kernel has IPv6 switched off
SMALLEST_MTU = {Family.V4: 576, Family.V6: 1280}
"""Below this an inner network of the family does not work: RFC 791's reassembly minimum, RFC 8200 section 5."""


class Join:
    """Callable for agent.life: one attempt to hold a lease."""

    def __init__(self, config: Config, memory: Memory, netlink: Netlink) -> None:
        self.chosen = ""
        self._config = config
        self._memory = memory
        self._netlink = netlink

    def __call__(self, registry: Registry, network: Network) -> tuple[Me, Claimed]:
        """Choose the underlay, claim a subnet, and say what this node is.

        Raises:
            OverlayError: whatever stands in the way; the caller tries again.
        """
        adoption.refuse_beside_flanneld(self._config.etcd_prefix)
        hosts = underlay.read(self._netlink)
        adoption.refuse_two_bridges(hosts, network, self._config.bridge)
        chosen = {pool.family: self._underlay(hosts, pool.family) for pool in network.pools}
        self.chosen = ", ".join(f"{it.link} {it.address} mtu {it.mtu}" for it in chosen.values())
        devices = {family: adoption.device(hosts, network, family) for family in chosen}
        macs = {
            family: adoption.vtep_mac(self._memory, family, link)
            for family, (_, link) in devices.items()
        }
        claimed = registry.claim(
            Identity(self._config.node_name, self._config.machine_id, __version__),
            network,
            {
                family: Tunnel(
                    self._public(family) or it.address, macs[family], network.backend.vni
                )
                for family, it in chosen.items()
            },
            prefer=self._memory.subnets,
            insist=self._pods_bind(network),
            ttl_s=int(self._config.lease_ttl),
        )
        self._memory.remember(tuple(end.subnet for end in claimed.lease.endpoints))
        vteps = tuple(
            Vtep(
                subnet=end.subnet,
                link=devices[end.family][0],
                mac=macs[end.family],
                local=chosen[end.family].address,
                underlay=chosen[end.family].link,
                mtu=_tunnel_mtu(chosen[end.family], network, end.family),
            )
            for end in claimed.lease.endpoints
            if end.family in chosen
        )
        me = self._me(claimed, vteps, hosts)
        adoption.take_in_pods(self._config, network, me)
        return me, claimed

    def _me(self, claimed: Claimed, vteps: tuple[Vtep, ...], hosts: Hosts) -> Me:
        return Me(
            lease_key=claimed.lease.key,
            vteps=vteps,
            bridge=self._config.bridge,
            masquerade=self._config.ip_masq,
            fully_random=self._config.ip_masq_fully_random,
            ipv6_host=IPV6_SYSCTLS.exists(),
            bridge_mac=adoption.bridge_mac(self._memory, hosts, self._config.bridge),
        )

    def _pods_bind(self, network: Network) -> bool:
        """True if pods hold addresses of our last subnets, and the config still has those."""
        last = self._memory.subnets
        fitting = len(last) == len(network.pools) and all(
            any(netconfig.fits(pool, subnet) for pool in network.pools) for subnet in last
        )
        return fitting and attachments(self._config) > 0

    def _underlay(self, hosts: Hosts, family: Family) -> Underlay:
        target = self._config.iface_can_reach
        reached_by = (
            underlay.reaches(self._netlink, target) if target and not self._config.iface else 0
        )
        return underlay.choose(
            hosts,
            family,
            iface=self._config.iface,
            reached_by=reached_by,
            public=self._public(family),
        )

    def _public(self, family: Family) -> Address | None:
        return self._config.public_ip if family is Family.V4 else self._config.public_ipv6


def _tunnel_mtu(it: Underlay, network: Network, family: Family) -> int:
    """What fits inside: the smaller of the interface's MTU and the config's, minus the overhead."""
    outer = min(it.mtu, network.backend.mtu or it.mtu)
    if network.backend.mtu > it.mtu:
        log.warning(
            "Backend.MTU %d does not fit %s, using its %d", network.backend.mtu, it.link, it.mtu
        )
    inner = outer - family.overhead
    if inner < SMALLEST_MTU[family]:
        raise BadConfig(
            f"underlay MTU {outer} of {it.link} leaves {inner} bytes after {family.overhead} for VXLAN, "
            f"too few for {family.name} (at least {SMALLEST_MTU[family]})"
        )
    return inner
