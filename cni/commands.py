"""The verbs: what happens for one request, and how it is undone. Needs no etcd and no agent.

Order of an ADD, with the undo pushed as each thing is made: journal, addresses, veth, pod's
configuration. Killed anywhere, the DEL that follows finds the journal or, failing that, the names
that follow from the request alone.
"""

from contextlib import ExitStack, suppress
from pathlib import Path

from cni import attach, lock
from cni.attach import PodLink
from cni.ipam import Attachment, Ipam
from cni.owner import Owner
from cni.protocol import Config, Request
from cni.results import Interface, PodAddress, Result
from overlay.errors import BadConfig, OverlayError
from overlay.model import Family
from overlay.nodefile import NodePage

LEAST_MTU = {Family.V4: 68, Family.V6: 1280}
"""RFC 791 and RFC 8200: below it the kernel switches the family off on that link."""


def add(request: Request, page: NodePage, run_dir: Path, *, now: float) -> Result:
    """Attach a pod; ``now`` is Unix time in seconds, for the journal.

    Raises:
        OverlayError: nothing is left behind then.
    """
    _check_agreement(request.config, page, run_dir)
    _check_served(request)
    mtu = _mtu(request.config, page)
    ipam, owner = Ipam(run_dir, request.config.name), request.owner
    with (
        lock.held(run_dir, owner),
        attach.namespace(request.netns) as netns,
        ExitStack() as undo,
    ):
        ipam.begin(owner, _journal(request, now))
        undo.callback(_take_back, ipam, owner)
        addresses = tuple(ipam.take(owner, family) for family in page.families)
        link = PodLink(
            owner=owner,
            bridge=page.bridge,
            mtu=mtu,
            addresses=addresses,
            gateways=tuple(family.gateway.ip for family in page.families),
        )
        ipam.update(owner, _journal(request, now, link))
        bridge = attach.attach(link, netns)
        undo.pop_all()
    return _result(request, link, Interface(bridge.name, bridge.mac, bridge.mtu))


def delete(request: Request, run_dir: Path) -> None:
    """Detach a pod; whatever is already gone is success.

    The link goes first: an address is free only when nobody can still answer for it.
    """
    ipam, owner = Ipam(run_dir, request.config.name), request.owner
    with lock.held(run_dir, owner):
        record = ipam.record(owner)
        attach.detach(owner, netns=request.netns, mac=record.mac if record else "")
        ipam.release(owner)


def _take_back(ipam: Ipam, owner: Owner) -> None:
    """Free what a failed ADD took, unless its link is still there: then a DEL must find it all."""
    with suppress(OverlayError):
        if not attach.is_attached(owner):
            ipam.release(owner)


def _result(request: Request, link: PodLink, bridge: Interface) -> Result:
    pairs = zip(link.addresses, link.gateways, strict=True)
    return Result(
        interfaces=(
            bridge,
            Interface(link.owner.host_link, link.host_mac, link.mtu),
            Interface(request.ifname, link.mac, link.mtu, sandbox=request.netns),
        ),
        addresses=tuple(PodAddress(address, gateway, interface=2) for address, gateway in pairs),
        dns=request.config.dns,
    )


def _check_agreement(config: Config, page: NodePage, run_dir: Path) -> None:
    """The bridge, masquerading and the run directory are the agent's; a pod cannot have others."""
    stated = {
        "bridge": (config.bridge, page.bridge),
        "ipMasq": (config.ip_masq, page.ip_masq),
        "runDir": (config.run_dir and Path(config.run_dir), run_dir),
    }
    for key, (ours, agents) in stated.items():
        if ours is not None and ours != agents:
            raise BadConfig(
                f"{key} is {ours} in the CNI configuration and {agents} in the agent's",
                hint=f"leave {key} out of the conflist, or change /etc/overlay/agent.toml",
            )


def _check_served(request: Request) -> None:
    """A wish that we cannot grant yet is refused: a pod without the address it asked for is a trap."""
    wishes = {
        "CNI_ARGS IP": request.args.get("IP"),
        "CNI_ARGS MAC": request.args.get("MAC"),
    }
    for source in ("runtimeConfig", "args"):
        given = request.config.given.get(source)
        inner = given.get("cni", given) if isinstance(given, dict) else {}
        if isinstance(inner, dict):
            wishes |= {f"{source}.{key}": inner.get(key) for key in ("ips", "mac")}
    for name, value in wishes.items():
        if value:
            raise BadConfig(
                f"{name} = {value!r}: a pod cannot choose its address or MAC yet",
                hint="leave it out; the node gives the pod a free address",
            )


def _mtu(config: Config, page: NodePage) -> int:
    """The pod's MTU: the configuration may ask for less than the node offers, never for more."""
    asked = config.mtu
    if asked is None:
        return page.mtu
    if asked > page.mtu:
        raise BadConfig(
            f"mtu {asked} does not fit: {page.mtu} is what the encapsulation leaves on this node",
            hint=f"set mtu to {page.mtu} or less, or leave it out",
        )
    least = max(LEAST_MTU[item.family] for item in page.families)
    if asked < least:
        raise BadConfig(f"mtu {asked} is too small: the node's address families need {least}")
    return asked


def _journal(request: Request, now: float, link: PodLink | None = None) -> Attachment:
    names = (request.args.get("K8S_POD_NAMESPACE", ""), request.args.get("K8S_POD_NAME", ""))
    return Attachment(
        network=request.config.name,
        container=request.container,
        ifname=request.ifname,
        netns=request.netns,
        host_link=request.owner.host_link,
        addresses=tuple(str(address) for address in link.addresses) if link else (),
        mac=link.mac if link else "",
        pod="/".join(name for name in names if name),
        created=now,
    )
