"""One watch stream: ours, so that its end is always heard of."""

import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from etcd3.etcdrpc import rpc_pb2

from agent.etcd.wire import Change, change, words
from overlay.errors import Compacted, StoreUnavailable


class Watch:
    """One stream. Iterate for batches of changes; ``close`` from any thread ends the iteration."""

    def __init__(
        self,
        stub: Any,  # noqa: ANN401 - generated stubs are untyped
        start: str,
        end: str,
        revision: int,
        metadata: tuple[tuple[str, str], ...],
    ) -> None:
        self.on_close: Callable[[], None] = lambda: None
        self.on_failure: Callable[[grpc.RpcError], StoreUnavailable] = lambda error: (
            StoreUnavailable(words(error))
        )
        self._requests: queue.SimpleQueue[rpc_pb2.WatchRequest | None] = queue.SimpleQueue()
        self._requests.put(
            rpc_pb2.WatchRequest(
                create_request=rpc_pb2.WatchCreateRequest(
                    key=start.encode(),
                    range_end=end.encode(),
                    start_revision=revision,
                    progress_notify=True,
                )
            )
        )
        self._closed = threading.Event()
        self._call = stub.Watch(iter(self._requests.get, None), metadata=metadata)

    def close(self) -> None:
        """End the stream; again is harmless."""
        self._closed.set()
        self._requests.put(None)
        self._call.cancel()
        self.on_close()

    def __iter__(self) -> Iterator[tuple[list[Change], int]]:
        """(changes, revision reached), an empty list for a progress report.

        Raises:
            Compacted: the start revision is gone.
            StoreUnavailable: the stream ended; not after ``close``.
        """
        try:
            for answer in self._call:
                if answer.compact_revision:
                    raise Compacted(
                        "the watched revision was compacted", revision=answer.compact_revision
                    )
                if answer.canceled:
                    raise StoreUnavailable("etcd cancelled the watch")
                yield [change(event) for event in answer.events], int(answer.header.revision)
        except grpc.RpcError as error:
            if not self._closed.is_set():
                raise self.on_failure(error) from error
        finally:
            self.close()
