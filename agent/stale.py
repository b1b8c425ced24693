"""Which records nobody seems to look after: for an operator who needs subnets back. Pure."""

from agent.holders import Facts, is_free_reservation, span
from overlay.model import Lease

RENEWED_AT_LEAST_EVERY_S = 600.0
"""Our agents renew after a third of the TTL, at the latest after this (agent/life)."""
FLANNEL_RENEWS_BEFORE_END_S = 3600.0
"""flanneld's -subnet-lease-renew-margin: an hour before the end of its day."""


def silent_s(lease: Lease, facts: Facts) -> float | None:
    """Seconds since the last renewal; None where there is nothing to renew."""
    left, granted = facts.left_s.get(lease.key), facts.granted_s.get(lease.key)
    if left is None or not granted:
        return None
    return max(0.0, granted - left)


def why_stale(lease: Lease, facts: Facts) -> str:
    """Why a readable record may be left over, or nothing."""
    if is_free_reservation(lease):
        return "a reservation that nobody uses"
    if not lease.etcd_lease:
        return "" if lease.machine_id else "written by another agent, without expiry"
    silent = silent_s(lease, facts)
    if silent is None:
        return "expires now"
    granted = facts.granted_s[lease.key]
    if lease.machine_id:
        most = 2 * min(granted / 3, RENEWED_AT_LEAST_EVERY_S)
    else:
        most = max(granted - FLANNEL_RENEWS_BEFORE_END_S / 2, granted / 2)
    if silent <= most:
        return ""
    return f"not renewed for {span(silent)}"
