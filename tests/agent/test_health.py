"""What /healthz and /readyz mean: alive is a loop that goes round, ready a node that takes pods."""

import threading
import time
from collections.abc import Callable

import pytest

from agent import health
from agent.health import Pulse
from agent.loop import Loop
from agent.reconcile import Reconciler
from cni.standing import NO_NEW_PODS, READY, Standing
from tests.agent.one_node import Node


def until(condition: Callable[[], bool]) -> None:
    """Look again and again: it is a matter of milliseconds."""
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends


@pytest.mark.parametrize(
    ("pulse", "word"),
    [
        (Pulse(1.0), ""),
        (Pulse(31.0), "hung for 31 s"),
        (Pulse(1.0, failed="KeyError(1)"), "KeyError"),
        (Pulse(1.0, lost={"watch"}), "watch"),
    ],
)
def test_healthy_is_a_loop_that_goes_round_and_threads_that_live(pulse: Pulse, word: str) -> None:
    """Else the reason, in one line."""
    why = health.ailing(pulse)

    assert word in why
    assert bool(why) is bool(word)
    assert "\n" not in why


def test_a_loop_that_hangs_is_not_alive_until_it_comes_back() -> None:
    """A real loop with a job that blocks: the time since its last round says so."""
    loop = Loop(Node().reconciler, round_s=0.01, after_round=lambda _: None)
    hang = threading.Event()

    def block(_: Reconciler) -> None:
        hang.wait(20)

    def ailing() -> str:
        return health.ailing(Pulse(time.monotonic() - loop.turned_at), limit_s=0.05)

    loop.start()
    try:
        loop.post(block)
        until(lambda: "has hung" in ailing())
        hang.set()
        until(lambda: not ailing())
    finally:
        hang.set()
        loop.stop()
        loop.join(20)


def test_ready_is_a_node_that_takes_pods() -> None:
    """A lease in doubt, a hung loop, no free address: each is a reason."""
    assert not health.unready(Standing(READY))
    assert "no lease" in health.unready(
        Standing(NO_NEW_PODS, "no lease is held", "overlayctl status")
    )
    assert "10.5.1.0/24" in health.unready(Standing(READY), full=["10.5.1.0/24"])
    assert health.unready(Standing(READY), paged=False)
    assert health.unready(Standing(READY), ailing="hung") == "hung"


def test_a_runtime_that_cannot_start_a_pod_makes_a_node_unready() -> None:
    """However ready the network is."""
    assert health.unready(Standing(READY)) == ""
    assert "is empty" in health.unready(Standing(READY), barred="CNI executable: it is empty")
