"""The ground this node stands on: which interface carries the tunnel, and what of it is local. Reads, never writes.

`agent.join` asks when it claims, `agent.footing` while the node runs; each with a ground of its own, because a
netlink socket is for one thread.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from agent import underlay
from agent.config import Config
from agent.underlay import Hosts, Underlay
from overlay.desired import Me, Vtep
from overlay.errors import BadConfig
from overlay.marks import Marks
from overlay.model import LEAST_V6_MTU, Address, Family, Network
from overlay.netlink import Netlink
from overlay.onlink import NOTHING, on_link

log = logging.getLogger(__name__)

IPV4_SYSCTLS = Path("/proc/sys/net/ipv4/conf")
STRICT = 1
"""Of rp_filter, Documentation/networking/ip-sysctl.rst; the greater of the link's and all links' counts."""
SMALLEST_MTU = {Family.V4: 576, Family.V6: LEAST_V6_MTU}
"""Below this an inner network of the family does not work: RFC 791's reassembly minimum, RFC 8200 section 5."""


class Ground:
    """``chosen`` says in words what was found last, ``tight`` which family has too little room, ``dark`` which
    interface carries nothing; or empty."""

    def __init__(self, config: Config, netlink: Netlink) -> None:
        self.chosen = self.tight = self.dark = ""
        self._said = ""
        self._config = config
        self._netlink = netlink

    def hosts(self) -> Hosts:
        """One look at the kernel."""
        return underlay.read(self._netlink)

    def underlays(
        self, hosts: Hosts, families: Iterable[Family], *, held: Iterable[Address] = ()
    ) -> dict[Family, Underlay]:
        """The underlay of each family; an address that is ``held``, or that our tunnel has, stays while it can.

        Raises:
            OverlayError: there is none that the settings allow.
        """
        tunnels = (it.vxlan for it in hosts.links if self._config.marks.are_on(it.alias))
        present = {*held, *(it.local for it in tunnels if it is not None and it.local)}
        found = {family: self._underlay(hosts, family, present) for family in families}
        self.chosen = ", ".join(f"{it.link} {it.address} mtu {it.mtu}" for it in found.values())
        return found

    def public(self, family: Family) -> Address | None:
        """The address that peers are told instead of the interface's, if one is set."""
        return self._config.public_ip if family is Family.V4 else self._config.public_ipv6

    def moved(self, me: Me, hosts: Hosts | None = None) -> str:
        """What peers know of ``me`` and is so no more, in words; empty if there is nothing. Which interface carries the
        address is no business of theirs. Here and below ``hosts`` is what was read just now, if it was.

        Raises:
            OverlayError: there is no usable underlay at all.
        """
        changes = []
        found = self.underlays(hosts or self.hosts(), me.families, held=_locals(me))
        for family, mtu in me.narrow:
            if found[family].mtu > mtu:
                changes.append(
                    f"{found[family].link} has MTU {found[family].mtu}, room for IPv{family.value}"
                )
        for vtep in me.vteps:
            it = found[vtep.family]
            if it.address != vtep.local:
                changes.append(f"{vtep.local} on {vtep.underlay} -> {it.address} on {it.link}")
        return ", ".join(changes)

    def refreshed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """``me`` with what is true of its underlay now, in all that no peer has to be told. For agent.footing.

        Raises:
            OverlayError: there is no usable underlay, or its MTU leaves no room.
        """
        hosts = hosts or self.hosts()
        found = self.underlays(hosts, me.families, held=_locals(me))
        self.dark = underlay.dark(hosts, [it.link for it in found.values()])
        return self._standing(network, me, found, hosts)

    def stayed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """The same where another underlay would be chosen now, or none at all: by those that still carry the addresses
        of ``me``; of the others all stays as it was.

        Raises:
            OverlayError: the kernel cannot be read.
        """
        hosts = hosts or self.hosts()
        found = {
            vtep.family: it
            for vtep in me.vteps
            if (it := underlay.carrier(hosts, vtep.family, {vtep.local})) is not None
        }
        names = [it.link if (it := found.get(v.family)) else v.underlay for v in me.vteps]
        self.dark = underlay.dark(hosts, names)
        try:
            return self._standing(network, me, found, hosts)
        except BadConfig:  # no room; or nothing has stayed
            return self.routed(network, me, hosts)

    def _standing(
        self, network: Network, me: Me, found: Mapping[Family, Underlay], hosts: Hosts
    ) -> Me:
        mtus = self.tunnel_mtus(found, network, {vtep.family: vtep.mtu for vtep in me.vteps})
        vteps = tuple(
            replace(vtep, mtu=mtus[vtep.family], underlay=found[vtep.family].link)
            if vtep.family in found
            else vtep
            for vtep in me.vteps
        )
        return self.routed(network, replace(me, vteps=vteps), hosts)

    def tunnel_mtus(
        self, found: Mapping[Family, Underlay], network: Network, present: Mapping[Family, int]
    ) -> dict[Family, int]:
        """What fits inside per family: the smaller of the interface's MTU and the config's, minus the overhead.

        One family with too little room must not cost the other its network: it is said in ``tight``, and its
        tunnel keeps the MTU that it has ``present`` (short packets still pass), or is left out.

        Raises:
            BadConfig: there is room for none.
        """
        mtus: dict[Family, int] = {}
        tight: dict[Family, str] = {}
        self._say_what_is_ignored(found, network)
        for family, it in found.items():
            outer = min(it.mtu, network.backend.mtu or it.mtu)
            overhead = network.backend.overhead(family)
            mtus[family] = outer - overhead
            if mtus[family] < SMALLEST_MTU[family]:
                tight[family] = (
                    f"underlay MTU {outer} of {it.link} leaves {mtus[family]} bytes after {overhead} for "
                    f"VXLAN, too few for IPv{family.value} (at least {SMALLEST_MTU[family]})"
                )
        if len(tight) == len(found):
            raise BadConfig(
                "; ".join(tight.values()),
                hint="docs/mtu.md says how large the underlay must be; ip link shows what it is",
            )
        for family in tight:
            mtus[family] = present.get(family, 0)
        said = "; ".join(tight.values())
        if said and said != self.tight:
            log.warning("%s; all else goes on", said)
        self.tight = said
        return {family: mtu for family, mtu in mtus.items() if mtu >= SMALLEST_MTU[family]}

    def _say_what_is_ignored(self, found: Mapping[Family, Underlay], network: Network) -> None:
        """Once, not at every look."""
        wanted = network.backend.mtu
        short = [f"{it.link} (MTU {it.mtu})" for it in found.values() if it.mtu < wanted]
        said = f"Backend.MTU {wanted} does not fit {', '.join(short)}" if short else ""
        if said and said != self._said:
            log.warning("%s, using the interface's own", said)
        self._said = said

    def routed(self, network: Network, me: Me, hosts: Hosts | None = None) -> Me:
        """``me`` with what is on link now; that needs no usable underlay, and costs nothing without direct routes.

        Raises:
            OverlayError: the kernel cannot be read.
        """
        if not network.backend.direct:
            return replace(me, connected=NOTHING, strict=())
        hosts = hosts or self.hosts()
        ours = {me.bridge, *(vtep.link for vtep in me.vteps)}
        links = {link.index: link for link in hosts.links}
        return replace(
            me,
            connected=on_link(
                hosts.routes, links, ours=ours, protocol=Marks(me.instance).route_protocol
            ),
            strict=tuple(sorted({vtep.underlay for vtep in me.vteps if _is_strict(vtep)})),
        )

    def refuse_public(self, chosen: Mapping[Family, Underlay]) -> None:
        """See that peers can route by way of the address they are told; for host-gw.

        Raises:
            BadConfig: it is not the interface's.
        """
        for family, it in chosen.items():
            public = self.public(family)
            if public is not None and public != it.address:
                raise BadConfig(
                    f"public_ip = {public} is not the address of {it.link}, {it.address}: host-gw routes by way of "
                    "the interface's own",
                    hint="leave public_ip out, name the interface that has it (iface), or use Backend vxlan",
                )

    def _underlay(self, hosts: Hosts, family: Family, held: Collection[Address]) -> Underlay:
        targets = () if self._config.iface else self._config.iface_can_reach
        own = [target for target in targets if Family.of(target) is family]  # it alone decides
        reached_by = {it: underlay.reaches(self._netlink, it) for it in own or targets}
        return underlay.choose(
            hosts,
            family,
            iface=self._config.iface,
            reached_by=reached_by,
            public=self.public(family),
            held=held,
        )


def _locals(me: Me) -> list[Address]:
    return [vtep.local for vtep in me.vteps]


def _is_strict(vtep: Vtep) -> bool:
    """True if what comes by the underlay is dropped unless the answer goes there as well; IPv6 has no such switch."""
    try:
        found = [
            int((IPV4_SYSCTLS / name / "rp_filter").read_text()) for name in ("all", vtep.underlay)
        ]
    except (OSError, ValueError):
        return False
    return vtep.family is Family.V4 and max(found) == STRICT
