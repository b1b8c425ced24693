"""reconcile: the gate, dirty peers only, failures alone, repair, and nothing changed twice."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.backlog import REFUSED_TIMES, RETRY_MOST_S
from agent.events import Gone, NetworkChanged, Put, Snapshot, Unreadable
from overlay.errors import ForeignObject, KernelBusy, KernelRefused
from overlay.keys import neighbour_key, route_key
from overlay.model import FdbEntry, Neighbour, Route
from tests.agent.one_node import Node, lease, objects, snapshot
from tests.examples import ME, NETWORK


@pytest.fixture
def node() -> Node:
    """A node with a lease that has seen three leases and is in sync."""
    made = Node()
    made.reconciler.set_node(NETWORK, ME)
    made.reconciler.on_event(snapshot(1, 2, 3))
    made.settle()
    assert made.reconciler.in_sync
    return made


def test_nothing_is_touched_before_the_snapshot_and_the_lease() -> None:
    """The gate: stale entries may be a healthy peer's, so neither half alone opens it."""
    node = Node()
    stale = Route(ip_network("10.5.9.0/24"), ip_address("10.5.9.0"), "overlay.1")
    node.kernel.state[stale.key] = stale

    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(Put(lease(2)))
    node.settle()
    assert node.kernel.log == []

    node.reconciler.on_event(snapshot(1, 2))
    node.settle()
    assert node.kernel.deleted() == [str(stale)]
    assert objects(2) <= set(node.kernel.state.values())


def test_the_others_are_counted_without_being_listed(node: Node) -> None:
    """Every round says how many there are; ours is none of them."""
    assert node.reconciler.demand.count == len(node.reconciler.demand.peers()) == 2


def test_a_second_start_changes_nothing(node: Node) -> None:
    """A new agent with no memory finds the kernel right."""
    before = node.kernel.changes

    node.reconciler = node.born()
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(1, 2, 3))
    node.settle()

    assert node.reconciler.in_sync
    assert node.kernel.changes == before


def test_one_peers_change_touches_its_own_objects_only(node: Node) -> None:
    """And reads nothing back: the mirror is enough."""
    node.kernel.log.clear()
    reads = node.kernel.reads

    node.reconciler.on_event(Put(lease(4)))
    node.settle()

    assert {step.object for step in node.kernel.log} == objects(4)
    assert node.kernel.reads == reads


def test_a_new_mac_leaves_no_old_entry(node: Node) -> None:
    """Same key, other value, and the old FDB entry goes last."""
    node.kernel.log.clear()

    node.reconciler.on_event(Put(lease(2, mac=0x22, mod=11)))
    node.settle()

    assert objects(2) & set(node.kernel.state.values()) == {
        item for item in objects(2) if isinstance(item, Route)
    }
    assert isinstance(node.kernel.log[-1].object, FdbEntry)
    assert objects(2, mac=0x22) <= set(node.kernel.state.values())


def test_a_peer_gone_is_removed_route_first(node: Node) -> None:
    """And the others stay."""
    node.kernel.log.clear()

    node.reconciler.on_event(Gone("10.5.2.0-24", 12))
    node.settle()

    assert [type(step.object) for step in node.kernel.log] == [Route, Neighbour, FdbEntry]
    assert objects(3) <= set(node.kernel.state.values())


def test_an_unreadable_record_never_removes_a_peer(node: Node) -> None:
    """Neither as an event nor in a list; it is counted."""
    node.reconciler.on_event(Unreadable("10.5.2.0-24", "not JSON"))
    node.reconciler.on_event(
        Snapshot(
            {"10.5.1.0-24": lease(1), "10.5.3.0-24": lease(3)}, {"10.5.2.0-24": "not JSON"}, 20
        )
    )
    node.settle()

    assert node.kernel.deleted() == []
    assert node.reconciler.demand.roll.unreadable == {"10.5.2.0-24": "not JSON"}


def test_a_snapshot_is_compared_by_whole_values(node: Node) -> None:
    """After a compaction the peer that changed while we were away is a change."""
    changed = lease(2, mac=0x22, mod=30)
    node.reconciler.on_event(Snapshot({item.key: item for item in (lease(1), changed)}, {}, 31))
    node.settle()

    assert objects(2, mac=0x22) <= set(node.kernel.state.values())
    assert not objects(3) & set(node.kernel.state.values())


def test_a_failing_peer_waits_alone_and_is_tried_again(node: Node) -> None:
    """Its sibling in the same batch is done at once; the failure is named; time heals it."""
    node.kernel.fail_next[neighbour_key("overlay.1", ip_address("10.5.4.0"))] = KernelBusy(
        "no buffer space"
    )

    node.reconciler.on_event(Put(lease(4)))
    node.reconciler.on_event(Put(lease(5)))
    node.settle()

    assert objects(5) <= set(node.kernel.state.values())
    assert not node.reconciler.in_sync
    assert node.reconciler.trouble() == {"10.5.4.0-24": "no buffer space"}

    node.clock.now += RETRY_MOST_S
    node.settle()
    assert objects(4) <= set(node.kernel.state.values())
    assert node.reconciler.in_sync


def test_a_trouble_has_the_command_that_shows_it(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """In the status and in the log."""
    why, hint = "a bridge named overlay.1 is there", "look: ip -d link show overlay.1"
    key = route_key(ip_network("10.5.4.0/24"))
    node.kernel.fail_next[key] = ForeignObject(why, errno=17, hint=hint)
    node.reconciler.on_event(Put(lease(4)))
    node.settle()
    assert node.reconciler.trouble() == {"10.5.4.0-24": f"{why}; {hint}"}
    assert f"first=10.5.4.0-24: {why}; {hint}" in caplog.text


def test_a_record_that_the_kernel_refuses_keeps_no_node_from_taking_pods() -> None:
    """One bad record in etcd must not cost every node that starts its readiness; nor is it tried less often."""
    node = Node()
    key = route_key(ip_network("10.5.4.0/24"))
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(1, 2, 4))
    for attempt in range(REFUSED_TIMES):
        assert not node.reconciler.serving, attempt
        node.kernel.fail_next[key] = KernelRefused("Nexthop has invalid gateway", errno=22)
        node.clock.now += RETRY_MOST_S
        node.settle()
    assert (node.reconciler.serving, node.reconciler.synced_once) == (True, True)
    assert not node.reconciler.in_sync
    assert node.reconciler.trouble() == {"10.5.4.0-24": "Nexthop has invalid gateway"}
    node.clock.now += RETRY_MOST_S
    node.settle()
    assert node.reconciler.in_sync


def test_old_objects_of_a_peer_stay_until_the_new_ones_are_in(node: Node) -> None:
    """A half-done MAC change must not take the working entry away."""
    node.kernel.fail_next[neighbour_key("overlay.1", ip_address("10.5.2.0"))] = KernelBusy(
        "no buffer space"
    )

    node.reconciler.on_event(Put(lease(2, mac=0x22, mod=11)))
    node.settle()

    assert objects(2) <= set(node.kernel.state.values())


@pytest.mark.parametrize("kind", [Route, Neighbour, FdbEntry])
def test_what_somebody_else_deletes_is_mended_and_said(node: Node, kind: type) -> None:
    """At the next full read, or as soon as the kernel says that something changed."""
    victim = next(item for item in objects(2) if isinstance(item, kind))
    node.kernel.lose(victim.key)  # type: ignore[attr-defined]

    node.reconciler.kernel_changed()
    node.settle()

    assert objects(2) <= set(node.kernel.state.values())
    assert node.reconciler.drift.changes == 1
    assert str(victim) in node.reconciler.drift.last[0]


def test_a_kernel_that_cannot_be_read_is_read_again(node: Node) -> None:
    """An interrupted dump is no answer, least of all "empty"."""
    node.kernel.fail_reads = 2
    before = node.kernel.changes

    node.clock.now += 120
    assert node.reconciler.tick() > 0
    for _ in range(3):
        node.clock.now += 1
        node.settle()

    assert node.kernel.changes == before
    assert node.reconciler.in_sync


def test_a_device_made_anew_is_followed_by_a_full_read(node: Node) -> None:
    """The kernel drops routes and neighbours with the device, so the mirror must not be believed."""
    for key in [key for key in node.kernel.state if "overlay.1" in str(key) or "route" in str(key)]:
        node.kernel.lose(key)

    node.reconciler.kernel_changed()
    reads = node.kernel.reads
    node.settle()

    assert node.kernel.reads >= reads + 2
    assert node.reconciler.in_sync
    assert objects(2) | objects(3) <= set(node.kernel.state.values())


def test_another_lease_for_this_node_moves_everything(node: Node) -> None:
    """A node that had to take another subnet keeps its peers and drops what was its own."""
    there = replace(ME.vteps[0], subnet=ip_network("10.5.7.0/24"))
    other = replace(ME, lease_key="10.5.7.0-24", vteps=(there,))

    node.reconciler.on_event(Gone("10.5.1.0-24", 20))
    node.reconciler.set_node(NETWORK, other)
    node.reconciler.on_event(Put(lease(7, mac=1, create=21, mod=21)))
    node.settle()

    assert objects(2) <= set(node.kernel.state.values())
    assert "address 10.5.1.1/24 dev overlay0" in node.kernel.deleted()


def test_a_changed_network_config_touches_nothing_while_the_node_runs(node: Node) -> None:
    """It is said, and it is the next start's business."""
    node.kernel.log.clear()
    node.reconciler.on_event(
        NetworkChanged(b'{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}')
    )
    node.settle()

    assert node.kernel.log == []
    assert "Network 10.5.0.0/16 -> 10.6.0.0/16" in node.reconciler.notice.text


def test_of_two_vteps_at_one_address_the_older_lease_stands_and_the_other_is_named(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once, and shown with the key of the one that stands."""
    twin = replace(
        lease(4), endpoints=(replace(lease(4).endpoints[0], underlay=ip_address("192.0.2.2")),)
    )
    twin = replace(twin, create_revision=30)
    for version in ("a", "b", "c"):
        node.reconciler.on_event(Put(replace(twin, version=version)))
        node.settle()

    assert objects(2) <= set(node.kernel.state.values())
    assert "contradicts 10.5.2.0-24" in node.reconciler.trouble()["10.5.4.0-24"]
    assert sum("peer not programmed" in text for text in caplog.messages) == 1


def test_a_peer_is_news_only_after_the_first_list(caplog: pytest.LogCaptureFixture) -> None:
    """A start says how many there are; one that comes later is named."""
    node = Node()
    caplog.set_level("INFO")
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(2, 3))
    assert not [text for text in caplog.messages if text.startswith("peer ")]

    node.reconciler.on_event(Put(lease(4)))
    node.reconciler.on_event(snapshot(2, 4))

    news = [text for text in caplog.messages if text.startswith("peer ")]
    assert [text.split()[1:3] for text in news] == [["joined", "node=n4"], ["left", "node=n3"]]
