"""The last-good copy: written late and seldom, read back as mistrustfully as etcd itself."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import recalled
from agent.following import Seen
from agent.lastgood import LastGood
from agent.moment import Moment
from agent.recalled import FILE_NAME, Page, Recalled, row_of
from agent.roll import Past
from overlay.model import Lease
from overlay.netconfig import EXAMPLE
from tests.agent.one_node import lease

HEADER = recalled.header("aa" * 16, "/net", ["http://192.0.2.250:2379"])
OWN = replace(lease(1), machine_id="aa" * 16)
TTL_S = 100.0


class Keeper:
    """A last-good copy of ``leases`` in a directory, on clocks that move when told."""

    def __init__(self, state_dir: Path, *, gather_s: float = 0.0) -> None:
        self.state_dir = state_dir
        self.leases: dict[str, Lease] | None = {item.key: item for item in (OWN, lease(2))}
        self.moment = Moment(wall=1000.0, boot=50.0, boot_id="b1")
        self.asked = 0
        self.written = threading.Event()
        self.copy = LastGood(
            state_dir, HEADER, source=self._source, now=lambda: self.moment, gather_s=gather_s
        )
        self.copy.start()

    def _source(self) -> tuple[Past, Seen] | None:
        self.asked += 1
        if self.leases is None:
            return None
        past = Past(dict(self.leases), 17, {"10.5.2.0-24": (7.0, 90.0)})
        return past, Seen(2**63 + 5, 17)

    def hold(self) -> None:
        """This node has a lease."""
        self.copy.held(EXAMPLE.encode(), OWN)
        self.copy.renewed(TTL_S, age_s=2.0)

    def read(self, header: Page = HEADER) -> Recalled | None:
        """What the next life finds."""
        return recalled.read(self.state_dir, header, self.moment)


def test_this_machines_old_records_are_told_from_its_peers(tmp_path: Path) -> None:
    """Subnets that are drained: without etcd they are ours all the same."""
    old = replace(lease(3), machine_id="aa" * 16)
    named_so = replace(lease(4), machine_id="bb" * 16, node="aa" * 16)
    keeper = Keeper(tmp_path / "state", gather_s=60)
    keeper.leases = {item.key: item for item in (OWN, lease(2), old, named_so)}
    keeper.hold()
    keeper.copy.stop(wait_s=5)

    found = keeper.read()

    assert found is not None
    assert found.others_of("aa" * 16) == [old]


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """Writes only when it is stopped."""
    made = Keeper(tmp_path / "state", gather_s=60)
    yield made
    made.copy.stop(wait_s=5)


def test_what_is_written_is_read_back(keeper: Keeper) -> None:
    """Records with all their revisions, the config, and how long ago the lease was renewed."""
    keeper.hold()
    keeper.copy.stop(wait_s=5)
    keeper.moment = replace(
        keeper.moment, wall=99.0, boot=62.0
    )  # a stepped wall clock does not matter

    found = keeper.read()

    assert found is not None
    assert found.past().leases == {item.key: item for item in (OWN, lease(2))}
    assert found.past(only_kept=True).leases == {"10.5.2.0-24": lease(2)}
    assert found.kept == {"10.5.2.0-24": (7.0, 78.0)}
    assert (found.own, found.ttl_s) == (OWN, TTL_S)
    assert (found.cluster, found.revision) == (2**63 + 5, 17)
    assert (found.age_s, found.doubt) == (14.0, "")
    assert found.network == EXAMPLE.encode()


def test_many_changes_are_one_write(keeper: Keeper) -> None:
    """Nobody waits for it, and the table is asked for once."""
    keeper.hold()
    for _ in range(1000):
        keeper.copy.changed()
    keeper.copy.stop(wait_s=5)

    assert keeper.asked == 1


def test_an_incomplete_table_never_overwrites_an_older_copy(tmp_path: Path) -> None:
    """A node that has not heard from etcd keeps what an earlier life left."""
    first = Keeper(tmp_path)
    first.hold()
    first.copy.stop(wait_s=5)
    second = Keeper(tmp_path)
    second.leases = None
    second.hold()
    second.copy.stop(wait_s=5)

    found = second.read()
    assert found is not None
    assert len(found.rows) == 2


def test_a_disk_that_refuses_is_said_once_and_forgotten_when_it_takes_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Never fatal. A file stands where the directory should be; root could write anywhere else."""
    (tmp_path / "state").write_text("")
    for _ in range(2):
        keeper = Keeper(tmp_path / "state")
        keeper.hold()
        keeper.copy.stop(wait_s=5)
    assert sum("cannot be written" in text for text in caplog.messages) == 2  # once per life
    assert "df -h" in caplog.text


def test_a_lease_that_was_given_back_is_not_come_back_to(keeper: Keeper) -> None:
    """overlayctl leave, then a reboot without etcd: this node has no subnet."""
    before = Keeper(keeper.state_dir)
    before.hold()
    before.copy.stop(wait_s=5)
    keeper.hold()
    assert keeper.read() is not None
    keeper.copy.left()
    assert keeper.read() is None  # even if this process is killed now
    keeper.copy.stop(wait_s=5)

    assert keeper.read() is None


def test_a_lease_that_was_lost_is_doubted(keeper: Keeper) -> None:
    """Peers come up, and no address is given away."""
    keeper.hold()
    keeper.copy.lost("its key was deleted")
    keeper.copy.stop(wait_s=5)

    found = keeper.read()
    assert found is not None
    assert "its key was deleted" in found.doubt


def test_after_a_reboot_a_clock_before_the_renewal_is_not_believed(keeper: Keeper) -> None:
    """On the safe side, and it says which two times do not fit together."""
    keeper.hold()
    keeper.copy.stop(wait_s=5)

    keeper.moment = Moment(wall=1090.0, boot=3.0, boot_id="b2")
    assert (found := keeper.read()) is not None
    assert (found.age_s, found.doubt) == (92.0, "")

    keeper.moment = Moment(wall=400.0, boot=3.0, boot_id="b2")
    assert (found := keeper.read()) is not None
    assert "1970-01-01 00:06:40 UTC" in found.doubt
    assert "1970-01-01 00:16:38 UTC" in found.doubt


@pytest.mark.parametrize(
    "header",
    [
        recalled.header("bb" * 16, "/net", HEADER.endpoints),
        recalled.header("aa" * 16, "/other", HEADER.endpoints),
        recalled.header("aa" * 16, "/net", ["http://192.0.2.9:2379"]),
    ],
)
def test_a_copy_of_another_node_or_network_is_set_aside(keeper: Keeper, header: Page) -> None:
    """A cloned disk, another prefix, another etcd."""
    keeper.hold()
    keeper.copy.stop(wait_s=5)

    assert keeper.read(header) is None
    assert (keeper.state_dir / "last-good.unreadable").exists()
    assert not (keeper.state_dir / FILE_NAME).exists()


def test_a_record_that_cannot_be_read_takes_no_other_with_it(
    keeper: Keeper, tmp_path: Path
) -> None:
    """As in etcd."""
    keeper.hold()
    keeper.copy.stop(wait_s=5)
    path = keeper.state_dir / FILE_NAME
    path.write_text(path.read_text().replace("192.0.2.2\\", "127.0.0.1\\"))

    found = keeper.read()
    assert found is not None
    assert list(found.past().leases) == [OWN.key]


@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_any_bytes_are_read_without_an_exception(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, cut: int
) -> None:
    """A torn write, a disk gone bad, somebody's editor."""
    import msgspec

    state_dir = tmp_path_factory.getbasetemp()
    page = msgspec.structs.replace(HEADER, network=EXAMPLE, own=row_of(OWN))
    whole = msgspec.json.encode(page)
    for raw in (data, whole[:cut] + data + whole[cut:]):
        (state_dir / FILE_NAME).write_bytes(raw)
        found = recalled.read(state_dir, HEADER, Moment(0, 0, ""))
        if found is not None:
            found.past()
