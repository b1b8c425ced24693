"""Peers that nothing leads to, with host-gw: kept count of, and said in one line however many they are."""

import logging

log = logging.getLogger(__name__)


class OffLink:
    """``reasons`` by lease key. Pure but for the log; a note costs one look-up."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self._before: dict[str, bool] = {}

    def note(self, key: str, why: str) -> None:
        """Why a peer is not reached now; empty if it is, or is gone."""
        if why or key in self.reasons:
            self._before.setdefault(key, key in self.reasons)
        if why:
            self.reasons[key] = why
        else:
            self.reasons.pop(key, None)

    def say(self) -> None:
        """What is new since the last time."""
        before, self._before = self._before, {}
        begun = [key for key, was in before.items() if not was and key in self.reasons]
        ended = [key for key, was in before.items() if was and key not in self.reasons]
        if begun:
            first = min(begun)
            log.warning(
                "peers not reached count=%d first=%s: %s; look: overlayctl peers",
                len(begun),
                first,
                self.reasons[first],
            )
        if ended:
            log.info("peers reached again or gone count=%d first=%s", len(ended), min(ended))
