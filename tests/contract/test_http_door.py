"""The door for strangers on real sockets of the loopback: hostile clients keep nobody out and are all ended."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from agent.http import MOST_OPEN, MOST_SLOW, Door, Path
from agent.httptext import Reply
from agent.values import Listen
from tests.contract.waiting import until

pytestmark = pytest.mark.contract
HERE = ip_address("127.0.0.1")


class Served:
    """A door with a quick path, a slow one that waits for ``free``, and one with a bug."""

    def __init__(self, port: int = 0, *, patience_s: float = 20.0) -> None:
        self.free = threading.Event()
        self.entered = threading.Semaphore(0)
        self.told: list[tuple[str, int]] = []
        paths = {
            "/quick": Path(lambda: Reply(200, b"quick\n")),
            "/slow": Path(self._slow, slow=True),
            "/bug": Path(lambda: Reply(1 // 0, b"")),
        }
        self.door = Door(
            Listen(HERE, port),
            paths,
            told=lambda *it: self.told.append(it),
            patience_s=patience_s,
            again_s=0.05,
        )
        self.door.start()

    def _slow(self) -> Reply:
        self.entered.release()
        assert self.free.wait(20)
        return Reply(200, b"slow " * 20_000)

    def connect(self) -> socket.socket:
        """A connection that says nothing yet."""
        return socket.create_connection((str(HERE), self.door.port), timeout=20)

    def get(self, path: str, method: str = "GET") -> bytes:
        """The whole answer."""
        with self.connect() as door:
            door.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return all_of(door)


def all_of(door: socket.socket) -> bytes:
    """Until the other side ends it."""
    try:
        return b"".join(iter(lambda: door.recv(1 << 16), b""))
    except ConnectionResetError:
        return b""


@pytest.fixture
def served() -> Iterator[Served]:
    """Listening."""
    made = Served()
    until(lambda: bool(made.door.port))
    yield made
    made.free.set()
    made.door.stop()


def test_get_and_head_of_known_paths_and_nothing_else(served: Served) -> None:
    """Other paths are told which there are; a bug is 500 and not the end."""
    head, _, body = served.get("/quick").partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b"quick\n"
    assert served.get("/quick", "HEAD").endswith(b"\r\n\r\n")
    assert b" 404 " in served.get("/other")
    assert b"/quick" in served.get("/other")
    assert b"Allow: GET, HEAD" in served.get("/quick", "DELETE")
    assert served.get("/bug").startswith(b"HTTP/1.1 500 ")
    assert served.get("/quick").startswith(b"HTTP/1.1 200 ")


def test_no_thread_to_be_had_is_said_and_ends_nothing(served: Served) -> None:
    """More often than there are slow ones at once; the quick ones, and all of them later, are answered."""
    usual = threading.stack_size(1 << 46)  # more than there is: every start of a thread fails
    try:
        for _ in range(MOST_SLOW + 1):
            assert b" 503 " in served.get("/slow")
        assert b" 200 " in served.get("/quick")
    finally:
        threading.stack_size(usual)
    served.free.set()
    assert b" 200 " in served.get("/slow")


def test_a_thousand_who_say_nothing_keep_nobody_out(served: Served) -> None:
    """Those that have waited longest make room, so no descriptor is missing to anybody else."""
    with ExitStack() as stack:
        silent = [stack.enter_context(served.connect()) for _ in range(1000)]
        assert served.get("/quick").startswith(b"HTTP/1.1 200 ")
        until(lambda: served.told.count(("", 0)) >= 1000 - MOST_OPEN)
        assert all_of(silent[0]) == b""


def test_a_letter_now_and_then_is_ended_when_its_time_is_up() -> None:
    """However often it says something."""
    served = Served(patience_s=0.2)
    try:
        until(lambda: bool(served.door.port))
        with served.connect() as slow:
            slow.sendall(b"GET /quick HT")
            until(lambda: ended(slow))
    finally:
        served.door.stop()


def ended(door: socket.socket) -> bool:
    """After one letter more."""
    try:
        door.sendall(b"T")
        door.setblocking(False)
        return door.recv(10) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        door.setblocking(True)


def test_garbage_is_answered_and_ended(served: Served) -> None:
    """A TLS handshake, a line without an end."""
    for said in (b"\x16\x03\x01\n", b"G" * 10_000, b"GET /quick\n\n"):
        with served.connect() as door:
            door.sendall(said)
            assert all_of(door)[9:12] in (b"400", b"414", b"")
    assert served.get("/quick").startswith(b"HTTP/1.1 200 ")


def test_a_flood_of_the_slow_path_does_not_reach_the_quick_one(served: Served) -> None:
    """So many are at work, the next are told to come again; health is still answered."""
    with ExitStack() as stack:
        busy = [stack.enter_context(served.connect()) for _ in range(MOST_SLOW)]
        for door in busy:
            door.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
        for _ in busy:
            assert served.entered.acquire(timeout=20)
        assert served.get("/slow").startswith(b"HTTP/1.1 503 ")
        assert served.get("/quick").startswith(b"HTTP/1.1 200 ")
        served.free.set()
        assert all(all_of(door).endswith(b"slow ") for door in busy)


def test_who_does_not_read_holds_up_nobody(served: Served) -> None:
    """The answer goes into the socket and its thread is free."""
    served.free.set()
    with ExitStack() as stack:
        for _ in range(3 * MOST_SLOW):
            door = stack.enter_context(served.connect())
            door.sendall(b"GET /slow HTTP/1.1\r\n\r\n")
            assert served.entered.acquire(timeout=20)
        assert served.get("/quick").startswith(b"HTTP/1.1 200 ")


def test_a_port_in_use_is_said_and_tried_again() -> None:
    """As soon as it is free, the door is there."""
    with socket.socket() as other:
        other.bind((str(HERE), 0))
        other.listen()
        port = other.getsockname()[1]
        served = Served(port)
        until(lambda: f"{HERE}:{port}" in served.door.notice)
    try:
        until(lambda: bool(served.door.port))
        assert served.door.notice == ""
        assert served.get("/quick").startswith(b"HTTP/1.1 200 ")
    finally:
        served.door.stop()
