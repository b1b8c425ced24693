"""The doctor and a real etcd: away, old, full; the network config absent, unreadable, contradicted by the node."""

from contextlib import closing
from pathlib import Path

import pytest

from agent.etcd import Etcd
from overlay.errors import OverlayError
from tests.contract.doctor_node import NOBODY, SickNode
from tests.contract.etcd_server import Server

pytestmark = pytest.mark.contract


@pytest.fixture
def node(tmp_path: Path) -> SickNode:
    """Its files only: etcd is on loopback, so it looks from here, and asks of etcd alone."""
    return SickNode.without_namespace(tmp_path)


def test_etcd_away_in_part_and_altogether(node: SickNode, etcd_server: Server, prefix: str) -> None:
    """One of two is a warning; none is a fault, and says what could not be judged without it."""
    both = f"{NOBODY},{etcd_server.url}"
    assert "etcd-degraded" in node.ids("etcd", etcd_endpoints=both, etcd_prefix=prefix)
    assert node.ids("etcd", etcd_prefix=prefix) == ["etcd-unreachable", "network-config-unknown"]


def test_the_version_and_the_network_config(
    node: SickNode, etcd_server: Server, prefix: str
) -> None:
    """Debian's 3.4 is one that may lose deletions; a config that is absent, broken, good."""
    at = {"etcd_endpoints": etcd_server.url, "etcd_prefix": prefix}
    found = node.examine("etcd", **at)
    assert [one.id for one in found] == ["etcd-old", "network-config-missing"]
    assert "upgrade it to 3.4.34 or later" in found[0].mend
    with closing(Etcd([etcd_server.url])) as store:
        store.put(f"{prefix}/config", b"{")
        assert node.ids("etcd", **at) == ["network-config-bad", "etcd-old"]
        store.put(f"{prefix}/config", b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}')
        assert node.ids("etcd", **at) == ["etcd-old"]


def test_an_etcd_that_is_full(node: SickNode, tmp_path: Path, prefix: str) -> None:
    """The alarm, with the commands that end it; and a member that nobody asks is a note."""
    server = Server(tmp_path, "--quota-backend-bytes", str(1 << 20), version="3.5")
    try:
        at = {"etcd_endpoints": server.url, "etcd_prefix": prefix}
        server.ctl("member", "add", "late", "--learner", "--peer-urls", "http://127.0.0.1:9")
        with closing(Etcd([server.url])) as store, pytest.raises(OverlayError, match="NOSPACE"):
            _fill(store)
        found = {one.id: one for one in node.examine("etcd", **at)}
        assert "etcdctl alarm disarm" in found["etcd-alarm"].mend
        assert "is not among etcd_endpoints" in found["etcd-notice"].title
    finally:
        server.stop()


def _fill(store: Etcd) -> None:
    while True:
        store.put("/filler", b"x" * 400_000)
