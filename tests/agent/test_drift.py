"""drift: what others undid is told by its root, a fight is recognised, paced by object, named, and over when calm."""

import logging
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.culprits import Sign
from agent.drift import CALM_S, FIGHT, GAP_MOST_S, Drift
from agent.processes import Process
from overlay.errors import KernelBusy
from overlay.keys import neighbour_key, route_key
from overlay.model import Action, FdbEntry, Neighbour, Route, Vxlan
from tests.agent.one_node import Node, mended, objects, snapshot, turn, undo
from tests.examples import ME, NETWORK

ROUTE_2 = route_key(ip_network("10.5.2.0/24"))
ROUTE_3 = route_key(ip_network("10.5.3.0/24"))
GONE = Sign()


@pytest.fixture
def node(caplog: pytest.LogCaptureFixture) -> Node:
    """A node in sync with two peers; systemd-networkd runs beside it."""
    made = Node()
    made.drift = Drift(running=lambda: [Process(7, "systemd-network")])
    made.reconciler = made.born()
    made.reconciler.set_node(NETWORK, ME)
    made.reconciler.on_event(snapshot(1, 2, 3))
    made.settle()
    caplog.set_level(logging.INFO)
    caplog.clear()
    return made


def test_one_line_says_what_was_changed_mended_and_by_whom(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """The programs that run here and are known for it are suspects."""
    undo(node, ROUTE_2, Sign(seen="was deleted"))
    turn(node, 0.2)

    (line,) = mended(caplog)
    assert "route 10.5.2.0/24 was deleted: put back" in line
    assert "systemd-network (pid 7)" in line


def test_a_lost_device_is_one_deed_however_much_hung_on_it(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Its addresses, routes and entries went with it."""
    for key in [key for key in node.kernel.state if "overlay.1" in str(key)] + [ROUTE_2, ROUTE_3]:
        node.kernel.lose(key)
    node.reconciler.kernel_changed()
    node.settle()

    (line,) = mended(caplog)
    assert "device overlay.1 was gone, 9 entries with it: put back" in line
    (entry,) = node.reconciler.drift.history.page().entries
    assert (entry.object, entry.change, entry.count) == ("device overlay.1", "was gone", 1)


def test_a_device_that_is_up_again_but_lost_its_routes_is_named(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """The kernel drops routes with a device that goes down, and tells nobody of them."""
    for key in (ROUTE_2, ROUTE_3):
        node.kernel.lose(key)
    node.reconciler.kernel_changed(signs={("link", "overlay.1"): Sign("up", "was set down")})
    node.settle()

    (line,) = mended(caplog)
    assert "device overlay.1 was set down and is as it was again, but lost 2 entries" in line


def test_a_fight_is_said_once_with_what_to_do_and_shown_until_it_is_calm(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """From the fourth time on; afterwards only history and status tell of it."""
    for _ in range(FIGHT + 4):
        undo(node, ROUTE_2)
        turn(node, GAP_MOST_S)

    (warning,) = [text for text in caplog.messages if " undone " in text and "next:" in text]
    assert "/etc/systemd/network/00-overlay.network" in warning
    assert len(mended(caplog)) == FIGHT
    (shown,) = node.reconciler.drift.fights(node.clock.now)
    assert shown == "fight over route 10.5.2.0/24"
    turn(node, CALM_S)
    assert node.reconciler.drift.fights(node.clock.now) == {}
    assert any("calm again: route 10.5.2.0/24" in text for text in caplog.messages)


def test_a_fight_is_throttled_and_holds_up_no_other_repair(node: Node) -> None:
    """The pause is the object's own; a full read for another leaves it alone."""
    for _ in range(FIGHT + 3):
        undo(node, ROUTE_2)
        turn(node, 3)
    undo(node, ROUTE_2)
    turn(node, 0.2)
    assert ROUTE_2 not in node.kernel.state

    undo(node, ROUTE_3)
    turn(node, 0.2)
    assert ROUTE_3 in node.kernel.state
    assert ROUTE_2 not in node.kernel.state

    turn(node, GAP_MOST_S)
    assert ROUTE_2 in node.kernel.state


def test_other_fates_of_one_object_are_no_fight(node: Node) -> None:
    """A device whose MAC is fought over comes back at once when it is deleted."""
    link = ("link", "overlay.1")
    for number in range(FIGHT + 3):
        device = node.kernel.state[link]
        assert isinstance(device, Vxlan)
        node.kernel.state[link] = replace(device, mac=f"02:00:00:00:01:{number:02x}")
        node.reconciler.kernel_changed(signs={link: Sign("mac")})
        turn(node, 3)

    undo(node, link)
    turn(node, 0.2)
    assert link in node.kernel.state


def test_what_is_lost_with_a_change_prolongs_no_pause_of_the_device(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """A MAC that changes takes all neighbours with it: they are paced as well, by a pause of their own."""
    link, neighbour = ("link", "overlay.1"), neighbour_key("overlay.1", ip_address("10.5.2.0"))
    for _ in range(FIGHT + 3):
        node.kernel.lose(neighbour)
        node.reconciler.kernel_changed(after_s=0.1, signs={link: Sign("mac")})
        turn(node, 3)

    assert "device overlay.1 was changed, but lost 1 entry: put back" in mended(caplog)[0]
    drift, device = node.reconciler.drift, node.kernel.state[link]
    assert drift.paused_until(link, "mac", device) == 0
    peer = node.reconciler.wants(neighbour)
    assert drift.paused_until(neighbour, "gone", peer) > node.clock.now


def test_many_at_once_are_one_deed(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """`ip route flush` by a program, again and again, is one fight, paced as one."""
    peers = range(2, 32)
    node.reconciler.on_event(snapshot(1, *peers))
    node.settle()
    for _ in range(FIGHT + 2):
        routes = [
            item.key for number in peers for item in objects(number) if isinstance(item, Route)
        ]
        for key in routes:
            node.kernel.lose(key)
        node.reconciler.kernel_changed(signs=dict.fromkeys(routes, GONE))
        turn(node, 3)

    assert "many routes (30, such as route 10.5.10.0/24) were gone: put back" in mended(caplog)[0]
    assert len(node.reconciler.drift.fights(node.clock.now)) == 1


def test_a_route_that_took_the_place_of_ours_yields(node: Node) -> None:
    """We had it, so whatever stands there is replaced, not merely reported."""
    undo(node, ROUTE_2, Sign(seen="led via 192.0.2.254 dev eth0", protocol=16))
    turn(node, 0.2)

    step = node.kernel.log[-1]
    assert (step.action.value, step.object.key) == ("replace", ROUTE_2)
    assert "a DHCP client" in node.reconciler.drift.history.page().entries[0].culprit


def test_a_route_that_was_fought_over_yields_after_its_pause_whatever_was_read_meanwhile(
    node: Node,
) -> None:
    """Other damages have the kernel read during the pause, where ours is known to be gone already."""
    for _ in range(FIGHT + 2):
        undo(node, ROUTE_2, Sign(protocol=4))
        turn(node, 10)
    undo(node, ROUTE_2, Sign(protocol=4))
    undo(node, ROUTE_3)
    turn(node, 0.2)
    undo(node, ROUTE_3)
    turn(node, 0.2)
    assert ROUTE_2 not in node.kernel.state
    turn(node, GAP_MOST_S)

    last = [step for step in node.kernel.log if step.object.key == ROUTE_2][-1]
    assert last.action is Action.REPLACE


def test_a_damage_that_waits_is_not_held_up_by_what_fails(node: Node) -> None:
    """A refused table keeps the node's entry waiting for up to a minute; a lost device is news all the same."""
    table = ("nft", "inet overlay")
    for _ in range(6):
        node.kernel.state.pop(table, None)
        node.kernel.fail_next[table] = KernelBusy("no buffer space")
        node.reconciler.kernel_changed()
        turn(node, 40)
    node.kernel.fail_next[table] = KernelBusy("no buffer space")
    undo(node, ("link", "overlay0"))
    turn(node, 0.2)

    assert ("link", "overlay0") in node.kernel.state


def test_kinds_are_what_operators_call_them(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A neighbour by its address, an entry by its MAC."""
    for item in objects(2):
        if isinstance(item, Neighbour | FdbEntry):
            node.kernel.lose(item.key)
    node.reconciler.kernel_changed()
    node.settle()

    (line,) = mended(caplog)
    assert "neighbour 10.5.2.0 dev overlay.1 was gone" in line
    assert "fdb entry 02:00:00:00:00:02 dev overlay.1 was gone" in line
