"""An agent that is not one: it takes one request at a socket and behaves as the test wants."""

import contextlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

Behaviour = Callable[[socket.socket, "Agent"], None]


class Agent:
    """Serves one connection at ``path`` while the ``with`` block lasts; ``asked`` is what it was sent."""

    def __init__(self, path: Path, answer: bytes = b"", behave: Behaviour | None = None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.asked = b""
        self.answer = answer
        self.done = threading.Event()
        self._path = path
        self._behave = behave or answer_when_asked
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> "Agent":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.done.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes an accept that nobody came to
        self._thread.join(20)
        self._listener.close()
        self._path.unlink()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as client:
            self._behave(client, self)


def answer_when_asked(client: socket.socket, agent: Agent) -> None:
    """Like the real one: read to the end, then answer."""
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    agent.asked = b"".join(parts)
    client.sendall(agent.answer)


def answer_unasked(client: socket.socket, agent: Agent) -> None:
    """Answer at once and close, whatever is still on its way."""
    client.sendall(agent.answer)


def say_nothing(client: socket.socket, agent: Agent) -> None:
    """Neither read nor answer."""
    agent.done.wait(20)


def dawdle(client: socket.socket, agent: Agent) -> None:
    """Another byte every 20 ms and no end: each read is served in time, the whole is not."""
    client.sendall(b"0\n")
    while not agent.done.wait(0.02):
        client.sendall(b"x")
