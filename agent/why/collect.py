"""Collecting one node's facts: in the agent for another node's operator, in overlayctl for its own.

Nothing is changed and no program is started. What cannot be read is said in ``unread``; the rest stands. The packets
of the test go first, so that neighbours are in the state in which they leave a packet now.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from agent.config import Config
from agent.why import find, question, trial
from agent.why.facts import Facts, Link, Neighbour, Pod, Way, plain
from agent.why.kernel import View
from agent.why.question import Question
from agent.why.verdicts import Verdicts
from cni.record import Attachment
from overlay.desired import device_name
from overlay.errors import NotReady, OverlayError
from overlay.family import Address, Family
from overlay.netlink import LinkInfo, Netlink
from overlay.netlink.namespace import run_inside
from overlay.nodefile import NodePage, read_page

T = TypeVar("T")
SWITCHES = Path("/proc/sys/net")


def answer(config: Config, body: Mapping[str, Any]) -> dict[str, Any]:
    """To the verb "facts": who is meant, or all that this node knows of the path.

    Raises:
        BadInput: the question is not one.
    """
    asked = question.read({key: value for key, value in body.items() if key != "verb"})
    if not asked.other:
        found = find.attachments(config.run_dir, asked.pod)
        return {"node": config.node_name, "found": [plain(find.told(record)) for record in found]}
    return dict(plain(collect(config, asked)))


def collect(config: Config, asked: Question) -> Facts:
    """This node's side of the path between its pod and the other address."""
    with Netlink() as netlink:
        return _Collector(config, asked, netlink).facts()


class _Collector:
    """One snapshot in the making."""

    def __init__(self, config: Config, asked: Question, netlink: Netlink) -> None:
        self._config, self._asked = config, asked
        other = asked.other_address
        assert other is not None  # question.read has seen to it
        self._other: Address = other
        self._family = Family.of(other)
        self._unread: list[str] = []
        self._view = View(netlink, own_protocol=config.marks.route_protocol)
        self._netlink = netlink
        self._page = self._read_page()
        records = find.attachments(config.run_dir, asked.pod)
        self._record = records[0] if records else None

    def facts(self) -> Facts:
        """All of it."""
        address = self._pod_address()
        path = find.way_in(self._record) if self._record else ""
        test = (
            self._try("the test", partial(trial.tried, self._asked, self._record, path, self._page))
            if path
            else None
        )
        view, page = self._view, self._page
        bridge = view.named(self._bridge_name())
        tunnel = self._vxlan()
        out = self._way(address, bridge, self._other)
        neighbour = self._hop_of(out)
        fdb = None
        if out and tunnel and out.link == tunnel.name and neighbour and neighbour.mac:
            fdb = self._try("the FDB", partial(view.fdb, tunnel.name, neighbour.mac))
        direct = out.via if out and tunnel and out.link != tunnel.name else ""
        below = self._below(fdb[0] if fdb else self._asked.peer or direct)
        into = self._into(address, tunnel, below, out)
        verdicts = Verdicts(self._asked, self._other, address, page)
        verdicts.read()
        self._unread += verdicts.unread
        bridge_name, device = self._bridge_name(), out.link if out else ""
        veth = self._veth()
        port, beside = veth.name if veth else "", self._is_beside()
        return Facts(
            node=self._config.node_name[:128],
            subnets=[str(one.subnet) for one in page.families] if page else [],
            mtu=page.mtu if page else 0,
            pod=self._pod(path, address),
            bridge=self._try("the bridge", lambda: view.link(bridge)),
            gateway=self._gateway(),
            veth=self._try("the veth", lambda: view.link(veth)),
            vxlan=self._try("the VXLAN device", lambda: view.link(tunnel)),
            vxlan_name=tunnel.name if tunnel else device_name(self._family, 1),
            switches=dict(self._switches(bridge_name, tunnel)),
            out=out,
            neighbour=neighbour,
            fdb=fdb,
            tunnel=below,
            tunnel_link=self._below_link(below, tunnel),
            tunnel_neighbour=self._hop_of(below),
            into=into,
            pod_neighbour=self._pod_neighbour(address),
            forward_out=verdicts.forward(bridge_name, device, out=True),
            forward_in=verdicts.forward(device or self._far_device(tunnel), bridge_name, out=False),
            tunnel_out=verdicts.tunnel(below, tunnel, out=True),
            tunnel_in=verdicts.tunnel(below, tunnel, out=False),
            bridge_out=verdicts.bridged(port, bridge_name, out=True, beside=beside),
            bridge_in=verdicts.bridged(port, bridge_name, out=False, beside=beside),
            test=test,
            unread=[text[:600] for text in self._unread[:16]],
        )

    # --- who and where --------------------------------------------------------------------------------

    def _read_page(self) -> NodePage | None:
        try:
            return read_page(self._config.run_dir)
        except NotReady as error:
            self._unread.append(str(error))
            return None

    def _pod_address(self) -> Address | None:
        """The pod's address of the other's family; of a pod that is not attached the one that was asked for."""
        if self._record is not None:
            for text in self._record.addresses:
                found = question.address(text.partition("/")[0])
                if found is not None and Family.of(found) is self._family:
                    return found
            return None
        return question.address(self._asked.pod)

    def _bridge_name(self) -> str:
        if self._record is not None and self._record.bridge:
            return self._record.bridge
        return self._page.bridge if self._page else self._config.bridge

    def _is_beside(self) -> bool:
        """Is the other one a pod of this node, too?"""
        families = self._page.families if self._page else ()
        return any(self._other in one.subnet for one in families if one.family is self._family)

    def _gateway(self) -> str:
        families = self._page.families if self._page else ()
        return next((str(one.gateway) for one in families if one.family is self._family), "")

    def _vxlan(self) -> LinkInfo | None:
        """Ours by its mark, of this family."""
        alias = self._config.marks.vtep_alias
        for link in self._view.links.values():
            local = link.vxlan.local if link.vxlan else None
            if link.vxlan and link.alias == alias and local and Family.of(local) is self._family:
                return link
        return None

    def _far_device(self, tunnel: LinkInfo | None) -> str:
        return tunnel.name if tunnel else ""

    def _veth(self) -> LinkInfo | None:
        record = self._record
        if record is None or not record.host_link:
            return None
        found = self._view.named(record.host_link)
        if found is None:
            alias = record.owner.alias
            found = next((it for it in self._view.links.values() if it.alias == alias), None)
        return found

    # --- the ways -----------------------------------------------------------------------------------------

    def _way(self, source: Address | None, iif: LinkInfo | None, to: Address) -> Way | None:
        return self._try("a route", lambda: self._view.way(to, source=source, iif=iif))

    def _into(
        self, address: Address | None, tunnel: LinkInfo | None, below: Way | None, out: Way | None
    ) -> Way | None:
        """What arrives for the pod: by the tunnel, or by the underlay where the way there is direct."""
        if address is None:
            return None
        device = tunnel
        if out is not None and out.link and (tunnel is None or out.link != tunnel.name):
            device = self._view.named(out.link)
        if device is None and below is not None:
            device = self._view.named(below.link)
        return self._way(self._other, device, address)

    def _below(self, peer: str) -> Way | None:
        to = question.address(peer)
        return None if to is None else self._way(None, None, to)

    def _below_link(self, below: Way | None, tunnel: LinkInfo | None) -> Link | None:
        """The underlay's link: where the way leads, or else what the device is bound to."""
        info = self._view.named(below.link) if below is not None and below.link else None
        if tunnel is not None and tunnel.vxlan is not None:
            info = self._view.links.get(tunnel.vxlan.lower) or info
        return self._try("the underlay's link", lambda: self._view.link(info))

    def _hop_of(self, way: Way | None) -> Neighbour | None:
        """The neighbour that a way leads to."""
        if way is None or not way.link:
            return None
        to = question.address(way.via or way.to)
        if to is None:
            return None
        return self._try("the neighbours", lambda: self._view.neighbour(way.link, to))

    def _pod_neighbour(self, address: Address | None) -> Neighbour | None:
        if address is None:
            return None
        name = self._bridge_name()
        return self._try("the neighbours", lambda: self._view.neighbour(name, address))

    def _switches(self, bridge: str, tunnel: LinkInfo | None) -> Iterator[tuple[str, str]]:
        v4 = self._family is Family.V4
        paths = ["ipv4/ip_forward"] if v4 else ["ipv6/conf/all/forwarding"]
        if v4:
            for link in ("all", bridge, *([tunnel.name] if tunnel else [])):
                paths.append(f"ipv4/conf/{link}/rp_filter")
                if link != "all":
                    paths.append(f"ipv4/conf/{link}/forwarding")
        paths.append("bridge/bridge-nf-call-iptables" if v4 else "bridge/bridge-nf-call-ip6tables")
        for path in paths:
            with contextlib.suppress(OSError):
                yield f"net/{path}", (SWITCHES / path).read_text().strip()[:128]

    # --- inside of the pod --------------------------------------------------------------------------------

    def _pod(self, path: str, address: Address | None) -> Pod | None:
        record = self._record
        if record is None:
            return None
        known = Pod(
            name=record.pod[:600],
            container=record.container[:128],
            ifname=record.ifname,
            address=_with_length(record, address),
            bridge=record.bridge,
            host_link=record.host_link,
            given_mtu=record.mtu,
            enter=f"nsenter --net={path}" if path else "",
            fault="" if path else f"its network namespace {record.netns} is gone"[:600],
        )
        if not path:
            return known
        try:
            return run_inside(path, partial(self._inside, known, address))
        except OverlayError as error:
            return msgspec.structs.replace(known, fault=str(error)[:600])

    def _inside(self, known: Pod, address: Address | None) -> Pod:
        """In a thread in there."""
        with Netlink() as netlink:
            view = View(netlink)
            link = view.named(known.ifname)
            way = view.way(self._other)
            to = question.address(way.via or way.to)
            neighbour = view.neighbour(way.link, to) if way.link and to else None
            verdicts = Verdicts(self._asked, self._other, address, None)
            verdicts.read()
            return msgspec.structs.replace(
                known,
                link=view.link(link),
                way=way,
                neighbour=neighbour,
                leaving=verdicts.pod(known.ifname, out=True),
                entering=verdicts.pod(known.ifname, out=False),
            )

    def _try(self, what: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except (OverlayError, OSError) as error:
            self._unread.append(f"{what}: {error}")
            return None


def _with_length(record: Attachment, address: Address | None) -> str:
    return next(
        (text for text in record.addresses if text.partition("/")[0] == str(address)),
        str(address or ""),
    )
