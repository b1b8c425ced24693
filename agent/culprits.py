"""Who may have undone our work: named by evidence, never by guess alone. Pure.

Evidence, best first: the process that the kernel's event names; the protocol number of a route that took the
place of ours; the kind of change; and which programs that do such things run here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from agent.processes import Process
from overlay.model import (
    Bridge,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Ruleset,
    Sysctl,
    Vxlan,
)

_PROTOCOLS = {
    4: "systemd-networkd or NetworkManager",
    8: "gated",
    9: "a router advertisement client",
    11: "FRR (zebra)",
    12: "BIRD",
    14: "XORP",
    16: "a DHCP client",
    17: "kube-router",
    18: "keepalived",
    42: "babeld",
    80: "Calico",
    99: "Open/R",
    186: "FRR (bgpd)",
    187: "FRR (isisd)",
    188: "FRR (ospfd)",
    189: "FRR (ripd)",
    192: "FRR (eigrpd)",
}
"""rtm_protocol: linux/rtnetlink.h, /etc/iproute2/rt_protos; 17 and 80 by what those programs set."""

_LINK: tuple[type, ...] = (Vxlan, Bridge, LinkAddress)
_PEER: tuple[type, ...] = (Route, Neighbour, FdbEntry)
_PROGRAMS: dict[str, tuple[tuple[type, ...], str]] = {
    # the kernel's names, 15 characters at most
    "NetworkManager": (
        (*_LINK, Route),
        "keep its hands off: printf '[keyfile]\\nunmanaged-devices=interface-name:overlay*;interface-name:ovl*\\n' "
        "> /etc/NetworkManager/conf.d/overlay.conf; nmcli general reload",
    ),
    "systemd-network": (
        (*_LINK, Route),
        "keep its hands off: printf '[Match]\\nName=overlay* ovl*\\n[Link]\\nUnmanaged=yes\\n' "
        "> /etc/systemd/network/00-overlay.network; ManageForeignRoutes=no in [Network] of "
        "/etc/systemd/networkd.conf; systemctl restart systemd-networkd",
    ),
    "flanneld": (
        (*_LINK, *_PEER, Ruleset),
        "one of the two serves a network: systemctl disable --now flanneld (or take the node out of its DaemonSet)",
    ),
    "calico-node": (
        (*_LINK, *_PEER, Ruleset, Sysctl),
        "one of the two serves a network: take this node out of calico's DaemonSet",
    ),
    "cilium-agent": (
        (*_LINK, *_PEER, Sysctl),
        "one of the two serves a network: take this node out of cilium's DaemonSet",
    ),
    "kube-router": (
        (*_LINK, *_PEER, Sysctl),
        "one of the two serves a network: run kube-router with --run-router=false",
    ),
    "firewalld": (
        (Ruleset,),
        "let it keep to its own table: FirewallBackend=nftables in /etc/firewalld/firewalld.conf",
    ),
    "ufw": ((Ruleset, Sysctl), "it reloads all rules: see /etc/ufw/sysctl.conf and before.rules"),
    "dockerd": (
        (Bridge, LinkAddress, Ruleset, Sysctl),
        "see that its bip and default-address-pools in /etc/docker/daemon.json lie outside of the pod network",
    ),
    "bird": ((Route,), "its kernel protocol must not touch the pod network: an export filter"),
    "zebra": ((Route,), "keep the pod network out of its routing table: ip protocol ... route-map"),
    "dhclient": ((LinkAddress, Route), "it must not run on our devices: see /etc/dhcp"),
    "dhcpcd": ((LinkAddress, Route), "denyinterfaces overlay* ovl* in /etc/dhcpcd.conf"),
    "nft": (
        (),
        "let it replace its own table only: grep -rn 'flush ruleset' /etc/nftables.conf /etc/nftables.d",
    ),
}
NAMES = tuple(name for name, (kinds, _) in _PROGRAMS.items() if kinds)
"""What to look for among the running processes."""
_UDEV_ADVICE = (
    "printf '[Match]\\nOriginalName=overlay* flannel*\\n[Link]\\nMACAddressPolicy=none\\n' "
    "> /etc/systemd/network/10-overlay.link; udevadm control --reload"
)
_LOOK = "see who does it: ip monitor all, nft monitor; when it happens: overlayctl drift"


@dataclass(frozen=True, slots=True)
class Sign:
    """What an event says of a deed: what became of the object, and traces of who did it.

    ``fate`` is agent.undone's, ``seen`` the same in words where there are better ones; ``protocol`` is that of a
    route in the place of ours, 0 if there is none.
    """

    fate: str = "gone"
    seen: str = ""
    protocol: int = 0
    process: str = ""
    pid: int = 0

    def after(self, before: "Sign") -> "Sign":
        """Both of one object: what is gone stays gone, and no trace is lost."""
        base = self if self.fate == "gone" or before.fate != "gone" else before
        who = self if self.process else before
        protocol = self.protocol or before.protocol
        return replace(base, protocol=protocol, process=who.process, pid=who.pid)


@dataclass(frozen=True, slots=True)
class Culprit:
    """``name`` may be several programs; ``why`` is the evidence, ``advice`` what to do next."""

    name: str
    why: str
    advice: str

    def __str__(self) -> str:
        return f"{self.name} ({self.why})" if self.why else self.name


UNKNOWN = Culprit("unknown", "no program that is known for it runs here; by hand?", _LOOK)


def likely(
    item: KernelObject, sign: Sign, running: Iterable[Process], *, new_mac: bool = False
) -> Culprit:
    """Who probably did it. ``new_mac``: a device got another MAC within moments of its creation."""
    if sign.process:
        known = next((name for name in _PROGRAMS if sign.process.startswith(name)), "")
        advice = _PROGRAMS[known][1] if known else _LOOK
        return Culprit(sign.process, f"the kernel names it, pid {sign.pid}", advice)
    suspects = [it for it in running if _does(it.name, item)]
    if name := _PROTOCOLS.get(sign.protocol, ""):
        first = next((it for it in suspects if _short(it.name) in name), None)
        advice = _advice(first.name) if first else _LOOK
        return Culprit(name, f"its route has protocol {sign.protocol}", advice)
    if new_mac:
        return Culprit("systemd-udevd", "a new MAC right after the device was made", _UDEV_ADVICE)
    if suspects:
        names = ", ".join(f"{it.name} (pid {it.pid})" for it in suspects[:3])
        return Culprit(names, "runs here and is known for it", _advice(suspects[0].name))
    return UNKNOWN


def _does(program: str, item: KernelObject) -> bool:
    known = next((name for name in NAMES if program.startswith(name)), "")
    return bool(known) and isinstance(item, _PROGRAMS[known][0])


def _advice(program: str) -> str:
    return next(text for name, (_, text) in _PROGRAMS.items() if program.startswith(name))


def _short(program: str) -> str:
    return program.removeprefix("systemd-")
