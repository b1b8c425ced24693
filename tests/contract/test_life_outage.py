"""The life of a node on a real etcd that goes away, comes back, and comes back without its memory."""

import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent import recalled
from agent.claim import Identity, Tunnel
from agent.etcd import Etcd, deleting
from agent.events import Event, Snapshot
from agent.following import Seen
from agent.join import Standby
from agent.lastgood import LastGood
from agent.life import Life
from agent.moment import now
from agent.recalled import Recalled
from agent.registry import Claimed, Registry
from agent.roll import Past
from overlay.desired import Me
from overlay.errors import NotReady, StoreUnavailable
from overlay.model import Family, Lease, Network
from overlay.netconfig import EXAMPLE, parse_network
from tests.contract.etcd_server import Server
from tests.examples import ME

pytestmark = pytest.mark.contract

TTL_S, LONG_S = 3, 60
"""Where a test waits for the end of it, and where that would be a lease lost for a busy machine's sake."""
PREFIX = "/life/network"
MACHINE = "a" * 32


class Told:
    """A sink that writes down what it is told."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.claims: list[Claimed] = []
        self.remembered: dict[str, Lease] = {}
        self.snapshots: list[Snapshot] = []

    def held(self, network: Network, me: Me, claimed: Claimed) -> None:
        """A lease."""
        self.claims.append(claimed)
        self.words.append(f"held {claimed.how}")

    def lost(self, why: str) -> None:
        """None any more."""
        self.words.append("lost")

    def event(self, event: Event) -> None:
        """Of the watch."""
        if isinstance(event, Snapshot):
            self.snapshots.append(event)

    def remember(self, past: Past) -> None:
        """Of an earlier life."""
        self.remembered.update(past.leases)


class Joining:
    """A node whose underlay is where it is told to be."""

    def __init__(self, registry: Registry, ttl_s: int) -> None:
        self.address, self._ttl_s = "198.18.0.1", ttl_s
        self.moves: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.after_claim: list[Callable[[Registry, Claimed], None]] = []
        self._registry = registry
        self._last: tuple[object, ...] = ()

    def claim(self, network: Network) -> tuple[Me, Claimed]:
        """As agent.join does it."""
        claimed = self._registry.claim(
            Identity("n1", MACHINE, "0"),
            network,
            {Family.V4: Tunnel(ip_address(self.address), "02:00:00:00:00:01", 1)},
            prefer=self._last,  # type: ignore[arg-type]
            ttl_s=self._ttl_s,
        )
        self._last = tuple(end.subnet for end in claimed.lease.endpoints)
        if self.after_claim:
            self.after_claim.pop()(self._registry, claimed)
        return replace(ME, lease_key=claimed.lease.key), claimed

    def recall(self, recalled: Recalled) -> Standby:
        """As agent.join does it."""
        self._last = tuple(end.subnet for end in recalled.own.endpoints)
        me = replace(ME, lease_key=recalled.own.key)
        return Standby(parse_network(recalled.network), me, recalled.doubt)

    def moved(self, me: Me) -> str:
        """What it is told."""
        move = "" if self.moves.empty() else self.moves.get_nowait()
        if move == "none":
            raise NotReady("interface eth0 has no V4 address yet")
        return move

    def drained(self, claimed: Claimed) -> bool:
        """No old subnet."""
        return False


class Node:
    """A life, its last-good copy, and all it says."""

    def __init__(
        self, url: str, state_dir: Path, *hooks: Callable[[Registry, Claimed], None], ttl_s: int
    ) -> None:
        self.told = Told()
        self.registry = Registry(Etcd([url], timeout_s=0.5), PREFIX)
        self.joining = Joining(self.registry, ttl_s)
        self.joining.after_claim += hooks
        header = recalled.header(MACHINE, PREFIX, [url])
        self.copy = LastGood(state_dir, header, source=self._leases, now=now, gather_s=0.05)
        self.life = Life(
            self.registry,
            self.told,
            self.joining,
            last_good=self.copy,
            recalled=recalled.read(state_dir, header, now()),
            ttl_s=ttl_s,
        )
        self.copy.start()
        self.life.start()

    def _leases(self) -> tuple[Past, Seen] | None:
        seen = self.registry.seen
        own = {claimed.lease.key: claimed.lease for claimed in self.told.claims}
        return (Past(own, seen.revision, {}), seen) if seen and self.told.snapshots else None

    def stop(self) -> None:
        """The clean way."""
        self.life.stop()
        self.copy.stop(wait_s=10)


def wait(condition: Callable[[], object], what: str) -> None:
    """Until it holds."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """An etcd of its own, with a network config."""
    (tmp_path / "etcd").mkdir()
    made = Server(tmp_path / "etcd")
    _write_config(made)
    yield made
    made.stop()


def _write_config(server: Server) -> None:
    client = Etcd([server.url], timeout_s=20)
    client.put(f"{PREFIX}/config", EXAMPLE.encode())
    client.close()


@pytest.fixture
def born(server: Server, tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes a life on the same state directory."""
    nodes: list[Node] = []

    def make(*hooks: Callable[[Registry, Claimed], None], ttl_s: int = TTL_S) -> Node:
        nodes.append(Node(server.url, tmp_path / "state", *hooks, ttl_s=ttl_s))
        return nodes[-1]

    yield make
    for node in nodes:
        node.stop()


def test_a_node_without_etcd_doubts_in_time_boots_from_its_copy_and_finds_its_subnet_again(
    server: Server, born: Callable[[], Node], tmp_path: Path
) -> None:
    """Cut off past its TTL it refuses pods and keeps its claim; so does the next boot; then all is as it was."""
    node = born()
    wait(lambda: node.told.claims and not node.life.refusal, "a lease")
    key = node.told.claims[0].lease.key
    wait((tmp_path / "state" / recalled.FILE_NAME).exists, "a copy")

    server.stop()
    wait(lambda: "may be somebody else's" in node.life.refusal, "doubt")
    assert node.life.claimed is not None
    assert node.told.words == ["held new"]
    wait(lambda: not node.life.health.fine, "said so")
    node.stop()

    again = born()
    wait(lambda: again.told.words, "up without etcd")
    assert again.told.words == ["held remembered"]
    assert "may be somebody else's" in again.life.refusal
    assert list(again.told.remembered) == [key]

    server.start()
    wait(lambda: again.told.claims[-1].how != "remembered", "a lease again")
    assert again.told.claims[-1].lease.key == key
    wait(lambda: not again.life.refusal, "no doubt any more")
    wait(lambda: again.life.health.fine and again.told.snapshots, "etcd answers")
    assert not again.told.snapshots[0].history_lost


def test_a_node_claims_the_same_subnet_in_an_etcd_that_has_forgotten_everything(
    server: Server, born: Callable[[], Node], tmp_path: Path
) -> None:
    """Wiped under a running node, and again under one that is starting."""
    node = born()
    wait(lambda: node.told.claims and node.told.snapshots, "a lease")
    key, revision = node.told.claims[0].lease.key, node.told.claims[0].lease.mod_revision
    wait(lambda: node.registry.store_revision >= revision, "its record is heard of")
    server.stop()
    shutil.rmtree(server.data)
    server.start()
    wait(lambda: any(found.history_lost for found in node.told.snapshots), "the loss is noticed")
    wait(lambda: "held new" in node.told.words[1:], "claimed again")
    assert node.told.claims[-1].lease.key == key
    wait(lambda: not node.life.refusal and node.registry.store_revision > 1, "serves")
    node.copy.changed()  # as the reconciler says of each change
    node.stop()

    server.stop()
    shutil.rmtree(server.data)
    server.start()
    again = born()
    wait(lambda: "held new" in again.told.words, "even the config is the one of before")
    assert again.told.claims[-1].lease.key == key
    wait(lambda: again.told.snapshots, "a list")
    assert again.told.snapshots[0].history_lost
    assert key in again.told.remembered


def test_an_underlay_that_moves_is_told_in_place(server: Server, born: Callable[..., Node]) -> None:
    """No address at all changes nothing; another one rewrites the record; the lease is never given up."""
    node = born(ttl_s=LONG_S)
    wait(lambda: node.told.claims and node.told.snapshots, "a lease")

    node.joining.moves.put("none")
    node.life.keeper.look_at_underlay()
    wait(lambda: "no V4 address" in node.life.keeper.underlay_trouble, "said")
    assert node.told.words == ["held new"]
    wait(lambda: not node.life.refusal, "still serves")

    node.joining.address = "198.18.0.77"
    node.joining.moves.put("198.18.0.1 -> 198.18.0.77")
    node.life.keeper.look_at_underlay()
    node.life.keeper.look_at_underlay()

    wait(lambda: len(node.told.words) == 2, "told")
    first, second = node.told.claims
    assert node.told.words == ["held new", "held rewritten"]
    assert (second.lease.key, second.lease.etcd_lease) == (first.lease.key, first.lease.etcd_lease)
    end = second.lease.endpoint(Family.V4)
    assert end is not None
    assert str(end.underlay) == "198.18.0.77"


def test_a_giving_back_that_fails_leaves_a_node_that_goes_on_renewing(
    server: Server, born: Callable[[], Node]
) -> None:
    """The life looks up just while etcd hangs over the giving back; afterwards all is as it was."""
    node = born()
    wait(lambda: node.told.claims and node.told.snapshots, "a lease")
    server.freeze()
    nudge = threading.Timer(0.2, node.life.keeper.order, [None])
    nudge.start()
    with pytest.raises(StoreUnavailable):
        node.life.leave()
    nudge.join()
    thawed_at = time.monotonic()
    server.thaw()
    # One that ran out meanwhile is claimed anew, and has no age until then.
    wait(lambda: 0 < node.life.tenure.age_s < time.monotonic() - thawed_at, "went on")


def test_a_record_deleted_while_its_node_takes_it_up_is_written_again(
    server: Server, born: Callable[..., Node]
) -> None:
    """The watch sees the end before anybody has said that the record is ours; its etcd lease lives on."""
    other = Etcd([server.url], timeout_s=20)

    def delete(registry: Registry, claimed: Claimed) -> None:
        gone = other.txn([], [deleting(f"{PREFIX}/subnets/{claimed.lease.key}")]).revision
        wait(lambda: registry.store_revision >= gone, "the watch has heard of it")

    node = born(delete, ttl_s=LONG_S)
    wait(lambda: len(node.told.claims) == 2, "claimed again")
    first, second = node.told.claims
    assert first.lease.key == second.lease.key
    assert other.range(f"{PREFIX}/subnets/{second.lease.key}").records
    other.close()
