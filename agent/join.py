"""From the network config to "who we are": underlay, VTEP, lease. Asks etcd, changes no kernel state.

Two ways in: `claim` asks etcd, `recall` believes the last-good copy while etcd does not answer. `moved` only
looks whether the underlay is still the one that peers know.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from agent import adoption, claim, sole
from agent.config import Config
from agent.draining import addresses_in_use, has_pods, is_done
from agent.ground import Ground
from agent.memory import Memory
from agent.pages import attachments
from agent.recalled import Recalled
from agent.registry import Claimed, Identity, Registry, Tunnel
from agent.sole import Sole
from agent.underlay import Hosts, Underlay
from overlay import __version__, netconfig, nodefile
from overlay.desired import Me, Vtep
from overlay.errors import BadConfig
from overlay.model import Address, Family, Lease, Network

log = logging.getLogger(__name__)

IPV6_SYSCTLS = Path("/proc/sys/net/ipv6/conf")  # absent where the kernel has IPv6 switched off


@dataclass(frozen=True, slots=True)
class Standby:
    """What a node is without having asked etcd; ``doubt`` says why it gives no address away, or is empty."""

    network: Network
    me: Me
    doubt: str


@dataclass(frozen=True, slots=True)
class _Ends:
    """Per family of the config: the underlay, our device's name and our VTEP's MAC, "" where there is none.

    ``mtu`` is the pods' or the tunnel's, of those families that have room for one.
    """

    underlay: dict[Family, Underlay]
    device: dict[Family, str]
    mac: dict[Family, str]
    mtu: dict[Family, int]
    bridge_mac: str
    hosts: Hosts

    @property
    def cards(self) -> frozenset[str]:
        """The MACs of the interfaces under the tunnel."""
        indexes = {it.index for it in self.underlay.values()}
        return frozenset(it.mac for it in self.hosts.links if it.index in indexes and it.mac)


class Joining(Protocol):
    """What agent.life asks for; each may raise any OverlayError."""

    def claim(self, network: Network) -> tuple[Me, Claimed]:
        """Choose the underlay, claim, and say who we are now."""

    def recall(self, recalled: Recalled) -> Standby:
        """Who we were."""

    def moved(self, me: Me) -> str:
        """How the underlay differs from the one ``me`` stands on; empty if it does not."""

    def drained(self, claimed: Claimed) -> bool:
        """May an old subnet be given back?"""


class Join:
    """For agent.life: one attempt to hold a lease, or to do without etcd."""

    def __init__(
        self, config: Config, memory: Memory, ground: Ground, registry: Registry, sole: Sole
    ) -> None:
        self.moved = ground.moved
        self._sole = sole
        self._config = config
        self._memory = memory
        self._ground = ground
        self._registry = registry

    def claim(self, network: Network) -> tuple[Me, Claimed]:
        """Choose the underlay, claim a subnet, and say what this node is.

        Raises:
            OverlayError: whatever stands in the way; the caller tries again.
        """
        ends = self._ends(network)
        cards = ends.cards
        claimed = self._registry.claim(
            Identity(self._config.node_name, self._config.machine_id, __version__),
            network,
            {
                family: Tunnel(
                    self._ground.public(family) or it.address,
                    ends.mac[family] or None,
                    network.backend.vni if network.backend.tunnels else None,
                )
                for family, it in ends.underlay.items()
            },
            prefer=(*self._memory.subnets, *self._memory.former(network)),
            want=self._config.subnet,
            insist=self._pods_bind(network),
            pods=self._pods(network),
            at_home=self._memory.is_at_home(cards),
            ttl_s=int(self._config.lease_ttl),
        )
        held = tuple(end.subnet for end in claimed.lease.endpoints)
        self._memory.remember(held, home=cards)
        draining = tuple(lease.key for lease in claimed.draining)
        return replace(self._me(claimed.lease, network, ends), draining=draining), claimed

    def drained(self, claimed: Claimed) -> bool:
        """True if an old subnet has lost its last pod: claiming again gives it back."""
        return is_done(claimed.draining, self._config.run_dir)

    def recall(self, recalled: Recalled) -> Standby:
        """What this node was when it last heard of etcd, on the underlay of today.

        Raises:
            OverlayError: the underlay is not there yet, or the copy does not fit together.
        """
        network, own = netconfig.parse_network(recalled.network), recalled.own
        if not claim.serves(network, own):
            raise BadConfig(
                f"the last-good copy holds a lease {own.key} outside of its own network"
            )
        known = {end.family: end for end in own.endpoints}
        ends = self._ends(
            network,
            macs={family: end.mac for family, end in known.items()},
            held=[end.underlay for end in own.endpoints if end.underlay],
        )
        doubt = recalled.doubt
        for family, it in ends.underlay.items():
            address = self._ground.public(family) or it.address
            if address != known[family].underlay:
                doubt = doubt or (
                    f"this node's address is {address} now, and peers know it as {known[family].underlay} until "
                    "etcd answers"
                )
        pods = addresses_in_use(self._config.run_dir)
        others = recalled.others_of(self._config.machine_id)
        draining = tuple(lease.key for lease in others if has_pods(lease, pods))
        return Standby(network, replace(self._me(own, network, ends), draining=draining), doubt)

    def _ends(
        self,
        network: Network,
        macs: dict[Family, str | None] | None = None,
        held: Sequence[Address] = (),
    ) -> _Ends:
        adoption.refuse_beside_flanneld(self._config.etcd_prefix)
        backend = network.backend
        if backend.tunnels:
            self._sole.hold_network(backend.vni, backend.port, prefix=self._config.etcd_prefix)
        pods = [pool.network for pool in network.pools]
        self._sole.hold_pods(pods, prefix=self._config.etcd_prefix)
        hosts = self._ground.hosts()
        sole.refuse_marked(hosts.links, network, self._config)
        adoption.refuse_two_bridges(hosts, network, self._config.bridge)
        chosen = self._ground.underlays(hosts, [pool.family for pool in network.pools], held=held)
        bridge_mac = adoption.bridge_mac(self._memory, hosts, self._config.bridge)
        if not network.backend.tunnels:
            self._ground.refuse_public(chosen)
            none = dict.fromkeys(chosen, "")
            mtus = self._ground.tunnel_mtus(chosen, network, {})
            return _Ends(chosen, none, none, mtus, bridge_mac, hosts)
        devices = {family: adoption.device(hosts, network, family) for family in chosen}
        return _Ends(
            chosen,
            {family: name for family, (name, _) in devices.items()},
            {
                family: adoption.vtep_mac(
                    self._memory, family, link, recorded=(macs or {}).get(family)
                )
                for family, (_, link) in devices.items()
            },
            self._ground.tunnel_mtus(
                chosen,
                network,
                {family: link.mtu for family, (_, link) in devices.items() if link},
            ),
            bridge_mac,
            hosts,
        )

    def _me(self, lease: Lease, network: Network, ends: _Ends) -> Me:
        vteps = tuple(
            Vtep(
                subnet=end.subnet,
                link=ends.device[end.family],
                mac=ends.mac[end.family],
                local=ends.underlay[end.family].address,
                underlay=ends.underlay[end.family].link,
                mtu=ends.mtu[end.family],
            )
            for end in lease.endpoints
            if end.family in ends.mtu
        )
        me = Me(
            lease_key=lease.key,
            vteps=vteps,
            bridge=self._config.bridge,
            masquerade=self._config.ip_masq,
            fully_random=self._config.ip_masq_fully_random,
            ipv6_host=IPV6_SYSCTLS.exists(),
            bridge_mac=ends.bridge_mac,
            instance=self._config.instance,
            narrow=tuple(
                (family, it.mtu) for family, it in ends.underlay.items() if family not in ends.mtu
            ),
        )
        adoption.take_in_pods(self._config, network, me)
        return self._ground.routed(network, me, ends.hosts)

    def _pods_bind(self, network: Network) -> bool:
        """True if pods hold addresses of our last subnets, and the config still has those."""
        last = self._memory.subnets
        fitting = len(last) == len(network.pools) and all(
            any(netconfig.fits(pool, subnet) for pool in network.pools) for subnet in last
        )
        return fitting and attachments(self._config) > 0

    def _pods(self, network: Network) -> tuple[Address, ...]:
        """The addresses in use. Where the config gives our subnets no more, none of them is given away from here on."""
        last = self._memory.subnets
        if not all(any(netconfig.fits(pool, it) for pool in network.pools) for it in last):
            nodefile.remove_pages(self._config.run_dir)
        return addresses_in_use(self._config.run_dir)
