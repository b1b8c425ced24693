"""One node's reconciler on a fake kernel and a clock that moves when told; records of numbered peers."""

from collections.abc import Hashable
from ipaddress import ip_address, ip_network

import pytest

from agent.culprits import Sign
from agent.drift import Drift
from agent.events import Snapshot
from agent.reconcile import Reconciler
from overlay.desired import desired_peer
from overlay.model import Endpoint, Lease
from tests.agent.fake_kernel import FakeKernel
from tests.examples import ME, NETWORK

TTL_S = 3600.0
_NO_SIGN = Sign()


def lease(number: int, *, mac: int | None = None, create: int = 5, mod: int = 5) -> Lease:
    """Node ``number``'s record."""
    end = Endpoint(
        ip_network(f"10.5.{number}.0/24"),
        ip_address(f"192.0.2.{number}"),
        f"02:00:00:00:00:{mac or number:02x}",
        1,
    )
    return Lease(
        key=f"10.5.{number}.0-24",
        endpoints=(end,),
        node=f"n{number}",
        create_revision=create,
        mod_revision=mod,
    )


def snapshot(*numbers: int) -> Snapshot:
    """A complete list."""
    return Snapshot({item.key: item for item in map(lease, numbers)}, {}, 10)


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Node:
    """A reconciler on a fake kernel."""

    def __init__(self) -> None:
        self.clock, self.kernel = Clock(), FakeKernel()
        self.drift: Drift | None = None
        self.reconciler = self.born()

    def born(self) -> Reconciler:
        """A fresh agent on the same kernel."""
        return Reconciler(self.kernel, clock=self.clock, resync_s=60, ttl_s=TTL_S, drift=self.drift)

    def settle(self) -> None:
        """Tick at this instant until nothing is due."""
        for _ in range(10):
            if self.reconciler.tick() > 0:
                return
        pytest.fail("never at rest")


def objects(number: int, **more: int) -> set[object]:
    """What the kernel holds for a peer."""
    return set(desired_peer(NETWORK, ME, lease(number, **more)))


def undo(node: Node, key: Hashable, sign: Sign = _NO_SIGN) -> None:
    """Somebody takes a thing away, and the kernel tells of it."""
    node.kernel.lose(key)
    node.reconciler.kernel_changed(after_s=0.1, signs={key: sign})


def turn(node: Node, seconds: float) -> None:
    """Time passes, the loop goes on."""
    node.clock.now += seconds
    node.settle()


def mended(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about what others changed."""
    return [text for text in caplog.messages if text.startswith("mended what others changed")]
