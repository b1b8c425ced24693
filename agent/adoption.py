"""Taking a node over from flanneld: its devices keep their MACs, its pods their addresses.

What flanneld leaves is right already (its stop changes nothing), so take-over means to find it and to take
it as it is: `flannel.<VNI>` under its own name, the bridge that its pods join, the addresses that they hold.
A flanneld that still runs is another writer of the same objects: then nothing is begun, and the reason says
what to do. Nothing here changes a link; that is the reconcile loop's.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from agent import processes
from agent.config import Config
from agent.memory import Memory
from agent.processes import PROC
from agent.underlay import Hosts
from cni import adopted
from overlay.dataplane.read import marked
from overlay.desired import BRIDGE_MAC_PREFIX, Me, device_name, gateway
from overlay.errors import BadConfig, NotReady
from overlay.model import Family, Lease, Network
from overlay.netlink import LinkInfo
from overlay.nodefile import NodeFamily

log = logging.getLogger(__name__)

FLANNELS_PREFIX = "/coreos.com/network"
"""flanneld's own default of --etcd-prefix (main.go, v0.28)."""


def device(hosts: Hosts, network: Network, family: Family) -> tuple[str, LinkInfo | None]:
    """Our device's name, and the device if it is there; flannel's is adopted under its own name."""
    vni = network.backend.vni
    ours = device_name(family, vni)
    theirs = f"flannel.{vni}" if family is Family.V4 else f"flannel-v6.{vni}"
    for name in (ours, theirs):
        for link in hosts.links:
            if link.name == name and link.vxlan is not None and link.vxlan.vni == vni:
                return name, link
    return ours, None


def vtep_mac(
    memory: Memory, family: Family, link: LinkInfo | None, *, recorded: str | None = None
) -> str:
    """A device that another program made keeps its MAC: all peers know it. Ours has the remembered one.

    ``recorded`` is what our record said when it was last read, if the state file should be lost.
    """
    if link is not None and not marked(link):
        return memory.mac(family, device_mac=link.mac, keep=True)
    return memory.mac(family, device_mac=recorded or (link.mac if link else None))


def bridge_mac(memory: Memory, hosts: Hosts, name: str) -> str:
    """The MAC of a bridge that another program made, now or in an earlier life; "" where it is ours to choose.

    It is the gateway's MAC in the ARP cache of every pod: a change would cost each of them packets. So one that
    we made for another subnet stays as well.
    """
    link = _bridge(hosts, name)
    if link is not None and not marked(link):
        return memory.mac(name, device_mac=link.mac, keep=True)
    if link is not None and link.mac.startswith(BRIDGE_MAC_PREFIX):
        return link.mac
    return memory.known(name)


def refuse_two_bridges(hosts: Hosts, network: Network, name: str) -> None:
    """See that pods of another bridge are not cut off by ours.

    Raises:
        BadConfig: another bridge with ports has an address inside the pod network.
    """
    bridges = {link.index: link for link in hosts.links if link.kind == "bridge"}
    ports = [link.master for link in hosts.links if link.master in bridges]
    for info in hosts.addresses:
        link = bridges.get(info.link)
        inside = any(info.address in pool.network for pool in network.pools)
        if link is not None and link.name != name and inside and link.index in ports:
            raise BadConfig(
                f"bridge {link.name} has {info.address} of the pod network and {ports.count(link.index)} ports, "
                f"bridge = {name!r} would cut its pods off",
                hint=f'take it over: bridge = "{link.name}"; or, without pods: ip link delete {link.name}',
            )


def take_in_pods(config: Config, network: Network, me: Me) -> None:
    """Hold the addresses of pods that another plugin attached to our bridge, before any new pod can ask.

    Raises:
        OverlayError: the pods cannot be looked at; without that no address may be given.
    """
    families = tuple(
        NodeFamily(gateway=gateway(vtep.subnet), cluster=pool.network)
        for vtep in me.vteps
        if (pool := network.pool(vtep.family))
    )
    taken = adopted.TakeIn(config.run_dir, me.bridge, families, config.host_local_dir).run(
        doubtful=True
    )
    for sentence in taken.said:
        log.warning("%s", sentence)
    if taken.addresses:
        log.info(
            "pods of another plugin taken in bridge=%s addresses=%d first=%s",
            me.bridge,
            len(taken.addresses),
            taken.addresses[0],
        )


# --- a flanneld that runs -----------------------------------------------------------------------------


def refuse_beside_flanneld(prefix: str, *, proc: Path = PROC) -> None:
    """Two writers would undo each other's work.

    Raises:
        NotReady: flanneld runs here; once it is stopped the agent goes on by itself.
    """
    for sentence in beside(prefix, proc=proc):
        raise NotReady(sentence, hint=HINT)


HINT = (
    "stop it, its traffic flows on and this agent takes over within half a minute: systemctl disable --now flanneld "
    "(or take the node out of its DaemonSet); to go back instead: systemctl disable --now overlay-agent"
)


def beside(prefix: str, *, proc: Path = PROC) -> list[str]:
    """A sentence per flanneld of our network that lives in our network namespace."""
    return [
        f"flanneld runs on this node (pid {it.pid}) and serves the network at {prefix} as well"
        for it in processes.here(("flanneld",), proc=proc)
        if _prefix(proc / str(it.pid)) == prefix
    ]


def trouble(mine: Lease | None, besides: Sequence[str]) -> str:
    """For the status: a flanneld beside us, or our own record ``mine`` as only flannel writes it."""
    found = [*besides, f"next: {HINT}"] if besides else []
    if mine is not None and not mine.machine_id:
        found.append(
            f"the record of this node's lease {mine.key} was written by flannel, not by this agent; "
            "once no flanneld runs here: systemctl restart overlay-agent"
        )
    return "; ".join(found)


def _prefix(process: Path) -> str:
    """What it calls --etcd-prefix, in Go's spellings, or FLANNELD_ETCD_PREFIX; a trailing slash says nothing."""
    words = processes.read(process / "cmdline").split("\0")
    environ = dict(
        item.split("=", 1)
        for item in processes.read(process / "environ").split("\0")
        if "=" in item
    )
    found = flag(words, "etcd-prefix") or environ.get("FLANNELD_ETCD_PREFIX") or FLANNELS_PREFIX
    return "/" + found.strip("/")


def flag(words: Sequence[str], name: str) -> str:
    """Of Go's package flag: -name value, --name value, -name=value, --name=value; the last one counts."""
    found = ""
    for number, word in enumerate(words):
        stem = word.removeprefix("-").removeprefix("-") if word.startswith("-") else ""
        if stem == name and number + 1 < len(words):
            found = words[number + 1]
        elif stem.startswith(f"{name}="):
            found = stem.partition("=")[2]
    return found


def _bridge(hosts: Hosts, name: str) -> LinkInfo | None:
    return next((link for link in hosts.links if link.name == name and link.kind == "bridge"), None)
