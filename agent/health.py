"""What /healthz and /readyz say. Pure.

Healthy: the reconcile loop goes round and no thread that all hangs on is gone; a node that waits for etcd, or for
its config, is healthy, for to start the agent anew would mend nothing. Ready: this node takes pods now, which is
what the CNI verb STATUS answers: a lease is held and not in doubt, the kernel in sync, an address left.
"""

from collections.abc import Collection
from dataclasses import dataclass

from agent.standing import SILENT_S
from cni.standing import READY, Standing


@dataclass(frozen=True, slots=True)
class Pulse:
    """``silent_s`` since the loop's last round; ``failed`` says how it ended; ``lost`` threads are gone."""

    silent_s: float
    failed: str = ""
    lost: Collection[str] = ()


def ailing(pulse: Pulse, *, limit_s: float = SILENT_S) -> str:
    """Why the agent is not alive, in one line; empty if it is."""
    if pulse.failed:
        return f"the reconcile loop ended: {pulse.failed}; look: journalctl -u overlay-agent"
    if pulse.lost:
        gone = ", ".join(sorted(pulse.lost))
        return f"the thread {gone} ended by itself; look: journalctl -u overlay-agent"
    if pulse.silent_s > limit_s:
        return (
            f"the reconcile loop has hung for {pulse.silent_s:.0f} s; look: journalctl -u overlay-agent; "
            "next: systemctl restart overlay-agent"
        )
    return ""


def unready(
    standing: Standing,
    *,
    paged: bool = True,
    full: Collection[str] = (),
    ailing: str = "",
    barred: str = "",
) -> str:
    """Why this node takes no pods, in one line; empty if it does.

    ``paged`` says whether the node's page is there, without which ADD is refused; ``full`` are subnets without a
    free address; ``barred`` is what the runtime lacks to start a pod (agent.outlook.WAYS_IN).
    """
    if ailing:
        return ailing
    if standing.code != READY:
        return f"{standing.reason}; look: {standing.hint or 'overlayctl status'}"
    if barred:
        return barred
    if not paged:
        return "the node's page is not written yet; look: overlayctl status"
    if full:
        return f"no free address in {', '.join(full)}; look: overlayctl ipam show"
    return ""
