"""What STATUS is told: it follows the loop's rounds and the lease, and never waits for either."""

import pytest

from agent.standing import PATIENCE_S, SILENT_S, NodeStanding
from cni.standing import NO_NEW_PODS, PODS_IMPAIRED, READY, Standing
from overlay.errors import NotServing


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A new one."""
    return Clock()


@pytest.fixture
def kept(clock: Clock) -> NodeStanding:
    """A loop that has been in sync once."""
    made = NodeStanding(clock)
    made.turned(in_sync=True, trouble=("", ""))
    return made


@pytest.mark.row("48", "50")
def test_in_sync_with_a_lease_is_ready(kept: NodeStanding) -> None:
    """Nothing to say then."""
    assert kept.now(lease_missing="") == Standing(READY)
    kept.now(lease_missing="").demand()


@pytest.mark.row("49", "50")
def test_without_a_lease_no_new_pods_for_the_reason_given(kept: NodeStanding) -> None:
    """Running pods are not affected."""
    found = kept.now(lease_missing="etcd does not answer")
    assert (found.code, found.reason) == (NO_NEW_PODS, "etcd does not answer")
    with pytest.raises(NotServing, match="cannot take pods: etcd does not answer") as caught:
        found.demand()
    assert caught.value.cni_code == 50


@pytest.mark.row("50")
def test_before_the_first_clean_apply_no_new_pods(clock: Clock) -> None:
    """With what stands in its way, once that is known."""
    made = NodeStanding(clock)
    assert made.now(lease_missing="").reason == "the first clean apply is still to come"
    made.turned(in_sync=False, trouble=("", "overlay.1 is somebody else's"))
    found = made.now(lease_missing="")
    assert (found.code, found.reason) == (NO_NEW_PODS, "this node: overlay.1 is somebody else's")


@pytest.mark.row("50", "51")
def test_a_short_disorder_is_none_and_a_long_one_is_51(clock: Clock, kept: NodeStanding) -> None:
    """Peers come and go all the time."""
    trouble = ("10.5.2.0-24", "EBUSY")
    clock.now += PATIENCE_S
    kept.turned(in_sync=False, trouble=trouble)
    assert kept.now(lease_missing="").code == READY
    clock.now += 1
    kept.turned(in_sync=False, trouble=trouble)
    found = kept.now(lease_missing="")
    assert (found.code, "not been in sync for 11 s: 10.5.2.0-24: EBUSY" in found.reason) == (
        PODS_IMPAIRED,
        True,
    )
    kept.turned(in_sync=True, trouble=("", ""))
    assert kept.now(lease_missing="").code == READY


@pytest.mark.row("50", "R16")
def test_a_loop_that_hangs_is_51_whatever_else_is_wrong(clock: Clock, kept: NodeStanding) -> None:
    """It is seen by its silence: nothing is asked of it."""
    clock.now += SILENT_S + 0.5
    found = kept.now(lease_missing="lost")
    assert (found.code, "hung for 30 s" in found.reason) == (PODS_IMPAIRED, True)
