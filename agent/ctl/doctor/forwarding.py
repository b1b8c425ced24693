"""Is this node a router for its pods, now and after the next boot? Forwarding, rp_filter, br_netfilter."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from agent.ctl.doctor.finding import Finding, Fix, Severity, found
from agent.ctl.doctor.look import PROC, Look
from agent.ctl.doctor.tunnel import tunnel
from overlay.dataplane.switches import Switches
from overlay.model import Family, Sysctl

SWITCH = {Family.V4: "net/ipv4/ip_forward", Family.V6: "net/ipv6/conf/all/forwarding"}
_SAME = {"net/ipv4/conf/all/forwarding": SWITCH[Family.V4]}
"""One switch with two names."""
DIRECTORIES = ("/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d")
STRICT = "1"
_LINE = re.compile(r"-?\s*([^=\s]+)\s*=\s*(.*?)\s*")


@dataclass(frozen=True, slots=True)
class Facts:
    """``switches`` are values by path below /proc/sys, ``files`` sysctl.d's texts in the order of their effect.

    ``own`` are the devices that pods' packets pass, ``families`` those of the pod network, ``direct`` whether
    peers may be reached without the tunnel. ``serving``: the agent runs, and has set what it sets.
    """

    switches: Mapping[str, str]
    files: Mapping[str, str] = field(default_factory=dict)
    own: tuple[str, ...] = ()
    families: tuple[Family, ...] = (Family.V4,)
    direct: bool = False
    serving: bool = False


def check(look: Look) -> list[Finding]:
    """The switches, and what turns them at boot."""
    return judge(read(look))


def judge(facts: Facts) -> list[Finding]:
    """Pure."""
    findings = []
    for family in facts.families:
        path = SWITCH[family]
        if facts.switches.get(path, "1") == "0":
            findings.append(_forward(path, family, facts.serving))
        if (culprit := at_boot(facts.files, path)) is not None:
            where, value = culprit
            if value == "0":
                title = f"{where} turns {_dotted(path)} off at boot"
                mend = f"take the line out of {where}, or set {_dotted(path)} = 1 in a file that comes after it"
                findings.append(found("ip-forward-at-boot", "warning", title, mend))
    return [*findings, *_strict(facts)]


def at_boot(files: Mapping[str, str], path: str) -> tuple[str, str] | None:
    """The file that has the last word on a switch, and its value; None if none names it. Pure."""
    last = None
    for name, text in files.items():
        for line in text.splitlines():
            found_line = _LINE.fullmatch(line.strip())
            if found_line is None or line.lstrip().startswith(("#", ";")):
                continue
            key = found_line[1].lstrip("-")
            key = key if "/" in key.split(".")[0] else key.replace(".", "/")
            if fnmatchcase(path, _SAME.get(key, key)):
                last = (name, found_line[2])
    return last


def _forward(path: str, family: Family, serving: bool) -> Finding:
    title = f"{_dotted(path)} is 0: packets of pods are not forwarded (IP{family.name.lower()})"
    if not serving:
        title = f"{_dotted(path)} is 0; the agent sets it when it joins (IP{family.name.lower()})"
    mend = f"sysctl -w {_dotted(path)}=1"
    return found("ip-forward", "fault" if serving else "note", title, mend, fix=turn(path, "1"))


def _strict(facts: Facts) -> list[Finding]:
    """Strict on the underlay matters where a peer may come by another way than the answer goes."""
    everywhere = facts.switches.get("net/ipv4/conf/all/rp_filter", "0")
    findings = []
    for name in facts.own if Family.V4 in facts.families else ():
        path = f"net/ipv4/conf/{name}/rp_filter"
        own = facts.switches.get(path, "0")
        if max(everywhere, own) != STRICT:  # the greater of the two counts; 2 is loose
            continue
        title = f"rp_filter of {name} is 1 (strict{', by all' if own != STRICT else ''})"
        mend = f"sysctl -w {_dotted(path)}=2; for good in /etc/sysctl.d"
        severity: Severity = "warning" if facts.direct else "note"
        findings.append(found("rp-filter", severity, title, mend, fix=turn(path, "2")))
    return findings


def turn(path: str, value: str) -> Fix:
    """Set a switch until the next boot."""
    return Fix(
        f"sysctl -w {_dotted(path)}={value}",
        lambda: Switches(PROC / "sys").set(Sysctl(path, value)),
    )


def _dotted(path: str) -> str:
    """As sysctl(8) reads it: where a device's name has a dot, the slashes stay."""
    return path if "." in path else path.replace("/", ".")


def read(look: Look) -> Facts:
    """From /proc/sys, sysctl.d, and the names of our devices."""
    network = look.configured().network
    families = tuple(pool.family for pool in network.pools) if network else (Family.V4,)
    status = look.agent().status
    names = own_links(look)
    paths = [*SWITCH.values(), "net/ipv4/conf/all/rp_filter"]
    paths += [f"net/ipv4/conf/{name}/rp_filter" for name in names]
    switches = {path: value for path in paths if (value := look.switch(path)) is not None}
    files = look.texts(DIRECTORIES, ".conf")
    if (last := look.text("/etc/sysctl.conf")) and not any(
        Path(path).name == "99-sysctl.conf" for path in files
    ):
        files["/etc/sysctl.conf"] = last
    return Facts(
        switches,
        files,
        own=names,
        families=families,
        direct=bool(network and network.backend.direct),
        serving=bool(status and status["subnets"]),
    )


def own_links(look: Look) -> tuple[str, ...]:
    """Our devices, by their mark, and the interfaces below the tunnel."""
    marks = look.settings.marks
    names = [link.name for link in look.hosts().links if marks.are_on(link.alias)]
    names += [below.link for below in tunnel(look).underlays.values()]
    return tuple(dict.fromkeys(names))
