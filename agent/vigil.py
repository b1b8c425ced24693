"""What the watch's thread does for the records: keeps ours ours, and notes what ended by itself as free."""

import logging

from agent.events import Event
from agent.history import History
from agent.ownrecord import change_in
from agent.registry import Claimed, Registry
from overlay.errors import LeaseLost, OverlayError

log = logging.getLogger(__name__)


class Vigil:
    """Told of every event; for agent.life."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._history = History()

    def told(self, event: Event, claimed: Claimed | None) -> Claimed | None:
        """What we hold after the event; the very same object where it does not concern us.

        Raises:
            LeaseLost: another machine has our record; the text names both.
        """
        own = claimed.lease.key if claimed else ""
        for key, revision in self._history.told(event, own=own):
            self._registry.note_freed(key, revision)
        changed, lease = change_in(event, claimed)
        if claimed is None or not changed:
            return claimed
        try:
            return self._registry.own_record_changed(claimed, lease)
        except LeaseLost:
            raise
        except OverlayError as error:
            log.warning("lease %s was written by somebody else: %s", own, error)
            return claimed
