"""The etcd door on a real etcd: endpoints, deadlines, words."""

from pathlib import Path

import pytest

from agent.etcd import Etcd
from overlay.errors import StoreUnavailable
from tests.contract.etcd_server import Server

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("first", [0, 1, 2])
def test_a_call_goes_on_to_the_endpoint_that_answers(etcd_server: Server, first: int) -> None:
    """Whichever of three it begins with, two of them refusing."""
    endpoints = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
    endpoints.insert(first, etcd_server.url)
    client = Etcd(endpoints, timeout_s=20)
    for _ in range(3):
        client.range("/")
    client.close()


def test_no_endpoint_is_one_sentence_with_the_cause() -> None:
    """In an operator's words, with the next command."""
    client = Etcd(["http://127.0.0.1:1"], timeout_s=20)
    with pytest.raises(
        StoreUnavailable, match=r"etcd at http://127\.0\.0\.1:1: connection refused"
    ):
        client.range("/")
    client.close()


def test_a_full_database_is_not_the_members_fault(tmp_path: Path) -> None:
    """It is said as what it is, reads go on, and nobody runs from member to member."""
    server = Server(tmp_path, "--quota-backend-bytes", "300000", version="3.5")
    client = Etcd([server.url], timeout_s=20)
    try:
        # The quota is compared with what was written to disk, which happens every 100 ms.
        with pytest.raises(StoreUnavailable, match="NOSPACE") as caught:
            list(map(lambda n: client.put(f"/full/{n}", b"x" * 20_000), range(1000)))
        assert "overlayctl etcd" in caught.value.hint
        assert client.range("/full/0").records
    finally:
        client.close()
        server.stop()
