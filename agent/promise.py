"""Pages are there exactly while pods may be attached; READY is said when that is decided for the first time."""

import errno
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
        self.trouble = ""
        """Why pods cannot be attached although this node could take them; read by any thread."""

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
            self._complain(worded(error))
            return
        self.trouble = ""
        self._now_ready()

    def _complain(self, why: str) -> None:
        if why != self.trouble:
            log.error("no pod can be attached, trying again: %s; look: overlayctl status", why)
        self.trouble = why

    def _now_ready(self) -> None:
        if not self._ready:
            self._ready = True
            self._tell_ready()


def worded(error: OSError | OverlayError) -> str:
    """Why pages cannot be written, the same words each time, and what to do about it as far as that follows."""
    if not isinstance(error, OSError):
        return str(error)
    name = str(error.filename or "")
    # It is a temporary file, whose name is another one each time.
    text = f"{name.rpartition('/')[0] or name}: {error.strerror}" if name else str(error.strerror)
    if error.errno != errno.EROFS:
        return text
    return (
        f"{text}; next: overlayctl install, which allows it to the unit; or by hand, systemctl edit overlay-agent: "
        "[Service] ReadWritePaths=DIRECTORY"
    )
