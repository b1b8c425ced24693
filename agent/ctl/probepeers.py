"""Whom overlayctl probe asks: the agent's list; where no agent answers, what the kernel holds, with etcd's names."""

import socket
from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from ipaddress import ip_address

from agent import connect
from agent.config import Config
from agent.ctl.client import ask
from agent.probes.answer import target_of
from agent.probes.targets import Target
from overlay.dataplane import Dataplane
from overlay.desired import gateway
from overlay.errors import NotReady, OverlayError
from overlay.model import (
    Address,
    Bridge,
    Family,
    FdbEntry,
    KernelObject,
    Lease,
    LinkAddress,
    Neighbour,
    Route,
    Vxlan,
)


@dataclass(frozen=True, slots=True)
class Peers:
    """The targets, and from whom they are known."""

    targets: tuple[Target, ...]
    source: str


def peers(settings: Config) -> Peers:
    """Everybody.

    Raises:
        NotReady: no agent answers, and the kernel holds nothing of ours.
    """
    try:
        rows = ask(settings.run_dir, "targets")["targets"]
        return Peers(tuple(target_of(row) for row in rows), "the agent")
    except NotReady as error:
        silent = error
    with closing(Dataplane(settings.run_dir, marks=settings.marks)) as dataplane:
        held = dataplane.read({})
    found = of_kernel(held, _leases(settings), local_for=_local_for)
    if not any(isinstance(item, Vxlan | Bridge) for item in held.values()):
        raise NotReady(f"{silent}; and the kernel has no overlay network", hint=silent.hint)
    return Peers(tuple(found), "the kernel, for no agent answers")


def of_kernel(
    held: Mapping[Hashable, KernelObject],
    leases: Iterable[Lease],
    *,
    local_for: Callable[[Address], Address],
) -> list[Target]:
    """From the objects that bear our mark. ``local_for`` says from which address another is reached."""
    items = list(held.values())
    tunnels = {Family.of(it.local): it for it in items if isinstance(it, Vxlan)}
    bridges = [it for it in items if isinstance(it, Bridge)]
    owned = [it for it in items if isinstance(it, LinkAddress) and not it.address.ip.is_link_local]
    macs = {(it.link, it.ip): it.mac for it in items if isinstance(it, Neighbour)}
    remotes = {(it.link, it.mac): it.underlay for it in items if isinstance(it, FdbEntry)}
    lease_of = {end.subnet: lease for lease in leases for end in lease.endpoints}
    found = []
    for route in (it for it in items if isinstance(it, Route)):
        family, via = Family.of(route.dst), route.via
        if via is None:
            continue
        tunnel = tunnels.get(family)
        link = tunnel.name if tunnel else bridges[0].name if bridges else ""
        source = next(
            (it.address.ip for it in owned if (it.link, Family.of(it.address)) == (link, family)),
            None,
        )
        through = tunnel is not None and route.link == tunnel.name
        underlay = remotes.get((route.link, macs.get((route.link, via), ""))) if through else via
        if source is None or underlay is None:
            continue
        lease = lease_of.get(route.dst)
        mtus = [it.mtu for it in bridges] + ([tunnel.mtu] if tunnel else [])
        found.append(
            Target(
                key=lease.key if lease else str(route.dst).replace("/", "-"),
                node=lease.node if lease else "",
                subnet=route.dst,
                address=route.dst.network_address if tunnel else gateway(route.dst).ip,
                source=source,
                underlay=underlay,
                local=tunnel.local if tunnel else local_for(underlay),
                full=min(mtus),
                device=tunnel.underlay if tunnel and through else route.link,
                port=tunnel.port if tunnel and through else 0,
                overhead=family.overhead if tunnel else 0,
            )
        )
    return sorted(found, key=lambda it: (it.node, it.subnet.version, it.subnet))


def _local_for(target: Address) -> Address:
    with socket.socket(Family.of(target).af, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(target), 9))  # sends nothing
            return ip_address(probe.getsockname()[0])
        except OSError:
            return target


def _leases(settings: Config) -> list[Lease]:
    """For their names; without etcd there are none."""
    with suppress(OverlayError), closing(connect.registry(settings)) as store:
        return list(store.snapshot().leases.values())
    return []
