"""One watch stream over several ranges: ours, so that its end, and its silence, are always heard of.

A stream that says nothing for a while is asked for its progress; one that does not answer that, although its
connection may well be alive, is ended. The answer is a sign of life and no more: before 3.4.25 and 3.5.8 etcd may
report a revision whose events are still to come (etcd issue 15220), so nobody may go on from it.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

from agent.etcd.caller import Attempt, Refused
from agent.etcd.idling import be_woken
from agent.etcd.wire import Change, change
from overlay.errors import Compacted, OverlayError, StoreUnavailable

PULSE_S = 20.0
"""After so much silence progress is asked for, and half as long the answer may take: a dead stream is known after
30 s. What the line itself shows, such as a host that is gone, HTTP/2's pings show within 25 s (agent.etcd.channels)."""


@dataclass(frozen=True, slots=True)
class Span:
    """A range to watch, the key ``start`` alone if ``end`` is empty, from ``revision`` on.

    ``progress``: etcd tells now and then how far it is, though nothing changes.
    """

    start: str
    end: str
    revision: int
    progress: bool = True


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer. ``changes`` are whole revisions of the range number ``span``; none: a sign of life.

    ``revision`` is the store's, not how far the changes go.
    """

    changes: tuple[Change, ...]
    span: int
    revision: int


class Watch:
    """Iterate for what is heard; ``close`` from any thread ends the iteration."""

    def __init__(
        self, attempt: Attempt, spans: Sequence[Span], *, pulse_s: float = PULSE_S
    ) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self.on_failure: Callable[[grpc.RpcError | Refused], OverlayError] = lambda error: (
            StoreUnavailable(str(error))
        )
        self.header: Any = None
        self._spans: dict[int, int] = {}
        self._pulse_s, self._answer_s = pulse_s, pulse_s / 2
        self._requests: queue.SimpleQueue[rpc_pb2.WatchRequest | None] = queue.SimpleQueue()
        self._closed, self._ended = threading.Event(), threading.Event()
        self._news = threading.Event()
        """The thread that watches over the silence is to look anew: what it waits for has changed."""
        self._ending = threading.Lock()
        self._awaiting: float | None = time.monotonic() + attempt.timeout_s
        """When an answer is overdue, while somebody waits for one; None: nobody does."""
        self._silent = ""
        self._serves = False
        self._early: list[Heard] = []
        self._line = attempt.line.hold()
        be_woken()
        self._call = rpc_pb2_grpc.WatchStub(attempt.line.channel).Watch(
            iter(self._requests.get, None), metadata=attempt.metadata
        )
        threading.Thread(target=self._pulse, name="watch-pulse", daemon=True).start()
        try:
            self._open(spans)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the stream; again is harmless."""
        self._closed.set()
        self._end()

    def __iter__(self) -> Iterator[Heard]:
        """What etcd says.

        Raises:
            Compacted: a start revision is gone.
            OverlayError: the stream ended; not after ``close``.
        """
        try:
            yield from self._early
            while True:
                yield self._heard(self._next(self._pulse_s))
        except (grpc.RpcError, Refused) as error:
            if not self._closed.is_set():
                raise self.on_failure(Refused(self._silent) if self._silent else error) from error
        finally:
            self._end()

    # --- inside ----------------------------------------------------------------------------------------

    def _open(self, spans: Sequence[Span]) -> None:
        """Returns once etcd has taken all ranges; what is heard meanwhile is kept."""
        for span in spans:
            create = rpc_pb2.WatchCreateRequest(
                key=span.start.encode(),
                range_end=span.end.encode(),
                start_revision=span.revision,
                progress_notify=span.progress,
            )
            self._requests.put(rpc_pb2.WatchRequest(create_request=create))
        while len(self._spans) < len(spans):
            answer = self._next(None)
            if answer.created and not answer.canceled:
                self.header = answer.header
                self._spans[answer.watch_id] = len(
                    self._spans
                )  # etcd answers in the order of asking
            else:
                self._early.append(self._heard(answer))
        self._awaiting, self._serves = None, True
        self._news.set()

    def _next(self, patience_s: float | None) -> Any:  # noqa: ANN401 - generated messages are untyped
        if patience_s is not None:
            self._awaiting = time.monotonic() + patience_s + self._answer_s
        try:
            return next(self._call)
        except StopIteration as error:
            raise Refused("the stream was ended by etcd") from error
        except grpc.RpcError as error:
            raise (Refused(self._silent) if self._silent else error) from error
        finally:
            if patience_s is not None:
                self._awaiting = None

    def _heard(self, answer: Any) -> Heard:  # noqa: ANN401
        if answer.compact_revision:
            raise Compacted("the watched revision was compacted", revision=answer.compact_revision)
        if answer.canceled:  # one range less is a watch with a hole: all of it ends
            raise Refused(answer.cancel_reason or "etcd cancelled the watch")
        changes = tuple(change(event) for event in answer.events)
        return Heard(changes, self._spans.get(answer.watch_id, -1), int(answer.header.revision))

    def _pulse(self) -> None:
        """In a thread of its own: asks for progress, and ends a stream that is overdue; asleep until then."""
        asked: float | None = None  # for the wait that ends then
        while not self._ended.is_set():
            now, due = time.monotonic(), self._awaiting
            if due is not None and now > due:
                opened = self.header is not None
                self._silent = (
                    "the watch is silent, although it was asked for a sign of life"
                    if opened
                    else "no answer within the deadline"
                )
                self._call.cancel()
                return
            if self._serves and due is not None and due != asked and now >= due - self._answer_s:
                asked = due
                self._requests.put(
                    rpc_pb2.WatchRequest(progress_request=rpc_pb2.WatchProgressRequest())
                )
            self._news.wait(self._quiet_s(due, asked) - now)
            self._news.clear()

    def _quiet_s(self, due: float | None, asked: float | None) -> float:
        """Until when (by time.monotonic()) there is nothing to do. What is heard meanwhile only puts it off."""
        if due is None:  # nobody waits for an answer
            return time.monotonic() + self._answer_s
        return due if due == asked or not self._serves else due - self._answer_s

    def _end(self) -> None:
        with self._ending:
            if self._ended.is_set():
                return
            self._ended.set()
        self._news.set()
        self._requests.put(None)
        self._call.cancel()
        self._line.release()
        self.on_close()
