"""A watch that hangs is worse than one that ends: the node is deaf, and everything looks healthy.

The reconcile loop is proven alive by the watchdog, a thread that ends by `agent.vital`; neither sees a watch's thread
that stands still. But an etcd that answers is heard of every few seconds, change or no change.
"""

from collections.abc import Callable

from agent.config import Config

SILENT_S = 60.0
"""All is well up to about 20 s; what the watch itself asks etcd for comes on top (see `patience`)."""
SURE_S = 30.0
"""So long the loop has to see it: after a stop of the whole process everybody is late."""


def patience(config: Config) -> float:
    """Seconds: what is learned is dealt with in the watch's thread, by a few calls, each with its deadlines."""
    return SILENT_S + 4 * config.etcd_timeout * (len(config.etcd_endpoints) + 1)


class Hearing:
    """Asked after each round of the loop. ``clock`` is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float], *, patience_s: float) -> None:
        self._clock, self._patience_s = clock, patience_s
        self._since: float | None = None

    def deaf(self, heard_s_ago: float | None, *, etcd_answers: bool) -> bool:
        """True once the watch has been silent for too long, though etcd answers."""
        if heard_s_ago is None or heard_s_ago <= self._patience_s or not etcd_answers:
            self._since = None
            return False
        if self._since is None:
            self._since = self._clock()
        return self._clock() - self._since >= SURE_S
