"""A small door for strangers: GET and HEAD of a few paths, bounded in everything, and never in the agent's way.

Theory of operation. One thread waits on all connections at once, so one that says nothing, or a letter a second,
costs a descriptor until its time is up. Where MOST_OPEN wait, the one that has waited longest makes room. Quick
paths are answered by that thread itself; a slow one gets a thread of its own, and there are MOST_SLOW at most, so
whoever floods the slow ones keeps nobody from the quick ones. Every connection ends with its answer.

A port that is in use is tried again, and said meanwhile; it is never the end of the agent.
"""

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from agent.values import Listen

log = logging.getLogger(__name__)

MOST_LINE, MOST_HEAD = 8 << 10, 16 << 10
MOST_OPEN, MOST_SLOW, BACKLOG = 64, 4, 512
PATIENCE_S = 5.0
"""From a connection to its whole request; and as long for the answer to go out."""
AGAIN_S = 10.0
BUFFER = 256 << 10
"""An answer fits, so nobody's reading holds us up."""
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a path answers."""

    code: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Path:
    """``answer`` may take its time only where ``slow``."""

    answer: Callable[[], Reply]
    slow: bool = False


Told = Callable[[str, int], None]
"""Of each answer: the path ("other" for none of ours) and the code; ("", 0) of a connection that got none."""


@dataclass(slots=True)
class _Caller:
    ends_at: float
    heard: bytes = b""


class Door:
    """Listens from ``start`` to ``stop``. ``notice`` says why it does not, if so."""

    def __init__(
        self,
        address: Listen,
        paths: Mapping[str, Path],
        *,
        told: Told = lambda *_: None,
        patience_s: float = PATIENCE_S,
        again_s: float = AGAIN_S,
    ) -> None:
        self.notice = ""
        self.port = 0
        """The one in use; 0 while there is none."""
        self._address, self._paths, self._told = address, paths, told
        self._patience_s, self._again_s = patience_s, again_s
        self._waiting: dict[socket.socket, _Caller] = {}  # the longest first
        self._slow = threading.Semaphore(MOST_SLOW)
        self._stopping = threading.Event()
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        if not self._address.host.is_loopback:
            log.warning(
                "metrics and health are shown to whoever reaches %s, unencrypted and without a password; "
                "next: metrics_listen = 127.0.0.1:%d, or a firewall",
                self._address,
                self._address.port,
            )
        self._thread.start()

    def stop(self, *, wait_s: float = 0.5) -> None:
        """End the thread; answers under way are finished by theirs."""
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        if self._thread.ident is not None:
            self._thread.join(wait_s)

    def _run(self) -> None:
        with self._wake, self._woken:
            self._listen_and_serve()

    def _listen_and_serve(self) -> None:
        while not self._stopping.is_set():
            try:
                listener = self._listen()
            except OSError as error:
                self._say(error)
                self._stopping.wait(self._again_s)
                continue
            self.port = listener.getsockname()[1]
            if self.notice:
                log.info("metrics and health are served at %s now", self._address)
            self.notice = ""
            with listener, selectors.DefaultSelector() as selector:
                self._serve(listener, selector)
            self.port = 0

    def _say(self, error: OSError) -> None:
        text = (
            f"metrics and health are not served: {self._address}: {error.strerror}; look: "
            f"ss -ltnp sport = :{self._address.port}; next: set metrics_listen to another address, or to nothing"
        )
        if text != self.notice:
            log.warning("%s", text)
        self.notice = text

    def _listen(self) -> socket.socket:
        host, port = self._address.host, self._address.port
        family = socket.AF_INET if host.version == 4 else socket.AF_INET6
        listener = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)  # inherited
            listener.bind((str(host), port))
            listener.listen(BACKLOG)
            listener.setblocking(False)
        except OSError:
            listener.close()
            raise
        return listener

    # --- the thread that waits for all ---------------------------------------------------------------

    def _serve(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        selector.register(listener, selectors.EVENT_READ)
        selector.register(self._woken, selectors.EVENT_READ)
        while not self._stopping.is_set():
            first = next(iter(self._waiting.values()), None)
            pause = None if first is None else max(0.0, first.ends_at - time.monotonic())
            for key, _ in selector.select(pause):
                if key.fileobj is listener:
                    for _ in range(MOST_OPEN):
                        if not self._accept(listener, selector):
                            break
                elif isinstance(key.fileobj, socket.socket) and key.fileobj is not self._woken:
                    self._hear(key.fileobj, selector)
            now = time.monotonic()
            for client in [it for it, caller in self._waiting.items() if caller.ends_at <= now]:
                self._turn_away(client, selector)
        for client in list(self._waiting):
            self._turn_away(client, selector)

    def _accept(self, listener: socket.socket, selector: selectors.BaseSelector) -> bool:
        """Take one; False if there is none."""
        try:
            client, _ = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:  # no descriptors: others need them more
            log.debug("no connection can be taken: %s", error)
            if oldest := next(iter(self._waiting), None):
                self._turn_away(oldest, selector)
            self._stopping.wait(0.1)
            return False
        if len(self._waiting) >= MOST_OPEN:
            self._turn_away(next(iter(self._waiting)), selector)
        client.setblocking(False)
        self._waiting[client] = _Caller(time.monotonic() + self._patience_s)
        selector.register(client, selectors.EVENT_READ)
        return True

    def _turn_away(self, client: socket.socket, selector: selectors.BaseSelector) -> None:
        self._forget(client, selector)
        client.close()
        self._told("", 0)

    def _forget(self, client: socket.socket, selector: selectors.BaseSelector) -> None:
        selector.unregister(client)
        del self._waiting[client]

    def _hear(self, client: socket.socket, selector: selectors.BaseSelector) -> None:
        caller = self._waiting.get(client)
        if caller is None:
            return
        try:
            part = client.recv(MOST_HEAD)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        caller.heard += part
        if not part:
            self._turn_away(client, selector)
        elif (asked := request(caller.heard)) is not None:
            self._forget(client, selector)
            self._answer(client, *asked)

    def _answer(self, client: socket.socket, code: int, method: str, name: str) -> None:
        path = self._paths.get(name)
        if code == 200 and path is None:
            code = 404
        if code != 200 or path is None:
            known = ", ".join(self._paths)
            text = f"{_REASONS[code]}; GET or HEAD one of: {known}\n"
            self._send(client, method, "other", Reply(code, text.encode()))
        elif not path.slow:
            self._send(client, method, name, _asked(path))
        elif self._slow.acquire(blocking=False):
            threading.Thread(
                target=self._slowly, args=(client, method, name, path), name="scrape", daemon=True
            ).start()
        else:
            self._send(client, method, name, Reply(503, b"busy, try again\n"))

    # --- any thread --------------------------------------------------------------------------------

    def _slowly(self, client: socket.socket, method: str, name: str, path: Path) -> None:
        try:
            self._send(client, method, name, _asked(path))
        finally:
            self._slow.release()

    def _send(self, client: socket.socket, method: str, name: str, reply: Reply) -> None:
        allow = "Allow: GET, HEAD\r\n" if reply.code == 405 else ""
        head = (
            f"HTTP/1.1 {reply.code} {_REASONS[reply.code]}\r\nContent-Type: {reply.kind}\r\n"
            f"Content-Length: {len(reply.body)}\r\n{allow}Cache-Control: no-store\r\n"
            "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        ).encode()
        with contextlib.suppress(OSError), client:
            if name in self._paths and self._paths[name].slow:
                client.settimeout(self._patience_s)
            client.sendall(head + (b"" if method == "HEAD" else reply.body))
            client.shutdown(socket.SHUT_WR)
        self._told(name, reply.code)


def request(heard: bytes) -> tuple[int, str, str] | None:
    """A request as far as it has come: the code to answer (200: look at the path), method, path; None: not all yet."""
    line, ended, _ = heard.partition(b"\n")
    if len(line) > MOST_LINE:
        return 414, "GET", ""
    if ended and line.strip() == b"":
        return 400, "GET", ""
    if ended and (code := _line(line)[0]) != 200:
        return code, "GET", ""
    if b"\r\n\r\n" not in heard and b"\n\n" not in heard:
        return (431, "GET", "") if len(heard) > MOST_HEAD else None
    return _line(line)


def _line(line: bytes) -> tuple[int, str, str]:
    words = line.rstrip(b"\r").decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return 400, "GET", ""
    if words[0] not in ("GET", "HEAD"):
        return 405, "GET", ""
    return 200, words[0], words[1].partition("?")[0]


def _asked(path: Path) -> Reply:
    try:
        return path.answer()
    except Exception:
        log.exception("a question over HTTP failed")
        return Reply(500, b"failed; look: journalctl -u overlay-agent\n")
