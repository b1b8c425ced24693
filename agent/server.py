"""The agent's socket: CNI requests from the executable, questions from overlayctl.

One request per connection, ended by the client's shutdown of its sending half:

* ``overlay-cni/1\\0`` ``KEY=VALUE\\0`` … ``\\0`` stdin; answered by the exit code in decimal, a newline, stdout;
  or by ``full`` and a newline: nothing has been touched, the executable is to become the full program
* ``overlay-ctl/1\\0`` a JSON object with ``verb``; answered by a JSON object

The socket is 0600: whoever can speak here is root already. Requests are still bounded in size and time.
"""

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from overlay.errors import BadInput, OverlayError

log = logging.getLogger(__name__)

CNI_MAGIC, CTL_MAGIC = b"overlay-cni/1\0", b"overlay-ctl/1\0"
MOST_BYTES = 8 << 20
MOST_AT_ONCE = 256
READ_TIMEOUT_S = 10.0
WANTED_VARIABLES = ("CNI_", "TRACEPARENT", "TRACESTATE", "BAGGAGE")

CniHandler = Callable[[Mapping[str, str], bytes], tuple[int, bytes]]
CtlHandler = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Server:
    """Listens on ``path`` until closed; one short-lived thread per request."""

    def __init__(self, path: Path, *, cni: CniHandler, ctl: CtlHandler) -> None:
        self._path = path
        self._cni, self._ctl = cni, ctl
        self._slots = threading.BoundedSemaphore(MOST_AT_ONCE)
        self._listener = _listen(path)
        self._thread = threading.Thread(target=self._accept, name="socket", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and remove the socket; requests being served are finished by their threads."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # closed
            self._slots.acquire()
            threading.Thread(
                target=self._serve, args=(client,), name="request", daemon=True
            ).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client:
                client.settimeout(READ_TIMEOUT_S)
                client.sendall(self._answer(_read(client)))
        except OSError as error:
            log.debug("a client went away: %s", error)
        finally:
            self._slots.release()

    def _answer(self, request: bytes) -> bytes:
        if request.startswith(CNI_MAGIC):
            environ, stdin = split_cni(request)
            code, stdout = self._cni(environ, stdin)
            return b"%d\n" % code + stdout
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


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    before = os.umask(0o177)  # the socket is never, not even for a moment, open to others
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(MOST_AT_ONCE)
    return listener


def _read(client: socket.socket) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := client.recv(1 << 16):
        size += len(part)
        if size > MOST_BYTES:
            raise OSError(f"request longer than {MOST_BYTES} bytes")
        parts.append(part)
    return b"".join(parts)
