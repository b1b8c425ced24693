"""The executable: it forwards to the agent, becomes the full program without one, and is light."""

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cni import front, install
from overlay.errors import BadConfig

CONF = b'{"cniVersion":"1.0.0","name":"overlay","type":"overlay"}'


class Agent:
    """A fake agent: answers one request with fixed bytes, and keeps what it was sent."""

    def __init__(self, path: Path, answer: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.asked = b""
        self._answer = answer
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self._listener.settimeout(20)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as client:
            while part := client.recv(65536):
                self.asked += part
            client.sendall(self._answer)

    def close(self) -> None:
        """Wait for the one request."""
        self._thread.join(20)


@pytest.fixture
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory whose path is short enough for a socket."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def program(tmp_path: Path, run_dir: Path) -> Path:
    """The installed executable, its baked run directory being ``run_dir``."""
    return install.install(tmp_path / "bin", run_dir=str(run_dir))


def _call(program: Path, stdin: bytes, **environ: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run([program], input=stdin, capture_output=True, env=environ, timeout=30)
    return done.returncode, done.stdout, done.stderr


def test_the_agent_gets_variables_and_stdin_and_its_answer_is_relayed(
    program: Path, run_dir: Path
) -> None:
    """Only CNI's and the trace's variables travel; exit code and stdout come back as they are."""
    agent = Agent(run_dir / "cni.sock", b'1\n{"code":11}\n')

    answer = _call(
        program, CONF, CNI_COMMAND="ADD", CNI_NETNS="", TRACEPARENT="00-1", SECRET="x", HOME="/"
    )
    agent.close()

    head, _, stdin = agent.asked.partition(b"\0\0")
    magic, *pairs = head.split(b"\0")
    assert magic == b"overlay-cni/1"
    assert set(pairs) == {b"CNI_COMMAND=ADD", b"CNI_NETNS=", b"TRACEPARENT=00-1"}
    assert stdin == CONF
    assert answer == (1, b'{"code":11}\n', b"")


def test_without_an_agent_it_serves_the_request_itself(program: Path) -> None:
    """Large input included: it is handed on through a file in memory."""
    stdin = CONF[:-1] + b',"pad":"' + b"x" * 300_000 + b'"}'
    code, stdout, stderr = _call(program, stdin, CNI_COMMAND="STATUS")
    assert (code, json.loads(stdout)["code"], stderr) == (1, 50, b"")


def test_a_stale_socket_is_as_good_as_none(program: Path, run_dir: Path) -> None:
    """An agent that was killed leaves one behind."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(run_dir / "cni.sock"))
    code, stdout, _ = _call(program, b"", CNI_COMMAND="VERSION")
    assert (code, "supportedVersions" in json.loads(stdout)) == (0, True)


@pytest.mark.parametrize("answer", [b"", b"garbage"])
def test_an_agent_that_breaks_off_may_be_asked_again(
    program: Path, run_dir: Path, answer: bytes
) -> None:
    """Code 11, never silence: the agent may have been at work already."""
    agent = Agent(run_dir / "cni.sock", answer)
    code, stdout, stderr = _call(program, CONF, CNI_COMMAND="ADD")
    agent.close()
    assert (code, json.loads(stdout)["code"], stderr) == (1, 11, b"")


def test_environment_goes_before_configuration_before_what_was_installed(
    program: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Three places may name the run directory."""
    other = tmp_path_factory.mktemp("o")
    conf = json.dumps({"name": "overlay", "cniVersion": "1.0.0", "runDir": str(other)}).encode()
    for environ, place in ({}, other), ({"OVERLAY_RUN_DIR": str(run_dir)}, run_dir):
        agent = Agent(place / "cni.sock", b"0\n")
        assert _call(program, conf, CNI_COMMAND="DEL", **environ) == (0, b"", b"")
        agent.close()
        (place / "cni.sock").unlink()


def test_a_pods_annotations_cannot_move_the_run_directory(program: Path, run_dir: Path) -> None:
    """Only the configuration's own key counts, not one further down."""
    body = {"name": "overlay", "runtimeConfig": {"annotations": {"runDir": "/nowhere"}}}
    agent = Agent(run_dir / "cni.sock", b"0\n")
    assert _call(program, json.dumps(body).encode(), CNI_COMMAND="DEL")[0] == 0
    agent.close()


def test_the_front_imports_next_to_nothing(run_dir: Path) -> None:
    """Its start is most of an ADD's time: everything loaded is builtin or what Python itself needs."""
    text = front.render(python=sys.executable, run_dir=str(run_dir), full=["/bin/false"])
    assert _loaded(text.replace('"__main__"', '"never"'), "-ISE") <= 30


def test_the_full_program_leaves_the_heavy_modules_out() -> None:
    """VERSION and bad input must not pay for what they do not use."""
    names = _modules("import cni.main", "-I", f"import sys; sys.path.insert(0, {os.getcwd()!r});")
    assert not names & {"pyroute2", "asyncio", "argparse", "http", "logging", "grpc", "subprocess"}


def test_a_relative_run_directory_is_refused(tmp_path: Path) -> None:
    """A plugin may be started anywhere."""
    with pytest.raises(BadConfig, match="run-dir is 'run'"):
        install.install(tmp_path, run_dir="run")


def test_the_executable_is_nobody_elses_to_write(program: Path) -> None:
    """Mode 0755, no setuid bit, nothing else in the directory."""
    assert program.stat().st_mode & 0o7777 == 0o755
    assert [path.name for path in program.parent.iterdir()] == ["overlay"]


def _loaded(code: str, flags: str) -> int:
    return len(_modules(code, flags))


def _modules(code: str, flags: str, before: str = "") -> set[str]:
    tail = "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, flags, "-c", f"{before}\n{code}{tail}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())
