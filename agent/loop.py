"""The thread that owns the reconciler: an inbox of small jobs, and the clock.

Others post jobs (`post`) or ask questions (`ask`); nobody else touches the reconciler. Each full round
is proof of progress: `rounds` feeds the watchdog, so a hung kernel call is noticed by systemd.
"""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from agent.reconcile import Reconciler
from overlay.errors import NotReady

log = logging.getLogger(__name__)
T = TypeVar("T")
Job = Callable[[Reconciler], None]

MOST_JOBS_A_ROUND = 4096
"""A burst of events is taken in together, so that many changes of one peer cost one."""


class Loop(threading.Thread):
    """``after_round`` is called in this thread after every round; it must be quick. ``failed`` is told of the end by a
    bug, which ``failure`` keeps."""

    def __init__(
        self, reconciler: Reconciler, *, round_s: float, after_round: Callable[[Reconciler], None]
    ) -> None:
        super().__init__(name="reconcile", daemon=True)
        self.failure: BaseException | None = None
        self.failed: Callable[[], None] = lambda: None
        self.rounds = 0
        self.turned_at = time.monotonic()
        """When the last round ended, by time.monotonic(); before the first one, when the loop was made."""
        self.told: Callable[[float], None] = lambda _: None
        """Told of each round how long it took, without the waiting; must be quick."""
        self._reconciler = reconciler
        self._round_s = round_s
        self._after_round = after_round
        self._inbox: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._stopping = threading.Event()

    def post(self, job: Job) -> None:
        """Have a job done in the loop's thread, soon."""
        self._inbox.put(job)

    def ask(self, question: Callable[[Reconciler], T], *, timeout_s: float) -> T:
        """The answer of the loop's thread.

        Raises:
            NotReady: it did not come in time.
        """
        answer: Future[T] = Future()

        def job(reconciler: Reconciler) -> None:
            try:
                answer.set_result(question(reconciler))
            except Exception as error:
                answer.set_exception(error)

        self.post(job)
        try:
            return answer.result(timeout_s)
        except TimeoutError as error:
            raise NotReady(
                f"the reconcile loop did not answer within {timeout_s:g} s",
                hint="journalctl -u overlay-agent; if it stays so: systemctl restart overlay-agent",
            ) from error

    def stop(self) -> None:
        """Ask the loop to end after its present job; the kernel stays as it is."""
        self._stopping.set()
        self._inbox.put(None)

    def run(self) -> None:
        """Go round until stopped; a bug ends the thread and is left in ``failure``."""
        try:
            while not self._stopping.is_set():
                begun = time.monotonic()
                wait = min(self._reconciler.tick(), self._round_s)
                self.rounds += 1
                self._after_round(self._reconciler)
                self.turned_at = time.monotonic()
                self.told(self.turned_at - begun)
                self._take_in(wait)
        except BaseException as error:
            log.exception("the reconcile loop failed")
            self.failure = error
            self.failed()

    def _take_in(self, wait_s: float) -> None:
        with contextlib.suppress(queue.Empty):
            job = self._inbox.get(timeout=max(wait_s, 0.001))
            for _ in range(MOST_JOBS_A_ROUND):
                if job is None or self._stopping.is_set():
                    return
                job(self._reconciler)
                job = self._inbox.get_nowait()
