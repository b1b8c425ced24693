"""Who gives a pod its addresses: our own allocator, or the IPAM plugin that the configuration names."""

from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import msgspec

from cni import delegate, previous
from cni.ipam import Ipam
from cni.owner import Owner
from cni.previous import Previous
from cni.protocol import Request
from cni.record import Attachment
from cni.results import PodAddress, PodRoute
from cni.steps import Steps
from cni.wishes import Wishes
from overlay.errors import BadConfig, OverlayError
from overlay.model import Address, Family
from overlay.nodefile import NodePage

DEFAULT_ROUTE = {Family.V4: ip_network("0.0.0.0/0"), Family.V6: ip_network("::/0")}


@dataclass(frozen=True, slots=True)
class Given:
    """What a pod gets."""

    addresses: tuple[PodAddress, ...]
    routes: tuple[PodRoute, ...]
    dns: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return ",".join(str(item.address.ip) for item in self.addresses)

    @property
    def texts(self) -> tuple[str, ...]:
        """With their prefix lengths, as the journal keeps them."""
        return tuple(str(item.address) for item in self.addresses)


def own(
    owner: Owner,
    page: NodePage,
    ipam: Ipam,
    wanted: Wishes,
    steps: Steps,
    *,
    linkless: bool = False,
) -> Given:
    """An address of each of the node's families, and a default route by its bridge."""
    steps.at("address")
    addresses = tuple(
        PodAddress(
            ipam.take(owner, family, wanted=wanted.addresses.get(family.family), linkless=linkless),
            family.gateway.ip,
        )
        for family in page.families
    )
    return Given(addresses, _defaults(addresses))


def delegated(
    request: Request,
    page: NodePage,
    ipam: Ipam,
    draft: Attachment,
    *,
    undo: ExitStack,
    steps: Steps,
) -> Given:
    """Another plugin's addresses, which from then on are held in our own allocator as well.

    The journal is written first: only it can tell a later DEL whom to ask.

    Raises:
        BadConfig: it gave none, or one that no other node could reach.
        DelegateFailed: it refused.
    """
    config, environ = delegate.config_for(request, page), delegate.environ_of(request)
    whose = f"ipam plugin {config['ipam']['type']}"
    ipam.write(msgspec.structs.replace(draft, delegate=delegate.kept(config), path=request.path))
    undo.callback(_give_back, config, environ)
    answer = previous.read(
        delegate.call("ADD", config, environ, steps), unstated=request.config.version, whose=whose
    )
    if not answer.ips:
        raise BadConfig(f"{whose} gave no address")
    addresses = tuple(_hold(item, request.owner, page, ipam, whose) for item in answer.ips)
    return Given(addresses, _routes(answer, addresses), answer.dns)


def _hold(
    item: Mapping[str, Any], owner: Owner, page: NodePage, ipam: Ipam, whose: str
) -> PodAddress:
    """One address of another plugin: in this node's subnet, and nobody else's."""
    address = ip_interface(item["address"])
    home = next((one for one in page.families if one.family is Family.of(address)), None)
    if home is None or address.ip not in home.subnet:
        raise BadConfig(
            f"{whose} gave {address}, which no other node could reach: "
            f"this node has {', '.join(str(one.subnet) for one in page.families)}",
            hint='set "subnet": "usePodCidr" in ipam, or leave ipam out of the conflist',
        )
    ipam.take(owner, home, wanted=address.ip)
    gateway = ip_address(item["gateway"]) if item.get("gateway") else home.gateway.ip
    return PodAddress(address, gateway)


def _routes(answer: Previous, addresses: tuple[PodAddress, ...]) -> tuple[PodRoute, ...]:
    """Those that the plugin gave, by their gateway or the address's; without any, default routes."""
    gateways: dict[Family, Address | None] = {item.family: item.gateway for item in addresses}
    routes = []
    for item in answer.routes:
        dst = ip_network(str(item["dst"]), strict=False)
        via = ip_address(item["gw"]) if item.get("gw") else gateways.get(Family.of(dst))
        routes.append(PodRoute(dst, via))
    return tuple(routes) or _defaults(addresses)


def _defaults(addresses: tuple[PodAddress, ...]) -> tuple[PodRoute, ...]:
    firsts = {item.family: item for item in reversed(addresses)}
    return tuple(
        PodRoute(DEFAULT_ROUTE[family], firsts[family].gateway)
        for family in Family
        if family in firsts
    )


def _give_back(config: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """After a failed ADD the IPAM plugin is told, whatever it did (specification, section 4)."""
    with suppress(OverlayError):
        delegate.call("DEL", config, environ, Steps())
