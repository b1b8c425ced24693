"""Fixtures of the contract ring: real kernel, each test in network namespaces of its own."""

from collections.abc import Iterator

import pytest

from tests.contract.netns import Namespace, namespace


@pytest.fixture
def netns() -> Iterator[Namespace]:
    """A fresh network namespace with its loopback up."""
    with namespace() as made:
        made.ip("link set lo up")
        yield made


@pytest.fixture
def pod_netns() -> Iterator[Namespace]:
    """A second one, standing for a pod."""
    with namespace("pod") as made:
        yield made


@pytest.fixture
def node_netns(netns: Namespace) -> Namespace:
    """``netns`` with an underlay: interface ``under0``, 192.0.2.1/24 and 2001:db8::1/64, MTU 1500."""
    netns.ip("link add under0 type veth peer name under1")
    netns.ip("link set under1 up")
    netns.ip("link set under0 up")
    netns.ip("address add 192.0.2.1/24 dev under0")
    netns.ip("address add 2001:db8::1/64 dev under0 nodad")
    return netns
