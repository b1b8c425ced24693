"""server: the two kinds of requests, hostile ones, and a socket for root only."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent.server import CNI_MAGIC, CTL_MAGIC, Call, Server, UnderWay, split_cni
from cni.steps import Steps
from overlay.errors import BadInput, NotReady

ANSWERED = threading.Event()
"""Set once a request has been answered for being late."""
LISTENING: dict[Path, Server] = {}
"""By their sockets' paths."""


def cni(environ: Mapping[str, str], stdin: bytes, steps: Steps) -> tuple[int, bytes]:
    """Echo; or say "full", or hang until the deadline has passed."""
    if stdin == b"full":
        return -1, b""
    if stdin == b"hang":
        assert ANSWERED.wait(20)
    return 7, json.dumps([dict(environ), stdin.decode()]).encode()


def late(environ: Mapping[str, str], stdin: bytes, steps: Steps) -> tuple[int, bytes]:
    """Name the step."""
    ANSWERED.set()
    return 1, f"late in {steps.current}".encode()


def told(environ: Mapping[str, str], steps: Steps, code: int, stdout: bytes) -> None:
    """Nothing is logged here."""


def ctl(question: Mapping[str, Any]) -> Mapping[str, Any]:
    """Answer, refuse, or have a bug."""
    match question.get("verb"):
        case "refuse":
            raise NotReady("not yet", hint="wait")
        case "bug":
            raise ZeroDivisionError("oops")
    return {"asked": question["verb"]}


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A listening server's socket; whoever asks is answered before he is late, on a busy machine as well."""
    path = tmp_path / "s"
    with contextlib.closing(Server(path, cni=cni, ctl=ctl, late=late, told=told)) as server:
        LISTENING[path] = server
        yield path
        del LISTENING[path]


def ask(path: Path, request: bytes) -> bytes:
    """One request."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(20)
        door.connect(str(path))
        door.sendall(request)
        door.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: door.recv(4096), b""))


def test_a_cni_request_is_answered_by_code_and_stdout(path: Path) -> None:
    """Only CNI's own variables come through."""
    request = CNI_MAGIC + b"CNI_COMMAND=ADD\0SECRET=x\0TRACEPARENT=t\0\0{}\0"

    assert ask(path, request) == b'7\n[{"CNI_COMMAND": "ADD", "TRACEPARENT": "t"}, "{}\\u0000"]'


def test_a_request_for_another_program_is_given_back(path: Path) -> None:
    """The executable is to run the full program; the agent has touched nothing."""
    assert ask(path, CNI_MAGIC + b"CNI_COMMAND=ADD\0\0full") == b"full\n"


@pytest.mark.row("R14")
def test_a_request_that_hangs_is_answered_with_its_step(tmp_path: Path) -> None:
    """Once; the thread that comes back late has nothing more to say."""
    made = Server(tmp_path / "s", cni=cni, ctl=ctl, late=late, told=told, limit_s=0.2)
    with contextlib.closing(made):
        assert ask(tmp_path / "s", CNI_MAGIC + b"CNI_COMMAND=ADD\0\0hang") == b"1\nlate in start"


def test_who_watches_over_deadlines_sleeps_until_one_may_have_passed() -> None:
    """With no request for a whole limit: none that begins meanwhile can be late before. Then for the oldest."""
    clock, under_way = [100.0], UnderWay()
    assert under_way.next_s(60) == 60
    near, far = socket.socketpair()
    with near, far:
        for now in (100.0, 130.0):
            clock[0] = now
            under_way.enter(Call(near, {}, b"", Steps(limit_s=60, clock=lambda: clock[0])))
        assert under_way.next_s(60) == 30
        clock[0] = 161.0
        assert under_way.next_s(60) == 0
        assert len(under_way.take_expired()) == 1
        assert under_way.next_s(60) == 29


def test_a_socket_that_was_taken_away_is_made_again_when_it_is_looked_at(path: Path) -> None:
    """Whoever asked before its loss found it, whoever asks after it does."""
    path.unlink()
    for request in (CTL_MAGIC + b'{"verb":"x"}',) * 2:
        LISTENING[path].look()
        assert json.loads(ask(path, request)) == {"asked": "x"}


def test_no_thread_to_be_had_costs_no_worker(tmp_path: Path) -> None:
    """What is asked meanwhile is answered; later two are served at once again, before either of them is done."""
    both = threading.Barrier(2)

    def together(environ: Mapping[str, str], stdin: bytes, steps: Steps) -> tuple[int, bytes]:
        if stdin == b"together":
            both.wait(20)
        return 0, b"served"

    made = Server(tmp_path / "s", cni=together, ctl=ctl, late=late, told=told)
    with contextlib.closing(made):
        usual = threading.stack_size(1 << 46)  # more than there is: every start of a thread fails
        try:
            for _ in range(3):
                assert ask(tmp_path / "s", CNI_MAGIC + b"\0") == b"0\nserved"
        finally:
            threading.stack_size(usual)
        made.look()
        answers: list[bytes] = []
        question = CNI_MAGIC + b"\0together"
        callers = [
            threading.Thread(target=lambda: answers.append(ask(tmp_path / "s", question)))
            for _ in range(2)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert answers == [b"0\nserved"] * 2


def test_a_request_without_variables_is_one_too() -> None:
    """Everything behind the empty string is stdin."""
    assert split_cni(CNI_MAGIC + b"\0{}") == ({}, b"{}")
    with pytest.raises(BadInput):
        split_cni(CNI_MAGIC + b"CNI_COMMAND=ADD")


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"verb":"status"}', {"asked": "status"}),
        (b'{"verb":"refuse"}', {"error": "not yet", "hint": "wait"}),
    ],
)
def test_overlayctl_gets_an_answer_or_the_agents_own_words(
    path: Path, body: bytes, answer: dict[str, str]
) -> None:
    """JSON both ways."""
    assert json.loads(ask(path, CTL_MAGIC + body)) == answer


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"verb":"bug"}'])
def test_rubbish_and_bugs_are_answered_too_and_the_server_lives(path: Path, body: bytes) -> None:
    """One bad client ends nothing."""
    assert "error" in json.loads(ask(path, CTL_MAGIC + body))
    assert json.loads(ask(path, CTL_MAGIC + b'{"verb":"x"}')) == {"asked": "x"}


def test_other_protocols_are_refused(path: Path) -> None:
    """Somebody's HTTP client, say."""
    assert b"not an overlay request" in ask(path, b"GET / HTTP/1.0\r\n\r\n")


def test_the_socket_is_for_root_only_and_goes_with_the_server(tmp_path: Path) -> None:
    """Mode 0600 from the first moment; a stale socket of a killed agent is replaced."""
    (tmp_path / "s").touch()
    server = Server(tmp_path / "s", cni=cni, ctl=ctl, late=late, told=told)

    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    server.close()
    assert not (tmp_path / "s").exists()
