"""What has the pod network's addresses, the tunnel's VNI or its UDP port already."""

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import PROC, Look, read_text
from agent.ctl.doctor.tunnel import me, tunnel
from overlay.dataplane.obstacles import Needs, Obstacle
from overlay.dataplane.obstacles import look as look_around
from overlay.model import Subnet
from overlay.netlink import Netlink

DOCKER = "/etc/docker/daemon.json"
DOCKER_PROGRAMS = (
    "/usr/bin/dockerd",
    "/usr/sbin/dockerd",
    "/usr/local/bin/dockerd",
    "/snap/bin/dockerd",
)
_NETS = (
    "172.17.0.0/16",
    "172.18.0.0/16",
    "172.19.0.0/16",
    "172.20.0.0/14",
    "172.24.0.0/14",
    "172.28.0.0/14",
)
DOCKER_POOLS = tuple(map(ip_network, (*_NETS, "192.168.0.0/16")))
"""docs.docker.com, daemon configuration: default-address-pools."""
MOST_PROCESSES = 20_000


@dataclass(frozen=True, slots=True)
class PortUser:
    """A UDP socket on the tunnel's port that is not the tunnel's."""

    local: str
    who: str


def check(look: Look) -> list[Finding] | None:
    """Obstacles, as the agent itself finds them; without a network config there is nothing to judge."""
    network = look.configured().network
    if network is None:
        return None
    with Netlink() as netlink:
        return judge(look_around(netlink, Needs(network, me(look, network))))


def judge(obstacles: Iterable[Obstacle]) -> list[Finding]:
    """Pure."""
    findings = []
    for it in obstacles:
        why, _, how = it.why.partition("; look: ")
        taken = it.what.startswith("device ")
        kind = "vxlan-taken" if taken else "pod-network-overlap"
        name = it.what.partition(" ")[2].partition(" ")[0]
        if taken:
            mend = f"ip link del {name}, or another VNI or Port in the network config; look: {how}"
        else:
            mend = f"take it away, or another Network: overlayctl init --force --network …; look: {how}"
        findings.append(found(kind, "fault", f"{it.what}: {why}", mend))
    return findings


def check_docker(look: Look) -> list[Finding] | None:
    """The pools that Docker will take its next networks from."""
    network = look.configured().network
    text = look.text(DOCKER)
    present = text is not None or any(look.path(path).exists() for path in DOCKER_PROGRAMS)
    if network is None or not present:
        return None
    return judge_docker(pools(text or "{}"), [pool.network for pool in network.pools])


def judge_docker(taken: Iterable[Subnet], pod_networks: Iterable[Subnet]) -> list[Finding]:
    """Pure."""
    wanted = list(pod_networks)
    return [
        found(
            "docker-pool-overlap",
            "warning",
            f"Docker's address pool {pool} overlaps the pod network {network}",
            f'"default-address-pools" in {DOCKER} without it, such as [{{"base":"172.30.0.0/16","size":24}}]; '
            "systemctl restart docker",
        )
        for pool in taken
        for network in wanted
        if pool.version == network.version and pool.overlaps(network)
    ]


def pools(daemon_json: str) -> list[Subnet]:
    """Docker's address pools: those it is told, else the default ones. Pure."""
    try:
        told: dict[str, Any] = msgspec.json.decode(daemon_json.encode(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        told = {}
    rows = told.get("default-address-pools")
    bases = (
        [row.get("base") for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    )
    found_here: list[Subnet] = []
    for base in bases:
        try:
            found_here.append(ip_network(str(base), strict=False))
        except ValueError:
            continue
    return found_here if bases else list(DOCKER_POOLS)


def check_port(look: Look) -> list[Finding] | None:
    """Who has the tunnel's UDP port."""
    it = tunnel(look)
    served = any(link.vxlan and link.vxlan.port == it.port for link in look.hosts().links)
    if not it.port:
        return None
    if served:  # a device has it: another's is among the obstacles
        return []
    return judge_port(users(it.port), it.port)


def judge_port(found_users: Iterable[PortUser], port: int) -> list[Finding]:
    """Pure."""
    return [
        found(
            "udp-port-taken",
            "fault",
            f"UDP {user.local}:{port} is in use by {user.who}",
            f'stop it, or another "Port" in the network config; look: ss -lunp sport = :{port}',
        )
        for user in found_users
    ]


def users(port: int) -> list[PortUser]:
    """Of this network namespace, with the process if it can be seen."""
    inodes: dict[str, str] = {}
    for name in ("udp", "udp6"):
        inodes |= sockets(read_text(PROC / "thread-self/net" / name) or "", port)
    owners = _owners(set(inodes)) if inodes else {}
    return [
        PortUser(local, owners.get(inode, "a program that cannot be seen (or the kernel)"))
        for inode, local in inodes.items()
    ]


def sockets(text: str, port: int) -> dict[str, str]:
    """Local address by inode, of /proc/net/udp's sockets on a port. Pure."""
    found_here = {}
    for line in text.splitlines()[1:]:
        words = line.split()
        address, _, number = words[1].partition(":") if len(words) > 9 else ("", "", "")
        if number.upper() == f"{port:04X}":
            found_here[words[9]] = "[*]" if set(address) == {"0"} else f"[{address}]"
    return found_here


def _owners(inodes: set[str]) -> dict[str, str]:
    wanted = {f"socket:[{inode}]": inode for inode in inodes}
    found_here: dict[str, str] = {}
    for number in [name for name in os.listdir(PROC) if name.isdigit()][:MOST_PROCESSES]:
        for inode in wanted.keys() & _links(PROC / number / "fd"):
            name = (read_text(PROC / number / "comm") or "?").strip()
            found_here[wanted[inode]] = f"{name} (process {number})"
    return found_here


def _links(directory: Path) -> set[str]:
    """Where the links in it lead; processes come and go meanwhile."""
    found_here = set()
    try:
        names = os.listdir(directory)
    except OSError:
        return set()
    for name in names:
        with contextlib.suppress(OSError):
            found_here.add(os.readlink(directory / name))
    return found_here
