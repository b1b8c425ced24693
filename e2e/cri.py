"""The CRI of a containerd, spoken as kubelet speaks it: any method by name, fields as keywords.

No .proto file and no generated code: the description of the API (package runtime.v1) is lifted out of
the containerd executable, where Go's registry keeps it gzipped, so that it always fits the server.
"""

import re
import shutil
import threading
import zlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.descriptor import ServiceDescriptor

from e2e.process import CommandFailed

PACKAGE = "runtime.v1"
_GZIP = b"\x1f\x8b\x08"
_MOST_PACKED_BYTES = 1 << 19
_CALLERS = 4
_SERVICES = ("RuntimeService", "ImageService")


class CriFailed(CommandFailed):
    """A call was refused; ``details`` is the text that kubelet would log."""

    def __init__(self, method: str, code: str, details: str) -> None:
        super().__init__(f"{method}: {code}: {details}")
        self.code, self.details = code, details


class Cri:
    """One connection to a runtime's socket; safe to call from many threads.

    Ctrl-C reaches only the main thread, and inside a call of grpc it would leave the channel's lock held:
    every later call, those that clean up among them, would wait for ever. So the main thread lets others call.
    """

    def __init__(self, socket: Path) -> None:
        self._callers = ThreadPoolExecutor(_CALLERS, thread_name_prefix="cri")
        self._channel = grpc.insecure_channel(
            f"unix://{socket}",
            # A containerd that was killed and started again is found at once, not after a backoff.
            options=[("grpc.max_reconnect_backoff_ms", 200), ("grpc.use_local_subchannel_pool", 1)],
        )

    def call(self, method: str, *, timeout_s: float = 60, **fields: Any) -> Any:  # noqa: ANN401
        """Returns the answer's message. Fields are plain dicts, lists and values.

        Raises:
            CriFailed: the runtime refused, or did not answer in time.
        """
        call = partial(self._call, method, timeout_s, fields)
        if threading.current_thread() is not threading.main_thread():
            return call()
        return self._callers.submit(call).result()

    def _call(self, method: str, timeout_s: float, fields: Mapping[str, Any]) -> Any:  # noqa: ANN401
        service = next(item for item in _services() if method in item.methods_by_name)
        described = service.methods_by_name[method]
        request = message_factory.GetMessageClass(described.input_type)(**fields)
        answer = message_factory.GetMessageClass(described.output_type)
        remote = self._channel.unary_unary(
            f"/{service.full_name}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        try:
            return remote(request, timeout=timeout_s, wait_for_ready=True)
        except grpc.RpcError as error:
            raise CriFailed(method, error.code().name, error.details() or "") from None

    def close(self) -> None:
        """Hang up; a call that still runs ends as CANCELLED."""
        self._callers.submit(self._channel.close).result()
        self._callers.shutdown()


@cache
def _services() -> tuple[ServiceDescriptor, ...]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_description())
    return tuple(pool.FindServiceByName(f"{PACKAGE}.{name}") for name in _SERVICES)


def _description() -> descriptor_pb2.FileDescriptorProto:
    program = Path(shutil.which("containerd") or "/usr/bin/containerd").read_bytes()
    for place in re.finditer(re.escape(_GZIP), program):
        packed = program[place.start() : place.start() + _MOST_PACKED_BYTES]
        try:
            raw = zlib.decompressobj(wbits=31).decompress(packed)
            found = descriptor_pb2.FileDescriptorProto.FromString(raw)
        except Exception:
            continue
        if found.package == PACKAGE and found.service:
            return _without_gogo(found)
    raise LookupError(f"containerd holds no description of {PACKAGE}")


def _without_gogo(
    found: descriptor_pb2.FileDescriptorProto,
) -> descriptor_pb2.FileDescriptorProto:
    """Without the Go-only options, whose definitions are in another file."""
    del found.dependency[:]
    found.ClearField("options")
    messages = list(found.message_type)
    while messages:
        message = messages.pop()
        messages += message.nested_type
        if not message.options.map_entry:
            message.ClearField("options")
        for field in message.field:
            field.ClearField("options")
    for enum in found.enum_type:
        enum.ClearField("options")
    return found
