"""The installed executable as a process: stdout, stderr, exit code, environment, and being killed."""

import json
import os
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.server import Server
from cni import log, main, standing
from cni.netconf import VERSIONS
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from tests.contract.cni_node import NOTHING, OWNER, Node
from tests.contract.executable import Exec
from tests.contract.plugins import plugin, verbs
from tests.contract.spaces import inside
from tests.contract.waiting import until

pytestmark = pytest.mark.contract

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
GOOD = {"cniVersion": "1.0.0", "ips": [{"address": "10.5.1.40/24"}]}


@pytest.fixture
def programs(node: Node, tmp_path: Path) -> Exec:
    """No agent: the executable becomes the full program."""
    return Exec.install(node, tmp_path / "bin")


@pytest.mark.row("1", "2", "17", "21", "23", "4")
def test_a_pods_life_by_the_executable(programs: Exec, pod: Path) -> None:
    """No HOME, no terminal, / as directory: a result and nothing else, then silence."""
    added = programs.run("ADD", pod)
    assert (added.code, added.stderr, added.answer["cniVersion"]) == (0, "", "1.0.0")
    assert added.stdout.count("\n") == 1
    inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
    for verb, more in (
        ("CHECK", {"prevResult": added.answer}),
        ("GC", {}),
        ("DEL", {}),
        ("DEL", {}),
    ):
        config: dict[str, Any] = {**more}
        said = programs.run(verb, pod, **config)
        assert (said.code, said.stdout, said.stderr) == (0, "", "")
    assert programs.node.left() == NOTHING


@pytest.mark.row("2", "3", "R23", "R14")
def test_a_failure_is_json_on_stdout_with_its_cause(programs: Exec) -> None:
    """libcni shows msg and details, and of stderr nothing."""
    said = programs.run("ADD", "/run/netns/none")
    assert (said.code, said.stderr, said.answer["code"]) == (1, "", 4)
    assert "/run/netns/none" in said.answer["msg"]
    assert said.answer.keys() >= {"cniVersion", "code", "msg"}


@pytest.mark.row("63", "64", "R6", "R19")
@pytest.mark.parametrize("stdin", [b"", b'{"cniVersion":"0.4.0"}', b"\xff"])
def test_version_needs_nothing_at_all(programs: Exec, stdin: bytes) -> None:
    """ocicni asks each plugin of a list, before there is an agent, and drops what does not answer."""
    done = subprocess.run(
        [programs.bin_dir / "overlay"],
        input=stdin,
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert answer["supportedVersions"] == list(VERSIONS)
    assert answer["cniVersion"] == ("0.4.0" if stdin.startswith(b"{") else "1.1.0")


@pytest.mark.row("R27", "7")
def test_started_by_hand_it_says_what_it_is(programs: Exec) -> None:
    """Without CNI_COMMAND."""
    done = subprocess.run([programs.bin_dir / "overlay"], input=b"", env={}, capture_output=True)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["code"]) == (1, 4)
    assert "CNI_COMMAND is missing" in answer["msg"]
    assert "container runtime" in answer["details"]


@pytest.mark.row("R19")
def test_annotations_of_any_length_are_read(programs: Exec, pod: Path) -> None:
    """256 KiB, more than a pipe holds."""
    notes = {"io.kubernetes.cri.pod-annotations": {"a": "x" * (256 << 10)}}
    assert programs.run("ADD", pod, runtimeConfig=notes).code == 0
    assert programs.run("DEL", pod).code == 0


@pytest.mark.row("13", "80")
@pytest.mark.parametrize("args", [b"K8S_POD_NAME=\xff", b"\xff=1", b"IgnoreUnknown=1;IP=\xff"])
def test_variables_that_are_no_text_get_an_answer(programs: Exec, pod: Path, args: bytes) -> None:
    """Bytes that are no UTF-8: the pod is served or refused, in JSON either way."""
    said = programs.run("ADD", pod, environ={"CNI_ARGS": os.fsdecode(args)})
    assert said.stderr == ""
    assert (said.code == 0) == ("ips" in said.answer)
    assert programs.run("DEL", pod).code == 0
    assert programs.node.left() == NOTHING


@pytest.mark.row("R27")
def test_the_trace_is_logged_with_the_timings_and_a_forged_one_is_not(
    programs: Exec, pod: Path
) -> None:
    """One line per call; neither a trace nor a pod's name makes another line or another field."""
    evil = "web trace=evil\nADD done pod=forged"
    programs.run("ADD", pod, environ={"TRACEPARENT": TRACE})
    programs.run("DEL", pod, environ={"TRACEPARENT": "x\ny trace=evil"})
    args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={evil}"
    programs.run("ADD", pod, environ={"CNI_ARGS": args, "TRACEPARENT": "x" * 200})
    lines = (programs.node.run_dir / log.LOG_NAME).read_text().splitlines()
    assert [line.split()[1:3] for line in lines] == [
        ["ADD", "done"],
        ["DEL", "done"],
        ["ADD", "done"],
    ]
    assert f"trace={TRACE}" in lines[0]
    assert "veth=" in lines[0]
    assert "trace=" not in lines[1]
    assert "pod=default/web?trace=evil?ADD" in lines[2]
    assert " trace=" not in lines[2]


@pytest.mark.row("80", "37", "34")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_add_that_is_killed_is_undone_by_the_del(
    programs: Exec, pod: Path, number: signal.Signals
) -> None:
    """While the IPAM plugin is at work, which is told by the journal although the configuration is lost."""
    slow = plugin(programs.bin_dir, "slow", answer=GOOD, hangs=("ADD",))
    body = {"cniVersion": "1.0.0", "name": "overlay", "type": "overlay", "ipam": {"type": "slow"}}
    with subprocess.Popen(
        ["nsenter", f"--net={programs.node.space}", "--", str(programs.bin_dir / "overlay")],
        env=programs.environ("ADD", pod),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as child:
        assert child.stdin
        child.stdin.write(json.dumps(body).encode())
        child.stdin.close()
        until(lambda: verbs(slow) == ["ADD"])
        child.send_signal(number)
        child.wait(30)
        os.killpg(child.pid, signal.SIGKILL)  # the plugin that it left behind
    assert programs.node.journals() == [OWNER.place]
    assert programs.run("DEL", pod).code == 0
    assert verbs(slow) == ["ADD", "DEL"]
    assert programs.node.left() == NOTHING


@pytest.mark.row("65", "R5")
def test_with_an_agent_a_delegated_add_is_handed_back_and_done(programs: Exec, pod: Path) -> None:
    """Agent's socket, the executable, the full program, the IPAM plugin: all of them real."""
    good = plugin(programs.bin_dir, "good", answer=GOOD)
    node, served = programs.node, []

    def serve(environ: dict[str, str], stdin: bytes, steps: Steps) -> tuple[int, bytes]:
        answer = main.run(
            environ, stdin, node.run_dir, standing=standing.Standing(0), steps=steps, alone=False
        )
        served.append((environ["CNI_COMMAND"], answer[0]))
        return answer

    def listen() -> Server:  # its threads live in the node's namespace
        path = node.run_dir / "cni.sock"
        return Server(
            path,
            cni=serve,  # type: ignore[arg-type]
            ctl=lambda _: {"code": 0},
            late=main.too_late,
            told=lambda *_: None,
        )

    with closing(run_inside(node.space, listen)):
        assert programs.run("ADD", pod, ipam={"type": "good"}).code == 0
        assert programs.run("STATUS", "", ipam={"type": "good"}).code == 0
        assert programs.run("DEL", pod).code == 0
        assert programs.run("ADD", pod).code == 0
        assert programs.run("DEL", pod).code == 0
    full = main.FULL
    assert served == [("ADD", full), ("STATUS", full), ("DEL", full), ("ADD", 0), ("DEL", 0)]
    assert verbs(good) == ["ADD", "STATUS", "DEL"]
    assert node.left() == NOTHING
