"""What the agent says of itself: plain dictionaries for overlayctl, one sentence for systemd.

Everything here is computed in the reconcile loop's thread from what it owns.
"""

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import msgspec

from agent.ailments import Ailments
from agent.config import Config
from agent.life import Life
from agent.moment import utc
from agent.pages import attachments
from agent.printable import printable
from agent.reconcile import Reconciler
from agent.upkeep import Upkeep
from cni.ipam import Ipam
from overlay import __version__
from overlay.desired import Me, Vtep
from overlay.errors import OverlayError
from overlay.model import Lease
from overlay.nodefile import read_page
from overlay.served import half, unserved, ways
from overlay.wanted import NODE

MOST_TROUBLES = 300
"""In one answer: it must get through etcd as well (agent.letters)."""
FLANNEL = "flannel"
"""What runs where a record names no version of ours."""
MOST_VERSIONS = 8


def status(
    config: Config,
    life: Life,
    reconciler: Reconciler,
    underlay: str,
    pods: Mapping[str, Any],
    *,
    upkeep: Upkeep,
    ailments: Ailments,
) -> dict[str, Any]:
    """One screen: the verdict and the facts behind it. ``pods`` is the sweep's report."""
    me, demand = reconciler.me, reconciler.demand
    trouble = ailments.now(reconciler)
    since = ailments.ledger.oldest_first(trouble)
    told = list(since)[:MOST_TROUBLES]
    waiting = life.cause if life.claimed is None else reconciler.waiting_for
    return {
        "node": config.node_name,
        "instance": config.instance,
        "verdict": _verdict(life, reconciler, trouble),
        "version": __version__,
        "in_sync": reconciler.in_sync,
        "waiting_for": waiting,
        "subnets": [str(vtep.subnet) for vtep in me.vteps] if me else [],
        "draining": list(me.draining) if me else [],
        "lease": _lease(life),
        "etcd": {
            **life.health.facts(),
            "heard_s_ago": life.heard_s_ago,
            "endpoints": list(config.etcd_endpoints),
            "revision": demand.roll.revision,
        },
        "underlay": underlay,
        "devices": [_device(vtep) for vtep in me.vteps] if me else [],
        "mtu": me.pod_mtu if me else 0,
        "mtu_why": _mtu_why(reconciler),
        "peers": _peers(reconciler),
        "attachments": attachments(config),
        "pods": dict(pods),
        "changes": reconciler.changes,
        "mended": reconciler.drift.changes,
        "last_mended": reconciler.drift.last,
        "mended_last_day": reconciler.drift.history.day(),
        "offload": dict(upkeep.offload()),
        "probes": upkeep.probes.summary(),
        "notices": [
            text for text in (reconciler.notice.text, _strict(me), *upkeep.notices()) if text
        ],
        "trouble": {name: trouble[name] for name in told},
        "trouble_since": {name: since[name] for name in told},
        "trouble_more": len(since) - len(told),
    }


def _peers(reconciler: Reconciler) -> dict[str, Any]:
    """How many are in which state, each counted once, and what they run."""
    demand, trouble = reconciler.demand, reconciler.trouble()
    me, network, kept = reconciler.me, reconciler.network, demand.orphans()
    states, versions = Counter[str](), Counter[str]()
    for lease in demand.peers():
        if lease.key in trouble:
            states["failing"] += 1
        elif lease.key in kept:
            states["kept"] += 1
        elif me and network and unserved(network, me, lease):
            states["not_served"] += 1
        else:
            states["ok"] += 1
        if lease.etcd_lease or lease.machine_id:  # a reservation runs nothing
            versions[lease.version or FLANNEL] += 1
    return {
        "total": demand.count,
        "ok": states["ok"],
        "failing": len([who for who in trouble if who != NODE]),
        "unreadable": len(demand.roll.unreadable),
        "kept": len(kept),
        "not_served": states["not_served"],
        "versions": dict(versions.most_common(MOST_VERSIONS)),
    }


def verdict(life: Life, reconciler: Reconciler, ailments: Ailments) -> str:
    """The verdict of `status` alone."""
    return _verdict(life, reconciler, ailments.now(reconciler))


def store(life: Life) -> dict[str, Any]:
    """What overlayctl etcd asks: the lease, the connection, the watch. Waits for nobody; has etcd looked at anew."""
    life.keeper.store.soon()
    claimed = life.claimed
    lease = claimed.lease if claimed else None
    return {
        **life.health.facts(),
        "lease": lease.key if lease else "",
        "etcd_lease": lease.etcd_lease if lease else 0,
        "ttl_s": life.keeper.ttl_s,
        "waiting_for": life.cause,
        "heard_s": life.heard_s_ago,
        "heard_revision": life.store_revision,
    }


def drift(reconciler: Reconciler) -> dict[str, Any]:
    """What others undid: the history, the youngest first, and the fights that go on."""
    page = reconciler.drift.history.page()
    return {
        "since": page.since,
        "last_day": reconciler.drift.history.day(),
        "fights": reconciler.drift.fights(time.monotonic()),
        "entries": [msgspec.structs.asdict(entry) for entry in page.entries],
    }


def peers(reconciler: Reconciler) -> dict[str, Any]:
    """One row per other node."""
    trouble = {
        key: f"kept: not in etcd since its history was lost at {utc(lost_at)}"
        for key, lost_at in reconciler.demand.orphans().items()
    } | reconciler.trouble()
    return {"peers": [_peer(lease, trouble, reconciler) for lease in reconciler.demand.peers()]}


def plan(reconciler: Reconciler) -> dict[str, Any]:
    """What would be changed now, in words."""
    return {
        "waiting_for": reconciler.waiting_for,
        "steps": [str(step) for step in reconciler.plan()],
    }


def sentence(life: Life, reconciler: Reconciler, troubles: str) -> str:
    """For ``systemctl status``; ``troubles`` names what is wrong, in short."""
    claimed = life.claimed  # once: the life's thread may give it up between two looks
    if claimed is None:
        return f"waiting: {life.cause}"
    if reconciler.waiting_for:
        return f"waiting for {reconciler.waiting_for}"
    state = "in sync" if reconciler.in_sync else "applying"
    away = "" if life.health.fine else f"; degraded, etcd {life.health.sentence()}"
    if troubles and not away:
        away = f"; degraded, {printable(troubles, 120)}: overlayctl status"
    refused = "; no new pods" if life.refusal else ""
    count = reconciler.demand.count
    return f"{state}, subnet {claimed.lease.key}, {count} peers{refused}{away}"


def _lease(life: Life) -> dict[str, Any]:
    claimed = life.claimed
    if claimed is None:
        return {}
    return {
        "key": claimed.lease.key,
        "ttl_s": life.keeper.ttl_s,
        "renewed_s_ago": round(life.tenure.age_s, 1),
        "how": claimed.how,
    }


def _strict(me: Me | None) -> str:
    if me is None or not me.strict:
        return ""
    names = ", ".join(me.strict)
    return (
        f"rp_filter of {names} is 1 (strict): packets of a peer that sends to us directly while we answer by tunnel "
        f"are dropped; next: sysctl -w net.ipv4.conf.{me.strict[0]}.rp_filter=2"
    )


def _device(vtep: Vtep) -> str:
    return f"{vtep.link} mac {vtep.mac}" if vtep.link else f"none, plain routes by {vtep.underlay}"


def _verdict(life: Life, reconciler: Reconciler, trouble: dict[str, str]) -> str:
    if not reconciler.synced_once:
        return "down"
    healthy = life.claimed and reconciler.in_sync and not trouble
    return "healthy" if healthy and not reconciler.demand.roll.unreadable else "degraded"


def _mtu_why(reconciler: Reconciler) -> str:
    me, network = reconciler.me, reconciler.network
    if me is None or network is None:
        return ""
    tightest = min(me.vteps, key=lambda vtep: vtep.mtu)
    overhead = network.backend.overhead(tightest.family)
    if not overhead:
        return f"{tightest.underlay} {tightest.mtu}, without encapsulation"
    why = f"{tightest.underlay} {tightest.mtu + overhead} - {overhead} for VXLAN over IPv{tightest.family.value}"
    return why + (", but IPv6 needs 1280" if me.pod_mtu > tightest.mtu else "")


def _peer(lease: Lease, trouble: dict[str, str], reconciler: Reconciler) -> dict[str, Any]:
    ends, me, network = lease.endpoints, reconciler.me, reconciler.network
    why = unserved(network, me, lease) if me and network else ""
    found = dict.fromkeys(ways(network, me, lease)) if me and network else {}
    partly = half(network, me, lease) if me and network else ""
    return {
        "key": lease.key,
        "node": lease.node or "-",
        "subnet": ", ".join(str(end.subnet) for end in ends),
        "underlay": ", ".join(str(end.underlay) for end in ends if end.underlay) or "-",
        "vtep_mac": ", ".join(end.mac for end in ends if end.mac) or "-",
        "way": ", ".join(found) or "-",
        "state": trouble.get(lease.key)
        or (f"not served: {why}" if why else f"ok, but {partly}" if partly else "ok"),
    }


def addresses(config: Config) -> list[dict[str, Any]]:
    """Per family how many of the subnet's addresses pods hold. From the run directory; not in the loop's thread."""
    try:
        families = read_page(config.run_dir).families
        ipam = Ipam(config.run_dir)
        return [
            {"subnet": str(one.subnet), "used": ipam.count(one), "free": ipam.free(one)}
            for one in families
        ]
    except (OverlayError, OSError):
        return []
