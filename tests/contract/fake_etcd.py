"""An etcd that does what a script says: for what a real one does only when it is broken."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

import grpc
from etcd3.etcdrpc import rpc_pb2, rpc_pb2_grpc

CLUSTER = 7
_KV: Any = rpc_pb2_grpc.KVServicer
_Watch: Any = rpc_pb2_grpc.WatchServicer
_Maintenance: Any = rpc_pb2_grpc.MaintenanceServicer
Script = Callable[[Iterator[Any]], Iterator[Any]]
"""The requests of one watch stream -> its answers."""


class FakeEtcd(_KV, _Watch, _Maintenance):  # type: ignore[misc]
    """Lists as empty, at ``revision``. Each new watch stream follows the next script, the last one for ever."""

    def __init__(self, *scripts: Script, revision: int = 10) -> None:
        self.revision, self.cluster = revision, CLUSTER
        self.lists = 0
        self.asked: list[tuple[int, ...]] = []
        """Per stream the first revisions of its ranges."""
        self._scripts = list(scripts)
        self._written: dict[bytes, Any] = {}
        self._server = grpc.server(ThreadPoolExecutor(8))
        rpc_pb2_grpc.add_KVServicer_to_server(self, self._server)
        rpc_pb2_grpc.add_WatchServicer_to_server(self, self._server)
        rpc_pb2_grpc.add_MaintenanceServicer_to_server(self, self._server)
        self.url = f"http://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    def header(self, revision: int = 0) -> Any:  # noqa: ANN401 - generated messages are untyped
        """Of every answer."""
        return rpc_pb2.ResponseHeader(cluster_id=self.cluster, revision=revision or self.revision)

    def Status(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """Has a leader."""
        return rpc_pb2.StatusResponse(header=self.header(), leader=1)

    def Range(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """One key, if an event told of it."""
        found = [kv for key, kv in self._written.items() if key == request.key]
        return rpc_pb2.RangeResponse(header=self.header(), kvs=found)

    def Txn(self, request: Any, context: Any) -> Any:  # noqa: ANN401
        """A list of nothing, or single keys that events told of."""
        asked = [one.request_range for one in request.success]
        answer = rpc_pb2.TxnResponse(header=self.header(), succeeded=True)
        for one in asked:
            found = [] if one.range_end else self.Range(one, context).kvs
            answer.responses.add().response_range.kvs.extend(found)
        self.lists += any(one.range_end for one in asked)
        return answer

    def Watch(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: ANN401
        """Takes two ranges, then the script."""
        first = [next(requests).create_request.start_revision for _ in range(2)]
        self.asked.append(tuple(first))
        for number in range(2):
            yield rpc_pb2.WatchResponse(header=self.header(), watch_id=number, created=True)
        script = self._scripts.pop(0) if len(self._scripts) > 1 else self._scripts[0]
        yield from script(requests)

    def event(self, key: str, revision: int, *, watch_id: int = 0) -> Any:  # noqa: ANN401
        """Somebody wrote a key."""
        self.revision = max(self.revision, revision)
        answer = rpc_pb2.WatchResponse(header=self.header(revision), watch_id=watch_id)
        event = answer.events.add()
        event.kv.key, event.kv.value, event.kv.mod_revision = key.encode(), b"-", revision
        self._written[event.kv.key] = event.kv
        return answer
