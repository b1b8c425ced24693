"""A lost history of etcd: no healthy peer loses an object, and what is really gone goes in the end."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.events import Event, Gone, Put, Snapshot
from overlay.desired import desired_peer
from overlay.model import Action, Lease
from tests.agent.one_node import TTL_S, Node, lease, objects, snapshot
from tests.examples import ME, NETWORK


def lost(*leases: Lease, revision: int = 3) -> Snapshot:
    """A list from an etcd that has forgotten."""
    return Snapshot({item.key: item for item in leases}, {}, revision, history_lost=True)


@pytest.fixture
def node() -> Node:
    """In sync with peers 2 and 3."""
    made = Node()
    made.reconciler.set_node(NETWORK, ME)
    made.reconciler.on_event(snapshot(1, 2, 3))
    made.settle()
    made.kernel.log.clear()
    return made


def test_a_peer_that_vanished_with_the_history_is_kept_and_shown(node: Node) -> None:
    """Nothing is touched; it counts as kept, not as gone."""
    node.reconciler.on_event(lost(lease(1, create=2, mod=2), lease(3, create=2, mod=2)))
    node.settle()

    assert node.kernel.log == []
    assert list(node.reconciler.demand.orphans()) == ["10.5.2.0-24"]
    assert node.reconciler.demand.roll.revision == 3


def test_an_ordinary_list_does_not_end_a_kept_peer(node: Node) -> None:
    """A compaction right after the loss: the peer may still be on its way back."""
    node.reconciler.on_event(lost())
    node.reconciler.on_event(Snapshot({}, {}, 4))
    node.settle()

    assert node.kernel.log == []


def test_a_peer_that_came_back_with_a_lower_revision_is_an_ordinary_one_again(node: Node) -> None:
    """Its record is younger than before by every count; then it leaves for real, and goes."""
    node.reconciler.on_event(lost())
    node.reconciler.on_event(Put(lease(2, create=4, mod=4)))
    node.settle()
    assert "10.5.2.0-24" not in node.reconciler.demand.orphans()
    assert node.kernel.log == []

    node.reconciler.on_event(Gone("10.5.2.0-24", 5))
    node.settle()
    assert not objects(2) & set(node.kernel.state.values())


def test_a_kept_peer_goes_after_one_ttl(node: Node) -> None:
    """Not before, and the other one that is back stays."""
    node.reconciler.on_event(lost(lease(3, create=2, mod=2)))
    node.clock.now += TTL_S - 1
    node.settle()
    assert objects(2) <= set(node.kernel.state.values())

    node.clock.now += 1
    node.settle()
    assert not objects(2) & set(node.kernel.state.values())
    assert objects(3) <= set(node.kernel.state.values())


def test_a_kept_peer_yields_to_any_real_record_for_good(node: Node) -> None:
    """The subnet is somebody else's now: older by age or not, the real record stands."""
    node.reconciler.on_event(lost(lease(3, create=2, mod=2)))
    node.reconciler.on_event(Put(replace(lease(2, mac=0x22, create=9, mod=9), node="other")))
    thief = replace(lease(9, mac=3, create=12, mod=12), node="thief")  # has the MAC of peer 3
    node.reconciler.on_event(lost(lease(2, mac=0x22, create=9, mod=9)))
    node.reconciler.on_event(Put(thief))
    node.settle()
    assert objects(2, mac=0x22) <= set(node.kernel.state.values())
    assert objects(9, mac=3) <= set(node.kernel.state.values())

    node.reconciler.on_event(Gone(thief.key, 13))
    node.settle()
    assert not objects(3) & set(node.kernel.state.values())


def test_an_older_value_of_the_same_machine_is_not_believed_until_it_writes_again(
    node: Node,
) -> None:
    """A backup has the address of last month; the node that lives puts it right, a dead one is believed."""
    now = replace(lease(2, mac=0x22, create=7, mod=9), machine_id="m2")
    past = replace(lease(2, create=2, mod=2), machine_id="m2")
    node.reconciler.on_event(Put(now))
    node.settle()
    node.kernel.log.clear()

    node.reconciler.on_event(lost(past))
    node.settle()
    assert node.kernel.log == []

    node.clock.now += TTL_S
    node.settle()
    assert objects(2) <= set(node.kernel.state.values())


def test_nothing_remembered_is_deleted_before_etcd_speaks() -> None:
    """The last-good copy only adds; the first real list then takes away what is stale."""
    node = Node()
    stale = desired_peer(NETWORK, ME, lease(8))
    node.kernel.state.update({item.key: item for item in stale})
    node.reconciler.remember({"10.5.2.0-24": lease(2), "10.5.7.0-24": lease(7)}, 9)
    node.reconciler.set_node(NETWORK, ME)
    node.settle()

    assert node.reconciler.in_sync
    assert node.kernel.deleted() == []
    assert node.reconciler.plan() == []
    assert objects(2) | objects(7) <= set(node.kernel.state.values())

    node.reconciler.on_event(snapshot(1, 2))
    node.settle()
    assert node.reconciler.in_sync
    assert not (objects(7) | objects(8)) & set(node.kernel.state.values())
    assert node.reconciler.drift.changes == 0


def test_what_is_remembered_comes_too_late_once_etcd_has_spoken(node: Node) -> None:
    """An old copy never overrules a real list."""
    node.reconciler.remember({"10.5.7.0-24": lease(7)}, 99)
    node.settle()

    assert node.kernel.log == []
    assert node.reconciler.demand.roll.revision == 10


HEALTHY = range(2, 8)


class Etcd:
    """What a cluster of healthy nodes does to a list of leases, and what the list goes through."""

    def __init__(self) -> None:
        self.revision = 20
        self.records = {n: lease(n, create=n, mod=n) for n in (1, *HEALTHY)}

    def put(self, number: int) -> Event:
        """The node writes its record, or writes it again."""
        self.revision += 1
        was = self.records.get(number)
        create = was.create_revision if was else self.revision
        self.records[number] = lease(number, create=create, mod=self.revision)
        return Put(self.records[number])

    def listed(self, *, history_lost: bool = False) -> Snapshot:
        """All of it."""
        found = {item.key: item for item in self.records.values()}
        return Snapshot(found, {}, self.revision, history_lost)

    def forget(self, kept: set[int]) -> Snapshot:
        """Restored from a backup that only knew some of them, or wiped."""
        self.revision = 2 + len(kept)
        self.records = {n: lease(n, create=i + 2, mod=i + 2) for i, n in enumerate(sorted(kept))}
        return self.listed(history_lost=True)


OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from([*HEALTHY])),
    st.tuples(st.just("list"), st.none()),
    st.tuples(st.just("forget"), st.sets(st.sampled_from([1, *HEALTHY]))),
    st.tuples(st.just("wait"), st.integers(1, 1200)),
    st.tuples(st.just("move"), st.integers(1, 3)),
)


@given(st.lists(OPERATIONS, max_size=25))
def test_no_healthy_peers_object_is_ever_deleted_by_a_loss(
    operations: list[tuple[str, object]],
) -> None:
    """Healthy is who claims again within one TTL of each loss."""
    node, etcd = Node(), Etcd()
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(etcd.listed())
    node.settle()
    theirs = {item for number in HEALTHY for item in objects(number)}
    away_s = 0
    for what, argument in operations:
        match what, argument:
            case "put", int(number):
                node.reconciler.on_event(etcd.put(number))
            case "list", _:
                node.reconciler.on_event(etcd.listed())
            case "forget", set(kept):
                node.reconciler.on_event(etcd.forget(kept))
            case "wait", int(seconds):
                away_s += seconds
                if away_s >= TTL_S:
                    away_s = 0
                    for number in {*HEALTHY} - etcd.records.keys():
                        node.reconciler.on_event(etcd.put(number))
                node.clock.now += seconds
            case "move", int(number):
                vtep = replace(ME.vteps[0], mtu=1400 + number)
                node.reconciler.set_node(NETWORK, replace(ME, vteps=(vtep,)))
        node.settle()
        assert theirs <= set(node.kernel.state.values())
    assert [s for s in node.kernel.log if s.action is Action.DELETE and s.object in theirs] == []


def test_a_burst_of_puts_costs_each_peer_once() -> None:
    """20,000 records for 50 peers, taken in together: as many steps as there are values in the end."""
    node = Node()
    node.reconciler.set_node(NETWORK, ME)
    node.reconciler.on_event(snapshot(1))
    node.settle()
    before = node.kernel.changes

    records = [lease(n, mac=mac, mod=11 + mac) for mac in (0x60, 0x61) for n in range(2, 52)]
    unlike = [replace(item, version=str(index)) for index, item in enumerate(records)]
    final = [lease(n, mod=99) for n in range(2, 52)]
    for index in range(20_000):
        node.reconciler.on_event(Put((final if index >= 19_950 else unlike)[index % 50]))
    node.settle()

    assert node.kernel.changes - before == 3 * 50
    assert {item for n in range(2, 52) for item in objects(n)} <= set(node.kernel.state.values())
