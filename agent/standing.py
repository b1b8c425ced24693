"""Whether this node can take pods, kept up to date by the reconcile loop and read by STATUS in no time.

STATUS must never wait: runtimes ask every few seconds and hold a lock meanwhile. So nothing is asked of
the loop here; it leaves its word after every round, and how long ago that was is part of the answer.
"""

from collections.abc import Callable

from cni.standing import NO_NEW_PODS, PODS_IMPAIRED, READY, Standing

PATIENCE_S = 10.0
"""Peers come and go all the time; what has not been applied for this long is not on its way."""
SILENT_S = 30.0
"""The loop turns every few seconds, whatever happens."""
_HINT = "overlayctl status"


class NodeStanding:
    """Written by the loop's thread, read by the socket's. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._turned = self._in_sync = clock()
        self._synced_once = False
        self._trouble = ""

    def turned(self, *, in_sync: bool, trouble: tuple[str, str]) -> None:
        """The loop has made a round; ``trouble`` is the first there is, by name and in words, or empty."""
        self._turned = self._clock()
        if in_sync:
            self._in_sync, self._synced_once = self._turned, True
        name, why = trouble
        self._trouble = f"{name or 'this node'}: {why}" if why else ""

    def now(self, *, lease_missing: str) -> Standing:
        """``lease_missing`` says why this node holds no lease; empty if it does."""
        now = self._clock()
        if now - self._turned > SILENT_S:
            silent = now - self._turned
            return Standing(
                PODS_IMPAIRED,
                f"the reconcile loop has hung for {silent:.0f} s",
                "journalctl -u overlay-agent",
            )
        if lease_missing:
            return Standing(NO_NEW_PODS, lease_missing, _HINT)
        if not self._synced_once:
            reason = self._trouble or "the first clean apply is still to come"
            return Standing(NO_NEW_PODS, reason, _HINT)
        if now - self._in_sync > PATIENCE_S:
            reason = f"the data plane has not been in sync for {now - self._in_sync:.0f} s"
            return Standing(PODS_IMPAIRED, f"{reason}: {self._trouble or 'still applying'}", _HINT)
        return Standing(READY)
