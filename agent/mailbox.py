"""The agent's mailbox: questions that overlayctl on another node puts into etcd, answered from here.

They come on the stream that carries the records (one range more, agent.following), and only to the node they are
for. An answer is computed in a thread of its own, so that no burst of questions holds up peers' events, and so
many are given at a time and in a minute; the others are left to expire with their etcd lease.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from agent import letters
from agent.config import Config
from agent.etcd import Record
from agent.following import Beside
from agent.registry import Registry
from agent.retry import Allowance
from overlay.errors import BadRecord, OverlayError

log = logging.getLogger(__name__)

AT_ONCE = 4
A_MINUTE = 120
"""Answers. `why`, `mesh` and `history` of several operators at once ask some ten times a minute."""


Answering = Callable[[str, Mapping[str, Any]], Mapping[str, Any]]


class Mailbox:
    """``answer`` is told who asks and what; ``put`` writes (key, value, etcd lease); ``holds``: is a lease ours?"""

    def __init__(
        self,
        prefix: str,
        machine_id: str,
        *,
        answer: Answering,
        put: Callable[[str, bytes, int], object],
        holds: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.place = letters.asked(prefix, machine_id)
        self._prefix = prefix
        self._answer, self._put, self._holds = answer, put, holds
        self._allowed = Allowance(A_MINUTE, within_s=60.0, clock=clock)
        self._complaints = Allowance(1, within_s=60.0, clock=clock)
        self._lock = threading.Lock()
        self._under_way: set[str] = set()

    def told(self, record: Record) -> None:
        """A question has come. In the watch's thread: only looks, and hands it on."""
        if not self._holds():
            return  # another machine with our machine id may hold the record that is meant
        try:
            letter = letters.read(record, self.place)
        except BadRecord as error:
            self._complain(f"a question is not answered: {error}")
            return
        with self._lock:
            if letter.id in self._under_way:
                return  # put again by one who is in a hurry
            full = len(self._under_way) >= AT_ONCE
            if not full and self._allowed.take():
                self._under_way.add(letter.id)
            else:
                full = True
        if full:
            self._complain(
                f"more questions than {A_MINUTE} in a minute or {AT_ONCE} at once, the others are not answered; "
                f"the last one is from {letter.asker or '?'}: {letter.verb}"
            )
            return
        threading.Thread(target=self._serve, args=(letter,), name="mailbox", daemon=True).start()

    def _serve(self, letter: letters.Letter) -> None:
        try:
            body = self._computed(letter)
            self._put(letters.answer_key(self._prefix, letter.id), body, letter.lease)
        except OverlayError as error:  # the asker has gone, or etcd: who still wants it asks again
            log.debug("the answer to %s did not get away: %s", letter.asker, error)
        finally:
            with self._lock:
                self._under_way.discard(letter.id)

    def _computed(self, letter: letters.Letter) -> bytes:
        log.debug("asked by %s: %s", letter.asker, letter.verb)
        try:
            return letters.reply(self._answer(letter.asker, letter.question))
        except OverlayError as error:
            return letters.refuse(str(error), hint=error.hint)
        except Exception as error:
            log.exception("a question of %s failed: %s", letter.asker, letter.verb)
            return letters.refuse(
                f"{type(error).__name__}: {error}", hint="journalctl -u overlay-agent on that node"
            )

    def _complain(self, text: str) -> None:
        if self._complaints.take():
            log.warning("%s", text)


def attend(
    registry: Registry, config: Config, *, answer: Answering, holds: Callable[[], bool]
) -> None:
    """Hang a mailbox on the registry's watch, before it begins."""
    box = Mailbox(
        config.etcd_prefix, config.machine_id, answer=answer, put=registry.answer, holds=holds
    )
    registry.listen(Beside(box.place.start, box.place.end, box.told))
