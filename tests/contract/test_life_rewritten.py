"""The record of a node that lives is written again by somebody else, under an etcd lease of another length."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.etcd import Etcd
from overlay.netconfig import EXAMPLE
from tests.contract.etcd_server import Server
from tests.contract.test_life_outage import PREFIX, Node, wait

pytestmark = pytest.mark.contract


@pytest.fixture
def writer(etcd_server: Server) -> Iterator[Etcd]:
    """Somebody else."""
    made = Etcd([etcd_server.url], timeout_s=20)
    made.put(f"{PREFIX}/config", EXAMPLE.encode())
    yield made
    made.close()


def test_a_shorter_etcd_lease_is_renewed_in_its_own_time(
    writer: Etcd, etcd_server: Server, tmp_path: Path
) -> None:
    """The next renewal of ours may be ten minutes off; the record would be gone by then, and the peers' routes."""
    node = Node(etcd_server.url, tmp_path, ttl_s=3600)
    try:
        wait(lambda: node.told.claims and node.told.snapshots, "a lease")
        key = f"{PREFIX}/subnets/{node.told.claims[0].lease.key}"
        wait(lambda: node.life.keeper.ttl_s == 3600 and node.life.tenure.age_s > 0, "renewed")
        for ttl_s in (300, 600):
            (record,) = writer.range(key).records
            shorter = writer.grant(ttl_s)
            writer.put(key, record.value, lease=shorter)
            wait(lambda ttl_s=ttl_s: node.life.keeper.ttl_s == ttl_s, "renewed at once")  # type: ignore[misc]
            assert node.life.claimed is not None
            assert node.life.claimed.lease.etcd_lease == shorter
        assert node.told.words == ["held new"]
    finally:
        node.stop()
        node.registry.close()
