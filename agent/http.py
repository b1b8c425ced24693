"""A small door for strangers: GET and HEAD of a few paths, bounded in everything, and never in the agent's way.

Theory of operation. One thread waits on all connections at once, so one that says nothing, or a letter a second,
costs a descriptor until its time is up. Where MOST_OPEN wait, the one that has waited longest makes room, and the
next ones wait outside until it has had its GRACE_S: who asks at once is answered in any flood. Quick paths are
answered by that thread itself; a slow one gets a thread of its own, and there are MOST_SLOW at most, so whoever
floods the slow ones keeps nobody from the quick ones. Every connection ends with its answer.

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

from agent.httptext import MOST_HEAD, REASONS, Reply, head_of, request
from agent.values import Listen

log = logging.getLogger(__name__)

MOST_OPEN, MOST_SLOW, BACKLOG = 128, 4, 512
PATIENCE_S = 5.0
"""From a connection to its whole request; and as long for the answer to go out."""
GRACE_S = 0.1
"""So long nobody has to make room: time for a request to come; a flood is taken in no faster than that allows."""
AGAIN_S = 10.0
BUFFER = 256 << 10
"""An answer fits, so nobody's reading holds us up."""


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

    @property
    def has_ended(self) -> bool:
        """The thread is gone, by an exception that nobody foresaw."""
        return self._thread.ident is not None and not self._thread.is_alive()

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
        selector.register(self._woken, selectors.EVENT_READ)
        taking = False
        while not self._stopping.is_set():
            full_s = self._full_s()
            if taking is (full_s > 0):  # a full house hears no knock, or it would never rest
                taking = not taking
                if taking:
                    selector.register(listener, selectors.EVENT_READ)
                else:
                    selector.unregister(listener)
            first = next(iter(self._waiting.values()), None)
            pause = None if first is None else max(0.0, first.ends_at - time.monotonic())
            for key, _ in selector.select(full_s or pause):
                if key.fileobj is listener:
                    self._take_in(listener, selector)
                elif isinstance(key.fileobj, socket.socket) and key.fileobj is not self._woken:
                    self._hear(key.fileobj, selector)
            now = time.monotonic()
            for client in [it for it, caller in self._waiting.items() if caller.ends_at <= now]:
                self._turn_away(client, selector)
        for client in list(self._waiting):
            self._turn_away(client, selector)

    def _full_s(self) -> float:
        """Seconds until there is room for another; 0 if there is."""
        if len(self._waiting) < MOST_OPEN:
            return 0.0
        came_at = next(iter(self._waiting.values())).ends_at - self._patience_s
        return max(0.0, came_at + GRACE_S - time.monotonic())

    def _take_in(self, listener: socket.socket, selector: selectors.BaseSelector) -> None:
        """Who knocks, as long as there is room; the one that has waited longest makes some."""
        for _ in range(MOST_OPEN):
            if self._full_s():
                return
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptors: others need them more
                log.debug("no connection can be taken: %s", error)
                if oldest := next(iter(self._waiting), None):
                    self._turn_away(oldest, selector)
                self._stopping.wait(GRACE_S)
                return
            if len(self._waiting) >= MOST_OPEN:
                self._turn_away(next(iter(self._waiting)), selector)
            client.setblocking(False)
            self._waiting[client] = _Caller(time.monotonic() + self._patience_s)
            selector.register(client, selectors.EVENT_READ)

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
            text = f"{REASONS[code]}; GET or HEAD one of: {known}\n"
            self._send(client, method, "other", Reply(code, text.encode()))
        elif not path.slow:
            self._send(client, method, name, _asked(path))
        elif self._slow.acquire(blocking=False):
            try:
                threading.Thread(
                    target=self._slowly,
                    args=(client, method, name, path),
                    name="scrape",
                    daemon=True,
                ).start()
            except RuntimeError:  # the machine has no thread, or no memory for one, to give
                self._slow.release()
                self._send(client, method, name, Reply(503, b"no thread, try again\n"))
        else:
            self._send(client, method, name, Reply(503, b"busy, try again\n"))

    # --- any thread --------------------------------------------------------------------------------

    def _slowly(self, client: socket.socket, method: str, name: str, path: Path) -> None:
        try:
            self._send(client, method, name, _asked(path))
        finally:
            self._slow.release()

    def _send(self, client: socket.socket, method: str, name: str, reply: Reply) -> None:
        head = head_of(reply)
        with contextlib.suppress(OSError), client:
            if name in self._paths and self._paths[name].slow:
                client.settimeout(self._patience_s)
            client.sendall(head + (b"" if method == "HEAD" else reply.body))
            client.shutdown(socket.SHUT_WR)
        self._told(name, reply.code)


def _asked(path: Path) -> Reply:
    try:
        return path.answer()
    except Exception:
        log.exception("a question over HTTP failed")
        return Reply(500, b"failed; look: journalctl -u overlay-agent\n")
