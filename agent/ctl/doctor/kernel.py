"""Can this kernel do what the agent needs? Tried, in a network namespace made for it that goes with the trial.

A list of modules would not tell: what is built in, or loaded when it is first asked for, is in none. The node's own
namespace is not touched; what stays is a module that the kernel loaded, as it would for the agent.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address, ip_network

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import PROC, Look, read_text
from overlay import rules
from overlay.errors import KernelRefused, OverlayError
from overlay.netlink import Netlink, link_messages
from overlay.netlink.namespace import run_alone
from overlay.nft import Nft

_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
"""linux/capability.h."""
_MAC = "02:00:00:00:00:01"
_SAMPLE = (ip_network("192.0.2.0/24"), ip_network("192.0.2.0/26"))
"""RFC 5737: nobody's."""


@dataclass(frozen=True, slots=True)
class Facts:
    """``refused`` has a reason for each kind that cannot be made; ``untried`` one why nothing was tried."""

    lacking: tuple[str, ...] = ()
    untried: str = ""
    refused: dict[str, str] = field(default_factory=dict)
    nft: str = ""
    nft_hint: str = ""


def check(look: Look) -> list[Finding]:
    """Capabilities, devices, nftables."""
    del look
    return judge(read())


def judge(facts: Facts) -> list[Finding]:
    """Pure."""
    findings = []
    if facts.lacking:
        title = f"overlayctl runs without {' and '.join(facts.lacking)}"
        findings.append(found("not-root", "warning", title, "sudo overlayctl doctor"))
    if facts.untried:
        title = f"not tried whether the kernel can make the devices: {facts.untried}"
        return [*findings, found("kernel-untried", "note", title, "sudo overlayctl doctor")]
    for kind, why in facts.refused.items():
        mend = f"modprobe {kind}; if there is no such module: a kernel with CONFIG_{_OPTION[kind]}"
        findings.append(found("kernel-link", "fault", f"no {kind} can be made: {why}", mend))
    if facts.nft:
        mend = facts.nft_hint or "modprobe -a nf_tables nft_masq nft_chain_nat"
        findings.append(found("nft-unusable", "fault", f"nftables: {facts.nft}", mend))
    return findings


_OPTION = {"veth": "VETH", "bridge": "BRIDGE", "vxlan": "VXLAN"}


def read() -> Facts:
    """Try it."""
    lacking = lacks(read_text(PROC / "thread-self/status") or "")
    try:
        return run_alone(lambda: _trial(lacking))
    except KernelRefused as error:
        return Facts(lacking, untried=str(error))


def lacks(status: str) -> tuple[str, ...]:
    """The capabilities that a process lacks, by its /proc/PID/status. Pure."""
    words = next((line for line in status.splitlines() if line.startswith("CapEff:")), "")
    held = int(words.partition(":")[2].strip() or "0", 16)
    return tuple(name for bit, name in _CAPABILITIES.items() if not held >> bit & 1)


def _trial(lacking: tuple[str, ...]) -> Facts:
    refused: dict[str, str] = {}
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        with Netlink() as netlink:
            veth = link_messages.link_veth("t0", "t1", mtu=1500, netns_fd=own)
            bridge = link_messages.link_bridge("t2", mac=_MAC, mtu=1450)
            vxlan = link_messages.link_vxlan(
                *("t3",),
                mac=_MAC,
                mtu=1450,
                vni=1,
                port=8472,
                local=ip_address("192.0.2.1"),
                lower=0,
            )
            for kind, message in (("veth", veth), ("bridge", bridge), ("vxlan", vxlan)):
                refused |= {kind: why} if (why := _try(partial(netlink.request, message))) else {}
    finally:
        os.close(own)
    hint: list[str] = []
    return Facts(lacking, refused=refused, nft=_try(_load, hint), nft_hint="".join(hint))


def _load() -> None:
    nft = Nft()
    try:
        nft.run(rules.render_inet([_SAMPLE], masquerade=True, fully_random=True))
    finally:
        nft.close()


def _try(work: Callable[[], None], hint: list[str] | None = None) -> str:
    try:
        work()
    except OverlayError as error:
        if hint is not None:
            hint.append(error.hint)
        return str(error)
    return ""
