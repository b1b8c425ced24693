"""Pages are there exactly while pods may be attached; READY is said when that is decided for the first time."""

import logging
from collections.abc import Callable

from agent.config import Config
from agent.life import Life
from agent.pages import Pages, rivals
from agent.reconcile import Reconciler
from overlay.errors import OverlayError

log = logging.getLogger(__name__)


class Promise:
    """Used in the reconcile loop's thread only. ``ready`` is called once, when this node serves."""

    def __init__(self, config: Config, pages: Pages, *, ready: Callable[[], None]) -> None:
        self._config, self._pages, self._tell_ready = config, pages, ready
        self._ready = self._withdrawn = False

    def keep(self, reconciler: Reconciler, life: Life) -> None:
        """After a round: publish, or withdraw; the data plane serves either way."""
        if not reconciler.serving or life.claimed is None:
            return
        if not life.refusal:
            self._withdrawn = False
            self._publish(reconciler)
        elif not self._withdrawn:
            self._withdrawn = True
            log.warning("no new pods: %s; look: overlayctl status", life.refusal)
            self._pages.withdraw(conflist=self._config.conflist_when_unready == "remove")
            self._now_ready()

    def _publish(self, reconciler: Reconciler) -> None:
        if reconciler.network is None or reconciler.me is None:
            return
        try:
            if self._pages.publish(reconciler.network, reconciler.me):
                for sentence in rivals(self._config.cni_conf_dir, self._config.marks.conflist):
                    log.warning("%s", sentence)
        except (OSError, OverlayError) as error:
            log.error("not ready yet, trying again: %s; look: overlayctl status", error)
            return
        self._now_ready()

    def _now_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self._tell_ready()
