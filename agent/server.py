"""The agent's socket: CNI requests from the executable, questions from overlayctl.

One request per connection, ended by the client's shutdown of its sending half:

* ``overlay-cni/1\\0`` ``KEY=VALUE\\0`` … ``\\0`` stdin; answered by the exit code in decimal, a newline, stdout;
  or by ``full`` and a newline: nothing has been touched, the executable is to become the full program
* ``overlay-ctl/1\\0`` a JSON object with ``verb``; answered by a JSON object

The socket is 0600: whoever can speak here is root already. Requests are still bounded in size and time.
"""

import contextlib
import itertools
import logging
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.doorway import Doorway
from cni.steps import LIMIT_S, Steps
from overlay.errors import BadInput, OverlayError

log = logging.getLogger(__name__)

CNI_MAGIC, CTL_MAGIC = b"overlay-cni/1\0", b"overlay-ctl/1\0"
MOST_BYTES = 8 << 20
MOST_AT_ONCE = 256
MOST_IDLE = 64
NO_DESCRIPTORS_S = 0.1
"""Pause after an accept(2) that failed for want of descriptors or memory."""
READ_TIMEOUT_S = 10.0
WANTED_VARIABLES = ("CNI_", "TRACEPARENT", "TRACESTATE", "BAGGAGE")

FULL = b"full\n"
"""Tells the executable that nothing was touched and that it must run the full program itself."""

CniHandler = Callable[[Mapping[str, str], bytes, Steps], tuple[int, bytes]]
CniLog = Callable[[Mapping[str, str], Steps, int, bytes], None]
CtlHandler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Workers:
    """Threads that each wait for a connection, so that none has to be made between accept and answer.

    There is always one that waits, up to MOST_AT_ONCE in all; more than MOST_IDLE do not stay.
    """

    def __init__(self, body: Callable[[], None]) -> None:
        self._body = body
        self._lock = threading.Lock()
        self._idle = self._all = 0
        self._short = False

    def begin(self) -> None:
        """Start the first one."""
        with self._lock:
            self._add()

    def taken(self) -> None:
        """A worker has a connection."""
        with self._lock:
            self._idle -= 1
            self._refill()

    def look(self) -> None:
        """See that one waits, where none could be started before; called now and then."""
        with self._lock:
            self._refill()

    def stay(self) -> bool:
        """A worker is done; True if it is to wait for the next connection."""
        with self._lock:
            staying = self._idle < MOST_IDLE
            self._idle += staying
            self._all -= not staying
        return staying

    def _refill(self) -> None:
        """A machine that has no thread or no memory left must not cost a worker: it is tried again."""
        if self._idle or self._all >= MOST_AT_ONCE:
            return
        try:
            self._add()
            self._short = False
        except RuntimeError as error:
            if not self._short:
                log.warning("%s: who asks now has to wait; look: ps -eL | wc -l", error)
            self._short = True

    def _add(self) -> None:
        threading.Thread(target=self._body, name="request", daemon=True).start()
        self._idle += 1
        self._all += 1


@dataclass(frozen=True, slots=True)
class Call:
    """A CNI request being served."""

    client: socket.socket
    environ: Mapping[str, str]
    stdin: bytes
    steps: Steps
    answered: threading.Event = field(default_factory=threading.Event)
    """Set once it was answered for being late."""


class UnderWay:
    """The CNI requests being served. Each is answered once: by its thread, or for being late."""

    def __init__(self) -> None:
        self._calls: dict[int, Call] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count()

    def enter(self, call: Call) -> int:
        """It begins; returns its ticket."""
        with self._lock:
            ticket = next(self._numbers)
            self._calls[ticket] = call
        return ticket

    def leave(self, ticket: int) -> bool:
        """It ends; False if it was answered for being late."""
        with self._lock:
            return self._calls.pop(ticket, None) is not None

    def take_expired(self) -> list[Call]:
        """Those whose time is up, which are no longer ours then."""
        with self._lock:
            late = [ticket for ticket, call in self._calls.items() if call.steps.expired]
            return [self._calls.pop(ticket) for ticket in late]

    def next_s(self, limit_s: float) -> float:
        """Seconds until one may expire; with none under way ``limit_s``, as one that began now would last so long."""
        with self._lock:
            left = [call.steps.left_s for call in self._calls.values()]
        return max(0.0, min([*left, limit_s]))


class Server:
    """Listens on ``path`` until closed; each request has a thread to itself.

    ``told`` is called after each CNI answer, for the log. ``late`` says what to answer for a CNI request whose
    time is up; the thread that hangs on it is left to end when it can, and finds by its steps that it
    must undo what it made.
    """

    def __init__(
        self,
        path: Path,
        *,
        cni: CniHandler,
        ctl: CtlHandler,
        late: CniHandler,
        told: CniLog,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._cni, self._ctl, self._late, self._told = cni, ctl, late, told
        self._limit_s = limit_s
        self._under_way = UnderWay()
        self._closed = threading.Event()
        self._workers = Workers(self._accept)
        self._door = Doorway(path, backlog=MOST_AT_ONCE)
        self._workers.begin()
        threading.Thread(target=self._watch, name="deadlines", daemon=True).start()

    def look(self) -> None:
        """See that we are to be found at our path, and that somebody listens there; called now and then."""
        self._door.look()
        self._workers.look()

    def close(self) -> None:
        """Stop listening and remove the socket; requests being served are finished by their threads."""
        self._closed.set()
        self._door.close()

    @property
    def trouble(self) -> str:
        """Why nobody finds us at our path; empty while they do."""
        return self._door.trouble

    def _accept(self) -> None:
        while True:
            try:
                client = self._door.accept()
            except OSError as error:
                if self._closed.wait(NO_DESCRIPTORS_S):
                    return
                log.warning("no connection can be taken, trying again: %s", error)
                continue
            self._workers.taken()
            self._serve(client)
            if not self._workers.stay():
                return

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(READ_TIMEOUT_S)
                request = _read(client)
                if request.startswith(CNI_MAGIC):
                    self._serve_cni(client, request)
                else:
                    client.sendall(self._answer(request))
        except (OSError, BadInput) as error:
            log.debug("a client went away: %s", error)

    def _serve_cni(self, client: socket.socket, request: bytes) -> None:
        environ, stdin = split_cni(request)
        steps = Steps(limit_s=self._limit_s)
        call = Call(client, environ, stdin, steps)
        ticket = self._under_way.enter(call)
        code, stdout = self._cni(environ, stdin, steps)
        if not self._under_way.leave(ticket):
            call.answered.wait(READ_TIMEOUT_S)  # the connection is closed when we return
        else:
            with contextlib.suppress(OSError):  # the runtime gave up; what was done is done
                client.sendall(FULL if code < 0 else b"%d\n" % code + stdout)
                client.shutdown(socket.SHUT_RDWR)  # it need not wait for our log
        self._told(environ, steps, code, stdout)

    def _watch(self) -> None:
        """In a thread of its own; asleep until something may be late, so that no request has to wake it."""
        while not self._closed.wait(self._under_way.next_s(self._limit_s)):
            for call in self._under_way.take_expired():
                log.error(
                    "a CNI request hangs verb=%r %s; look: overlayctl status",
                    call.environ.get("CNI_COMMAND", "")[:8],
                    call.steps.late(),
                )
                code, stdout = self._late(call.environ, call.stdin, call.steps)
                with contextlib.suppress(OSError):
                    call.client.sendall(b"%d\n" % code + stdout)
                    call.client.shutdown(socket.SHUT_RDWR)
                call.answered.set()

    def _answer(self, request: bytes) -> bytes:
        if request.startswith(CTL_MAGIC):
            return self._control(request[len(CTL_MAGIC) :])
        return b'{"error":"not an overlay request"}'

    def _control(self, body: bytes) -> bytes:
        try:
            question = msgspec.json.decode(body, type=dict[str, Any])
            return msgspec.json.encode(self._ctl(question))
        except msgspec.DecodeError as error:
            return msgspec.json.encode({"error": f"request is not JSON: {error}"})
        except OverlayError as error:
            return msgspec.json.encode({"error": str(error), "hint": error.hint})
        except Exception as error:
            log.exception("request failed")
            return msgspec.json.encode(
                {"error": f"{type(error).__name__}: {error}", "hint": "journalctl -u overlay-agent"}
            )


def split_cni(request: bytes) -> tuple[dict[str, str], bytes]:
    """The variables and the stdin of a CNI request; keeps only variables that CNI knows.

    Raises:
        BadInput: the variables do not end.
    """
    head, end, stdin = request[len(CNI_MAGIC) - 1 :].partition(b"\0\0")
    if not end:
        raise BadInput("the request ends within its variables")
    pairs = (item.partition(b"=") for item in head.split(b"\0") if item)
    found = {
        key.decode(errors="replace"): value.decode(errors="replace") for key, _, value in pairs
    }
    return {key: value for key, value in found.items() if key.startswith(WANTED_VARIABLES)}, stdin


def _read(client: socket.socket) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := client.recv(1 << 16):
        size += len(part)
        if size > MOST_BYTES:
            raise OSError(f"request longer than {MOST_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
