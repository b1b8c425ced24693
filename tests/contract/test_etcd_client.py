"""The etcd door on a real etcd: endpoints, deadlines, words."""

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
    client = Etcd(endpoints, timeout_s=5)
    for _ in range(3):
        client.range("/")
    client.close()


def test_no_endpoint_is_one_sentence_with_the_cause() -> None:
    """In an operator's words, with the next command."""
    client = Etcd(["http://127.0.0.1:1"], timeout_s=5)
    with pytest.raises(
        StoreUnavailable, match=r"etcd at http://127\.0\.0\.1:1: connection refused"
    ):
        client.range("/")
    client.close()
