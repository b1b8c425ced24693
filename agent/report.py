"""What the agent says of itself: plain dictionaries for overlayctl, one sentence for systemd.

Everything here is computed in the reconcile loop's thread from what it owns.
"""

import time
from collections.abc import Mapping
from typing import Any

import msgspec

from agent import adoption
from agent.config import Config
from agent.life import Life
from agent.moment import utc
from agent.pages import attachments
from agent.reconcile import Reconciler
from agent.upkeep import Upkeep
from overlay import __version__
from overlay.desired import Me, Vtep
from overlay.model import Lease
from overlay.served import half, unserved, ways
from overlay.wanted import NODE

MOST_NAMED = 5


def status(
    config: Config,
    life: Life,
    reconciler: Reconciler,
    underlay: str,
    pods: Mapping[str, Any],
    *,
    upkeep: Upkeep,
) -> dict[str, Any]:
    """One screen: the verdict and the facts behind it. ``pods`` is the sweep's report."""
    me, trouble, demand = reconciler.me, reconciler.trouble(), reconciler.demand
    ailing = _ailing(life, reconciler, pods, upkeep)
    waiting = life.cause if life.claimed is None else reconciler.waiting_for
    return {
        "node": config.node_name,
        "instance": config.instance,
        "verdict": _verdict(life, reconciler, {**trouble, **ailing}),
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
        "peers": {
            "total": demand.count,
            "failing": len([who for who in trouble if who != NODE]),
            "unreadable": len(demand.roll.unreadable),
            "kept": len(demand.orphans()),
        },
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
        "trouble": {
            **{who or "this node": why for who, why in trouble.items()},
            **{
                key: f"unreadable record: {why}; look: etcdctl get {config.etcd_prefix}/subnets/{key}"
                for key, why in demand.roll.unreadable.items()
            },
            **ailing,
        },
    }


def verdict(life: Life, reconciler: Reconciler, pods: Mapping[str, Any], upkeep: Upkeep) -> str:
    """The verdict of `status` alone."""
    return _verdict(
        life, reconciler, {**reconciler.trouble(), **_ailing(life, reconciler, pods, upkeep)}
    )


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


def sentence(life: Life, reconciler: Reconciler) -> str:
    """For ``systemctl status``."""
    claimed = life.claimed  # once: the life's thread may give it up between two looks
    if claimed is None:
        return f"waiting: {life.cause}"
    if reconciler.waiting_for:
        return f"waiting for {reconciler.waiting_for}"
    state = "in sync" if reconciler.in_sync else "applying"
    away = "" if life.health.fine else f"; degraded, etcd {life.health.sentence()}"
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


def _ailing(
    life: Life, reconciler: Reconciler, pods: Mapping[str, Any], upkeep: Upkeep
) -> dict[str, str]:
    """What is wrong beside single peers."""
    ailing = {f"pod {place}": "; ".join(faults) for place, faults in pods["faults"].items()}
    if pods["rivals"]:
        ailing["conflist"] = "; ".join(pods["rivals"])
    leases, me = reconciler.demand.roll.leases, reconciler.me
    mine = leases.get(me.lease_key) if me else None
    if beside := adoption.trouble(mine, pods["beside"]):
        ailing["flanneld"] = beside
    if life.keeper.store.trouble:
        ailing["etcd's store"] = life.keeper.store.trouble
    ailing |= reconciler.drift.fights(time.monotonic())
    return ailing | {**upkeep.trouble(), **_outage(life, reconciler), **_off_link(reconciler)}


def _outage(life: Life, reconciler: Reconciler) -> dict[str, str]:
    """What etcd's absence, or its loss of memory, means here; and the underlay's."""
    found = {}
    if not life.health.fine:
        found["etcd"] = f"traffic goes on, but etcd is {life.health.sentence()}"
    if life.claimed is not None and life.refusal:
        found["new pods are refused"] = life.refusal
    if life.keeper.underlay_trouble:
        found["underlay"] = f"{life.keeper.underlay_trouble}; everything stays as it is meanwhile"
    if kept := reconciler.demand.orphans():
        found["etcd's history was lost"] = (
            f"{len(kept)} peers are kept that etcd knows no more, since {utc(min(kept.values()))}; each goes when "
            "its lease would have ended; look: overlayctl peers; where such a node lives: systemctl restart "
            "overlay-agent there"
        )
    return found


def _off_link(reconciler: Reconciler) -> dict[str, str]:
    """With host-gw: peers that nothing leads to."""
    reasons = sorted(reconciler.demand.off_link.reasons.items())
    missing = [f"{key}: {why}" for key, why in reasons]
    more = f"; and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return {"host-gw does not reach": "; ".join(missing[:MOST_NAMED]) + more} if missing else {}


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
