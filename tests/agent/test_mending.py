"""mending: one incident is one line and one deed, however long it could not be mended; and what is none is not told."""

import logging
from ipaddress import ip_address, ip_network

import pytest

from agent.backlog import RETRY_FIRST_S
from agent.culprits import Sign
from agent.drift import FIGHT
from agent.events import Put
from agent.undone import device
from overlay.errors import ForeignObject, KernelBusy, KernelRefused, OverlayError
from overlay.keys import neighbour_key, route_key
from overlay.model import Step
from tests.agent.fake_kernel import FakeKernel
from tests.agent.one_node import Node, lease, mended, snapshot, turn, undo
from tests.examples import ME, NETWORK

ROUTE_2 = route_key(ip_network("10.5.2.0/24"))
NEIGHBOUR_2 = neighbour_key("overlay.1", ip_address("10.5.2.0"))
TUNNEL = ("link", "overlay.1")
GONE = Sign(seen="was deleted")


class Occupied(FakeKernel):
    """Somebody else's device stands in the place of ours while ``taken``; what hangs on ours needs it."""

    taken = False

    def _one(self, step: Step) -> OverlayError | None:
        if self.taken and step.object.key == TUNNEL:
            return ForeignObject("a bridge of that name is there", errno=17)
        if device(step.object) == "overlay.1" and TUNNEL not in self.state:
            return KernelRefused("device overlay.1 is not there (yet)", errno=19)
        return super()._one(step)


@pytest.fixture
def node(caplog: pytest.LogCaptureFixture) -> Node:
    """A node in sync with two peers."""
    made = Node()
    made.kernel = Occupied()
    made.reconciler = made.born()
    made.reconciler.set_node(NETWORK, ME)
    made.reconciler.on_event(snapshot(1, 2, 3))
    made.settle()
    caplog.set_level(logging.INFO)
    caplog.clear()
    return made


def test_a_device_whose_place_was_taken_for_a_while_is_one_deed(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried ever more rarely meanwhile; once the place is free, neither it nor its peers wait for that."""
    kernel = node.kernel
    assert isinstance(kernel, Occupied)
    kernel.taken = True
    for key in [key for key in kernel.state if "overlay.1" in str(key)] + [ROUTE_2]:
        kernel.lose(key)
    node.reconciler.kernel_changed(signs={TUNNEL: Sign("", "lost our mark (its alias)")})
    for _ in range(100):
        turn(node, 2)
    assert mended(caplog) == []

    kernel.taken = False
    node.reconciler.kernel_changed(after_s=0.1, signs={TUNNEL: GONE})
    turn(node, 0.1)
    assert ROUTE_2 in kernel.state
    (line,) = mended(caplog)
    assert "device overlay.1 was deleted, 8 entries with it: put back" in line


def test_what_is_wanted_otherwise_by_now_was_undone_by_nobody(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """A way that went with its link, and a peer that changed before what it had could be put back: no fight."""
    for number in range(FIGHT + 1):
        undo(node, NEIGHBOUR_2, GONE)
        node.kernel.fail_next[NEIGHBOUR_2] = KernelBusy("no device")
        turn(node, 0.2)
        node.reconciler.on_event(Put(lease(2, mac=0x22 + number, mod=11 + number)))
        turn(node, 0.2)
        assert NEIGHBOUR_2 in node.kernel.state

    assert mended(caplog) == []
    assert node.reconciler.drift.fights(node.clock.now) == {}
    assert node.reconciler.in_sync


def test_what_waits_is_told_by_what_was_said_of_it(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Refused at first, as while an interface is down; reads go on meanwhile."""
    node.kernel.fail_next[ROUTE_2] = KernelBusy("the network is down")
    undo(node, ROUTE_2, GONE)
    turn(node, 0.2)
    turn(node, 2 * RETRY_FIRST_S)

    (line,) = mended(caplog)
    assert "route 10.5.2.0/24 was deleted: put back" in line
