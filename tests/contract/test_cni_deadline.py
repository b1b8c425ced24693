"""A request that hangs is answered in time, says in which step it was, and leaves nothing when it wakes up."""

import itertools
import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from agent.server import Server
from cni import install, lock, main
from cni.owner import Owner
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.faults import Faulty, addresses_in, environ_of
from tests.contract.spaces import difference, picture

pytestmark = pytest.mark.contract

PLACE = Owner("overlay", "c1", "eth0").place
MOST_MOMENTS = 100
CONFIG = json.dumps({"cniVersion": "1.1.0", "name": "overlay", "type": "overlay"}).encode()


@pytest.fixture
def pod() -> Iterator[Path]:
    """An empty pod."""
    with spaces.namespace() as made:
        yield made


@pytest.mark.parametrize("verb", ["ADD", "DEL", "CHECK"])
def test_the_executable_is_answered_while_its_request_still_hangs(
    faulty: Faulty, pod: Path, tmp_path: Path, verb: str
) -> None:
    """Code 11 with the step, from the agent's server; the request that wakes up late leaves nothing."""
    run_dir, space = faulty.node.run_dir, faulty.node.space
    bin_dir = tmp_path / "bin"
    bin_dir.mkdir()
    program, _ = install.install(bin_dir, run_dir=str(run_dir))
    server = Server(
        run_dir / "cni.sock",
        cni=lambda environ, stdin, steps: run_inside(
            space, lambda: main.run(environ, stdin, run_dir, steps=steps, alone=False)
        ),
        ctl=lambda question: question,
        late=main.too_late,
        told=lambda *_: None,
        limit_s=1.0,
    )
    try:
        with lock.held(run_dir, PLACE, Steps()):
            done = subprocess.run(
                [str(program)],
                input=CONFIG[:-1] + b',"prevResult":{"cniVersion":"1.1.0"}}',
                env=environ_of(verb, pod, "c1"),
                capture_output=True,
                timeout=30,
                check=False,
            )
    finally:
        server.close()

    answer = json.loads(done.stdout)
    assert (done.returncode, answer["code"]) == (1, 11)
    assert "not done after 1 s: it hung in step 'lock'" in answer["msg"]
    assert (faulty.files(), faulty.links(), addresses_in(pod)) == ([], [], set())


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_request_whose_time_is_up_at_any_moment_says_so_and_undoes_itself(
    faulty: Faulty, pod: Path, verb: str
) -> None:
    """The clock jumps before its N-th look, for each N: an ADD leaves nothing, a DEL can be repeated."""
    before = picture(faulty.node.space)
    steps_hit = set()
    for moment in range(1, MOST_MOMENTS):
        if verb == "DEL":
            assert "ips" in faulty.call("ADD", pod, "c1")
        code, stdout = _call_with(faulty, _jumping(moment), environ_of(verb, pod, "c1"))
        if code == 0:
            break
        answer = json.loads(stdout)
        assert (answer["code"], "it hung in step" in answer["msg"]) == (11, True)
        steps_hit.add(answer["msg"])
        if verb == "ADD":
            assert (faulty.files(), faulty.links(), addresses_in(pod)) == ([], [], set())
        assert faulty.call("DEL", pod, "c1") == {}
    else:
        pytest.fail("no end")

    assert len(steps_hit) >= (5 if verb == "ADD" else 2), steps_hit
    assert faulty.call("DEL", pod, "c1") == {}
    assert faulty.files() == []
    assert difference(before, picture(faulty.node.space)) == []


def _jumping(moment: int) -> Steps:
    """A clock that jumps beyond the deadline before its ``moment``-th look."""
    looks = itertools.count()
    return Steps(limit_s=60, clock=lambda: 0.0 if next(looks) < moment else 1000.0)


def _call_with(faulty: Faulty, steps: Steps, environ: Mapping[str, str]) -> tuple[int, bytes]:
    return run_inside(
        faulty.node.space,
        lambda: main.run(environ, CONFIG, faulty.node.run_dir, steps=steps),
    )
