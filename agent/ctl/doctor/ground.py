"""The interface below the tunnel: is there one, and is its MTU enough; does the network's MTU fit it."""

from collections.abc import Mapping

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Look
from agent.ctl.doctor.tunnel import Tunnel, tunnel
from agent.ground import SMALLEST_MTU, Ground
from overlay.errors import OverlayError
from overlay.model import Backend, Family
from overlay.netlink import Netlink


def check(look: Look) -> list[Finding]:
    """Both families, as far as the network has them."""
    it = tunnel(look)
    network = look.configured().network
    backend = network.backend if network else Backend()
    return judge(it, backend, _reasons(look, it))


def judge(it: Tunnel, backend: Backend, reasons: Mapping[Family, str]) -> list[Finding]:
    """Pure; ``reasons`` has why a family has no underlay."""
    findings = []
    for family, why in reasons.items():
        mend = "iface = NAME or ADDRESS in agent.toml; look: ip address; ip route"
        title = f"no underlay for IP{family.name.lower()}: {why}"
        findings.append(found("underlay-none", "fault", title, mend))
    for family, below in it.underlays.items():
        overhead = backend.overhead(family)
        least = SMALLEST_MTU[family]
        if below.mtu - overhead < least:
            left = below.mtu - overhead
            title = f"{below.link} has MTU {below.mtu}: pods get {left}, IP{family.name.lower()} needs {least}"
            findings.append(
                found(
                    "underlay-mtu",
                    "fault",
                    title,
                    f"ip link set {below.link} mtu {least + overhead}",
                )
            )
        if backend.mtu > below.mtu:
            title = f"the network config says MTU {backend.mtu}, {below.link} has {below.mtu}"
            mend = f"ip link set {below.link} mtu {backend.mtu}, or Backend.MTU {below.mtu} in the network config"
            findings.append(found("backend-mtu", "warning", title, mend))
    return findings


def _reasons(look: Look, it: Tunnel) -> dict[Family, str]:
    reasons = {}
    with Netlink() as netlink:
        ground = Ground(look.settings, netlink)
        for family in it.families:
            if family in it.underlays:
                continue
            try:
                ground.underlays(look.hosts(), [family])
            except OverlayError as error:
                reasons[family] = str(error)
    return reasons
