"""The verbs: what happens for one request, and how it is undone. Needs no etcd and no agent.

Order of an ADD, with the undo pushed as each thing is made: journal, addresses, veth, pod's
configuration. Killed anywhere, the DEL that follows finds the journal or, failing that, the names that
follow from the request alone.
"""

import time
from contextlib import ExitStack
from pathlib import Path

from cni import attach
from cni.attach import PodLink
from cni.ipam import Attachment, Ipam
from cni.protocol import Request
from cni.results import Interface, PodAddress, Result
from overlay.errors import BadConfig
from overlay.nodefile import NodePage


def add(request: Request, page: NodePage, run_dir: Path) -> Result:
    """Attach a pod.

    Raises:
        OverlayError: nothing is left behind then.
    """
    mtu = _mtu(request, page)
    ipam, owner = Ipam(run_dir, request.config.name), request.owner
    with attach.namespace(request.netns) as netns, ExitStack() as undo:
        ipam.begin(owner, _journal(request))
        undo.callback(ipam.release, owner)
        addresses = tuple(ipam.take(owner, family) for family in page.families)
        ipam.update(owner, _journal(request, *(str(address) for address in addresses)))
        link = PodLink(
            owner=owner,
            bridge=request.config.bridge or page.bridge,
            mtu=mtu,
            addresses=addresses,
            gateways=tuple(family.gateway.ip for family in page.families),
        )
        bridge = attach.attach(link, netns)
        undo.pop_all()
    return Result(
        interfaces=(
            Interface(bridge.name, bridge.mac, bridge.mtu),
            Interface(owner.host_link, link.host_mac, mtu),
            Interface(request.ifname, link.mac, mtu, sandbox=request.netns),
        ),
        addresses=tuple(
            PodAddress(address, gateway, interface=2)
            for address, gateway in zip(addresses, link.gateways, strict=True)
        ),
        dns=request.config.dns,
    )


def delete(request: Request, run_dir: Path) -> None:
    """Detach a pod; whatever is already gone is success.

    The link goes first: an address is free only when nobody can still answer for it.
    """
    attach.detach(request.owner)
    Ipam(run_dir, request.config.name).release(request.owner)


def _mtu(request: Request, page: NodePage) -> int:
    """The pod's MTU: the configuration may ask for less than the node offers, never for more."""
    asked = request.config.mtu
    if asked is not None and asked > page.mtu:
        raise BadConfig(
            f"mtu = {asked} does not fit: {page.mtu} is the most that leaves room for the encapsulation",
            hint=f"set mtu to {page.mtu} or less, or leave it out",
        )
    return asked or page.mtu


def _journal(request: Request, *addresses: str) -> Attachment:
    names = (request.args.get("K8S_POD_NAMESPACE", ""), request.args.get("K8S_POD_NAME", ""))
    return Attachment(
        network=request.config.name,
        container=request.container,
        ifname=request.ifname,
        netns=request.netns,
        host_link=request.owner.host_link,
        addresses=addresses,
        pod="/".join(name for name in names if name),
        created=time.time(),
    )
