"""Both executables: they forward to the agent, relay what it says, and become the full program without one."""

import json
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.contract.front import fake_agent
from tests.contract.front.calls import CONF, SHOW, call, refusal
from tests.contract.front.conftest import InstallFront
from tests.contract.front.fake_agent import Agent

MOST = 4 << 20


@pytest.mark.row("1", "R27")
def test_the_agent_gets_variables_and_stdin_and_its_answer_is_relayed(
    program: Path, run_dir: Path
) -> None:
    """Only CNI's and the trace's variables travel; exit code and stdout come back as they are."""
    environ = {"CNI_COMMAND": "ADD", "CNI_NETNS": "", "TRACEPARENT": "00-1", "BAGGAGE": "a=b"}
    with Agent(run_dir / "cni.sock", b'1\n{"code":11}\n') as agent:
        answer = call(program, CONF, **environ, SECRET="x", HOME="/", XCNI_A="no")

    head, _, stdin = agent.asked.partition(b"\0\0")
    magic, *pairs = head.split(b"\0")
    assert magic == b"overlay-cni/1"
    assert sorted(pairs) == sorted(f"{key}={value}".encode() for key, value in environ.items())
    assert stdin == CONF
    assert answer == (1, b'{"code":11}\n', b"")


@pytest.mark.row("2")
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"0\n", (0, b"", b"")),
        (b"99\n{}", (99, b"{}", b"")),
        (b"255\nfull\n", (255, b"full\n", b"")),
        (b"0\n" + b"\0\xff\n" * 300_000, (0, b"\0\xff\n" * 300_000, b"")),
    ],
    ids=["empty", "99", "255", "long"],
)
def test_any_code_and_any_bytes_come_back(
    program: Path, run_dir: Path, answer: bytes, expected: tuple[int, bytes, bytes]
) -> None:
    """Nothing is understood of them, and nothing is lost."""
    with Agent(run_dir / "cni.sock", answer):
        assert call(program, b"", CNI_COMMAND="ADD") == expected


MALFORMED = [
    b"",
    b"garbage",
    b"1",
    b"\n{}",
    b"-1\n",
    b"+1\n",
    b" 1\n",
    b"1 \n",
    b"256\n",
    b"0000\n",
]
MALFORMED += [b"full", b"full\n{}", b"0x1\n", b"\xb2\n", b"0\n" + b"x" * MOST]


@pytest.mark.row("3", "80")
@pytest.mark.parametrize("answer", MALFORMED, ids=lambda answer: repr(answer[:9]))
def test_an_agent_that_breaks_off_may_be_asked_again(
    program: Path, run_dir: Path, answer: bytes
) -> None:
    """Code 11, never silence: the agent may have been at work already."""
    with Agent(run_dir / "cni.sock", answer):
        code, why = refusal(call(program, CONF, CNI_COMMAND="ADD"))
    assert (code, why) == (11, "overlay-agent stopped before it had answered; try again")


@pytest.mark.row("R19", "51")
def test_without_an_agent_it_serves_the_request_itself(program: Path) -> None:
    """Large input included: it is handed on through a file in memory."""
    stdin = CONF[:-1] + b',"pad":"' + b"x" * 300_000 + b'"}'
    code, stdout, stderr = call(program, stdin, CNI_COMMAND="STATUS")
    assert (code, json.loads(stdout)["code"], stderr) == (1, 50, b"")


@pytest.mark.row("R6", "63")
def test_a_stale_socket_is_as_good_as_none(program: Path, run_dir: Path) -> None:
    """An agent that was killed leaves one behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(run_dir / "cni.sock"))
    code, stdout, _ = call(program, b"", CNI_COMMAND="VERSION")
    assert (code, "supportedVersions" in json.loads(stdout)) == (0, True)


def test_an_agent_may_hand_the_request_back(install_front: InstallFront, run_dir: Path) -> None:
    """``full`` says that nothing was touched: the full program gets the same stdin and run directory."""
    program = install_front(full=SHOW)
    stdin = CONF + b"\0\xff" * 100_000
    with Agent(run_dir / "cni.sock", b"full\n") as agent:
        answer = call(program, stdin, CNI_COMMAND="ADD")
    assert agent.asked.endswith(stdin)
    assert answer == (0, os.fsencode(run_dir) + b"|" + stdin, b"")


HANGS = "overlay-agent has not answered %s s; see: systemctl status overlay-agent"


@pytest.mark.row("55", "R14", "R16")
@pytest.mark.parametrize("behave", [fake_agent.say_nothing, fake_agent.dawdle])
@pytest.mark.parametrize(
    ("verb", "expected"),
    [("ADD", (11, HANGS % "for 0.1")), ("STATUS", (50, HANGS % "within 0.05"))],
    ids=["ADD", "STATUS"],
)
def test_patience_ends(
    install_front: InstallFront,
    run_dir: Path,
    behave: fake_agent.Behaviour,
    verb: str,
    expected: tuple[int, str],
) -> None:
    """With an agent that hangs, and with one that never comes to the end; STATUS has less of it."""
    program = install_front(answer_s=0.1, status_s=0.05)
    with Agent(run_dir / "cni.sock", behave=behave):
        assert refusal(call(program, b"x" * (1 << 20), CNI_COMMAND=verb)) == expected


def test_an_answer_before_the_end_of_the_question_counts(program: Path, run_dir: Path) -> None:
    """An agent that refuses early closes with input unread, and sending fails."""
    with Agent(run_dir / "cni.sock", b"7\nenough", fake_agent.answer_unasked):
        assert call(program, b"x" * (1 << 20), CNI_COMMAND="ADD") == (7, b"enough", b"")


@pytest.mark.row("R19")
@pytest.mark.parametrize("size", [0, 1 << 20, MOST, MOST + 1, MOST + 100_000])
def test_stdin_travels_up_to_what_shows_that_it_is_too_long(
    program: Path, run_dir: Path, size: int
) -> None:
    """4 MiB, and one byte more for the server to see."""
    with Agent(run_dir / "cni.sock", b"0\n") as agent:
        assert call(program, b"x" * size, CNI_COMMAND="ADD") == (0, b"", b"")
    assert agent.asked.partition(b"\0\0")[2] == b"x" * min(size, MOST + 1)


def _close_stdin() -> None:
    os.close(0)


def _only_write_it() -> None:
    os.dup2(os.open("/dev/null", os.O_WRONLY), 0)


@pytest.mark.row("8")
@pytest.mark.parametrize("spoil", [_close_stdin, _only_write_it])
def test_stdin_that_cannot_be_read_is_code_5(program: Path, spoil: Callable[[], None]) -> None:
    """The specification's code for it."""
    done = subprocess.run(
        [program], capture_output=True, env={"CNI_COMMAND": "ADD"}, timeout=30, preexec_fn=spoil
    )
    code, why = refusal((done.returncode, done.stdout, done.stderr))
    assert (code, why.rstrip("0123456789")) == (5, "stdin cannot be read: errno ")


def test_a_full_program_that_is_gone_is_named(install_front: InstallFront) -> None:
    """A removed virtual environment must not make a DEL look done."""
    program = install_front(full=("/nowhere/python", "-I"))
    code, why = refusal(call(program, CONF, CNI_COMMAND="DEL"))
    assert (code, why) == (11, "the full program /nowhere/python cannot be started: errno 2")


def test_an_answer_that_nobody_takes_is_a_failure(program: Path, run_dir: Path) -> None:
    """Not a signal and not success."""
    reader, writer = os.pipe()
    os.close(reader)
    with Agent(run_dir / "cni.sock", b"0\n{}"):
        done = subprocess.run(
            [program], input=b"", stdout=writer, stderr=subprocess.PIPE, env={}, timeout=30
        )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_stdout_that_does_not_block_gets_everything(program: Path, run_dir: Path) -> None:
    """More than a pipe holds, while nobody has begun to read."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.set_blocking(reader, True)
    with Agent(run_dir / "cni.sock", b"0\n" + b"x" * 300_000), os.fdopen(reader, "rb") as file:
        process = subprocess.Popen([program], stdin=subprocess.DEVNULL, stdout=writer, env={})
        os.close(writer)
        assert file.read() == b"x" * 300_000
        assert process.wait(30) == 0
