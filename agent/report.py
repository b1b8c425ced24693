"""What the agent says of itself: plain dictionaries for overlayctl, one sentence for systemd.

Everything here is computed in the reconcile loop's thread from what it owns.
"""

import time
from collections.abc import Mapping
from typing import Any

from agent.config import Config
from agent.life import Life
from agent.pages import attachments
from agent.reconcile import Reconciler
from overlay import __version__
from overlay.model import Lease
from overlay.wanted import NODE


def status(
    config: Config, life: Life, reconciler: Reconciler, underlay: str, pods: Mapping[str, Any]
) -> dict[str, Any]:
    """One screen: the verdict and the facts behind it. ``pods`` is the sweep's report."""
    me, trouble = reconciler.me, reconciler.trouble()
    ailing = {f"pod {place}": "; ".join(faults) for place, faults in pods["faults"].items()}
    if pods["rivals"]:
        ailing["conflist"] = "; ".join(pods["rivals"])
    if life.health.trouble:
        ailing["etcd"] = life.health.trouble
    waiting = life.cause if life.claimed is None else reconciler.waiting_for
    return {
        "node": config.node_name,
        "verdict": _verdict(life, reconciler, {**trouble, **ailing}),
        "version": __version__,
        "in_sync": reconciler.in_sync,
        "waiting_for": waiting,
        "subnets": [str(vtep.subnet) for vtep in me.vteps] if me else [],
        "lease": {"key": life.claimed.lease.key, "ttl_s": life.ttl_s} if life.claimed else {},
        "etcd": {
            "state": life.etcd_state,
            "endpoints": list(config.etcd_endpoints),
            "revision": reconciler.revision,
        },
        "underlay": underlay,
        "devices": [f"{vtep.link} mac {vtep.mac}" for vtep in me.vteps] if me else [],
        "mtu": me.pod_mtu if me else 0,
        "mtu_why": _mtu_why(reconciler),
        "peers": {
            "total": len(reconciler.peers()),
            "failing": len([who for who in trouble if who != NODE]),
            "unreadable": len(reconciler.unreadable),
        },
        "attachments": attachments(config),
        "pods": dict(pods),
        "changes": reconciler.changes,
        "mended": reconciler.drift.changes,
        "last_mended": reconciler.drift.last,
        "trouble": {
            **{who or "this node": why for who, why in trouble.items()},
            **{key: f"unreadable record: {why}" for key, why in reconciler.unreadable.items()},
            **ailing,
        },
    }


def store(life: Life) -> dict[str, Any]:
    """What overlayctl etcd asks: the lease, the connection, the watch. Waits for nobody; has etcd looked at anew."""
    life.health.soon()
    lease = life.claimed.lease if life.claimed else None
    when, revision = life.heard
    return {
        "state": life.etcd_state,
        "since": life.etcd_since,
        "lease": lease.key if lease else "",
        "etcd_lease": lease.etcd_lease if lease else 0,
        "ttl_s": life.ttl_s,
        "waiting_for": life.cause,
        "heard_s": None if when is None else time.monotonic() - when,
        "heard_revision": revision,
    }


def peers(reconciler: Reconciler) -> dict[str, Any]:
    """One row per other node."""
    trouble = reconciler.trouble()
    return {"peers": [_peer(lease, trouble) for lease in reconciler.peers()]}


def plan(reconciler: Reconciler) -> dict[str, Any]:
    """What would be changed now, in words."""
    return {
        "waiting_for": reconciler.waiting_for,
        "steps": [str(step) for step in reconciler.plan()],
    }


def sentence(life: Life, reconciler: Reconciler) -> str:
    """For ``systemctl status``."""
    if life.claimed is None:
        return f"waiting: {life.cause}"
    if reconciler.waiting_for:
        return f"waiting for {reconciler.waiting_for}"
    state = "in sync" if reconciler.in_sync else "applying"
    away = "" if life.etcd_state == "connected" else f"; etcd {life.etcd_state}"
    return f"{state}, subnet {life.claimed.lease.key}, {len(reconciler.peers())} peers{away}"


def _verdict(life: Life, reconciler: Reconciler, trouble: dict[str, str]) -> str:
    if not reconciler.synced_once:
        return "down"
    healthy = life.claimed and reconciler.in_sync and not trouble and life.etcd_state == "connected"
    return "healthy" if healthy and not reconciler.unreadable else "degraded"


def _mtu_why(reconciler: Reconciler) -> str:
    me, network = reconciler.me, reconciler.network
    if me is None or network is None:
        return ""
    tightest = min(me.vteps, key=lambda vtep: vtep.mtu)
    overhead = tightest.family.overhead
    return f"{tightest.underlay} {tightest.mtu + overhead} - {overhead} for VXLAN over {tightest.family.name}"


def _peer(lease: Lease, trouble: dict[str, str]) -> dict[str, Any]:
    ends = lease.endpoints
    reachable = any(end.mac and end.underlay for end in ends)
    return {
        "key": lease.key,
        "node": lease.node or "-",
        "subnet": ", ".join(str(end.subnet) for end in ends),
        "underlay": ", ".join(str(end.underlay) for end in ends if end.underlay) or "-",
        "vtep_mac": ", ".join(end.mac for end in ends if end.mac) or "-",
        "state": trouble.get(lease.key)
        or ("ok" if reachable else f"not served: backend {lease.backend}"),
    }
