"""The quota, read from whatever answers for /metrics: no renewal waits for it, and it ends no thread."""

import gzip
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from agent.etcd import Etcd
from agent.etcd.members import quota

pytestmark = pytest.mark.contract

DRIP_S = 60.0
LINE = b"etcd_server_quota_backend_bytes "


@contextmanager
def answering(body: bytes, *headers: str, drips: bool = False) -> Iterator[Etcd]:
    """Somebody who answers one question so; ``drips``: the rest comes a byte at a time."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        over = threading.Event()

        def serve() -> None:
            with suppress(OSError):
                line, _ = door.accept()
                with line:
                    line.recv(4096)
                    length = 1 << 20 if drips else len(body)
                    head = ["HTTP/1.1 200 OK", f"Content-Length: {length}", *headers, "", ""]
                    line.sendall("\r\n".join(head).encode() + body)
                    until = time.monotonic() + DRIP_S
                    while drips and time.monotonic() < until and not over.wait(0.1):
                        line.sendall(b"x")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        store = Etcd([f"http://127.0.0.1:{door.getsockname()[1]}"])
        yield store
        over.set()
        store.close()
        thread.join(30)


@pytest.mark.parametrize(
    ("body", "headers", "found"),
    [
        (LINE + b"2.147483648e+09\n", (), 2 << 30),
        (gzip.compress(LINE + b"8192\n"), ("Content-Encoding: gzip",), 8192),
        (b"# HELP\n", (), None),
        (LINE + b"\n", (), None),
        (LINE + b"+Inf\n", (), None),
        (LINE + b"NaN\n", (), None),
        (gzip.compress(b"x" * 5000)[:12] + b"\xff" * 9, ("Content-Encoding: gzip",), None),
    ],
)
def test_what_is_no_quota_is_none(body: bytes, headers: tuple[str, ...], found: int | None) -> None:
    """A proxy before etcd may say anything; no exception leaves."""
    with answering(body, *headers) as store:
        assert quota(store, store.endpoint) == found


def test_an_answer_that_never_ends_is_not_waited_for() -> None:
    """The thread that renews is the one that asks."""
    with answering(b"# HELP\n", drips=True) as store:
        begun = time.monotonic()
        assert quota(store, store.endpoint, timeout_s=0.5) is None
        assert time.monotonic() - begun < DRIP_S / 2
