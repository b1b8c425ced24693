"""The tunnel's names and numbers, as they are on this node or will be: devices, port, underlay, pod network."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.ctl.doctor.look import Look
from agent.ground import Ground
from agent.underlay import Underlay
from overlay.desired import Me, Vtep, device_name
from overlay.errors import OverlayError
from overlay.model import Address, Backend, Family, Network, Pool
from overlay.netconfig import parse_network
from overlay.netlink import Netlink

_USUAL = parse_network(b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}')
"""Judged by where no network config is known yet: names and port are the usual ones."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """``devices`` is empty and ``port`` 0 with host-gw; ``direct``: peers may be reached without a tunnel."""

    bridge: str
    port: int
    pools: tuple[Pool, ...]
    devices: Mapping[Family, str] = field(default_factory=dict)
    underlays: Mapping[Family, Underlay] = field(default_factory=dict)
    direct: bool = False

    @property
    def families(self) -> tuple[Family, ...]:
        """Of the pod network, and thus of the underlay."""
        return tuple(pool.family for pool in self.pools)

    @property
    def own(self) -> tuple[str, ...]:
        """The bridge and the tunnel's devices."""
        return (self.bridge, *self.devices.values())

    def local(self, family: Family) -> Address | None:
        """The address that peers send to, if the interface has one."""
        it = self.underlays.get(family)
        return it.address if it else None

    def below(self, family: Family) -> str:
        """The interface that peers are reached by, or empty."""
        it = self.underlays.get(family)
        return it.link if it else ""


def tunnel(look: Look) -> Tunnel:
    """Of this node."""
    network = look.configured().network or _USUAL
    backend = network.backend
    families = [pool.family for pool in network.pools] if backend.tunnels else []
    return Tunnel(
        bridge=look.settings.bridge,
        port=backend.port if backend.tunnels else 0,
        pools=network.pools,
        devices={family: present_device(look, backend, family) for family in families},
        underlays=look.once("underlays", lambda: underlays(look, network)),
        direct=backend.direct,
    )


def underlays(look: Look, network: Network) -> dict[Family, Underlay]:
    """Of each family the one that the agent would take; without those that have none."""
    hosts = look.hosts()
    found: dict[Family, Underlay] = {}
    with Netlink() as netlink:
        ground = Ground(look.settings, netlink)
        for pool in network.pools:
            try:
                found |= ground.underlays(hosts, [pool.family])
            except OverlayError:
                continue  # the check of the underlay says so
    return found


def present_device(look: Look, backend: Backend, family: Family) -> str:
    """Ours by its mark, else flannel's, which is adopted, else the name that it will have."""
    marks, names = look.settings.marks, {link.name for link in look.hosts().links}
    for link in look.hosts().links:
        if link.vxlan is not None and marks.are_on(link.alias) and link.vxlan.vni == backend.vni:
            local = link.vxlan.local
            if local is None or Family.of(local) is family:
                return link.name
    prefix = "flannel." if family is Family.V4 else "flannel-v6."
    adopted = f"{prefix}{backend.vni}"
    return adopted if adopted in names else device_name(family, backend.vni)


def me(look: Look, network: Network) -> Me:
    """This node as far as it matters to what may stand in its way (overlay.dataplane.obstacles)."""
    found = underlays(look, network)
    vteps = tuple(
        Vtep(
            subnet=pool.first,
            link=present_device(look, network.backend, pool.family)
            if network.backend.tunnels
            else "",
            mac="",
            local=it.address,
            underlay=it.link,
            mtu=it.mtu - network.backend.overhead(pool.family),
        )
        for pool in network.pools
        if (it := found.get(pool.family)) is not None
    )
    return Me("", vteps, look.settings.bridge, instance=look.settings.instance)
