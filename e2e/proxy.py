"""A TCP proxy that can be broken: cut, hung or slowed, each way; counts connections and bytes.

In a test: ``with Proxy(("127.0.0.1", 2379)) as proxy: ... proxy.hang()``. As a program in a namespace, told what to
do on stdin: ``python -m e2e.proxy LISTEN:PORT TARGET:PORT``, then lines ``cut``, ``hang [up|down]``,
``delay SECONDS [up|down]``, ``heal``, ``count`` (answered with JSON).
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys
import threading
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass
from typing import Any, Self, TypeVar

T = TypeVar("T")
UP, DOWN = "up", "down"
"""To the server, and back."""
CHUNK = 1 << 16
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of no seconds: close sends RST."""
MOST_CHUNKS = 256
"""Held back per connection and way; then the sender is no longer read from."""


@dataclass(slots=True)
class Count:
    """Since the start."""

    connections: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


class Proxy:
    """Listens at once; ``address`` is (host, port). All methods may be called from any thread."""

    def __init__(
        self, target: tuple[str, int], *, listen: tuple[str, int] = ("127.0.0.1", 0)
    ) -> None:
        self.target = target
        self.count = Count()
        self._delay_s = {UP: 0.0, DOWN: 0.0}
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._gates = {UP: asyncio.Event(), DOWN: asyncio.Event()}
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._place = _bound(listen)
        self.address: tuple[str, int] = self._place.getsockname()[:2]
        self._thread.start()
        self.heal()

    @property
    def url(self) -> str:
        """HOST:PORT."""
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def open(self) -> int:
        """Connections that stand now."""
        return self._do(self._standing())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def hang(self, *ways: str) -> None:
        """Connections are taken and stay open, but nothing passes (that way, or both)."""

        def shut() -> None:
            for way in ways or (UP, DOWN):
                self._gates[way].clear()

        self._on_loop(shut)

    def delay(self, seconds: float, *ways: str) -> None:
        """All that comes from now on passes that much later, in order and without loss of throughput."""
        self._on_loop(lambda: self._delay_s.update(dict.fromkeys(ways or (UP, DOWN), seconds)))

    def cut(self) -> None:
        """Reset all connections and refuse new ones."""
        self._do(self._unlisten())

    def reset(self) -> None:
        """Reset all connections; new ones are welcome."""
        self._on_loop(self._drop)

    def heal(self) -> None:
        """As new; what was held back passes."""

        async def mend() -> None:
            if self._server is None:
                await self._listen()
            self._delay_s.update({UP: 0.0, DOWN: 0.0})
            for gate in self._gates.values():
                gate.set()

        self._do(mend())

    def close(self) -> None:
        """End everything; again is harmless."""
        if self._loop.is_closed():
            return

        async def end() -> None:
            await self._unlisten()
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self._do(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._place.close()

    # --- in the loop's thread ------------------------------------------------------------------------

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, *self.address)

    async def _standing(self) -> int:
        return len(self._writers) // 2

    async def _unlisten(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._drop()

    def _drop(self) -> None:
        for writer in self._writers:
            plug = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):  # closed meanwhile
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count.connections += 1
        self._writers.add(writer)
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            # A hung server's kernel still takes connections, so its far end is opened at once.
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            self._writers.discard(writer)
            writer.transport.abort()
            return
        self._writers.add(far_writer)
        pumps = [
            asyncio.create_task(self._pump(reader, far_writer, UP)),
            asyncio.create_task(self._pump(far_reader, writer, DOWN)),
        ]
        try:
            await asyncio.gather(*pumps)
        finally:
            for end in (writer, far_writer):
                self._writers.discard(end)
                end.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str
    ) -> None:
        held: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_CHUNKS)
        feed = asyncio.create_task(self._feed(reader, held, way))
        try:
            while True:
                due, data = await held.get()
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._gates[way].wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            writer.transport.abort()
        finally:
            feed.cancel()

    async def _feed(
        self, reader: asyncio.StreamReader, held: asyncio.Queue[tuple[float, bytes]], way: str
    ) -> None:
        data = b"more"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            if way == UP:
                self.count.bytes_up += len(data)
            else:
                self.count.bytes_down += len(data)
            await held.put((self._loop.time() + self._delay_s[way], data))

    # --- from other threads ----------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _on_loop(self, work: Callable[[], object]) -> None:
        async def run() -> None:
            work()

        self._do(run())


def _bound(at: tuple[str, int]) -> socket.socket:
    """It never listens: while the proxy is cut nobody else is given its port."""
    made = socket.socket(socket.AF_INET6 if ":" in at[0] else socket.AF_INET)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(at)
    return made


def main() -> None:
    """The program; ends with stdin."""
    listen, target = (_address(word) for word in sys.argv[1:3])
    with Proxy(target, listen=listen) as proxy, contextlib.suppress(KeyboardInterrupt):
        print(json.dumps({"listening": proxy.url}), flush=True)
        for line in sys.stdin:
            match line.split():
                case ["cut" | "heal" | "reset" as word]:
                    getattr(proxy, word)()
                case ["hang", *ways]:
                    proxy.hang(*ways)
                case ["delay", seconds, *ways]:
                    proxy.delay(float(seconds), *ways)
                case _:
                    pass  # every line is answered, so that the caller knows when it is done
            print(json.dumps(asdict(proxy.count)), flush=True)


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()
