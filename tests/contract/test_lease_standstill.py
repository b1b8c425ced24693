"""etcd stands still while one machine asks whether another lives: that time is not the other's silence."""

import threading
from dataclasses import replace
from typing import Any, cast

import pytest

from agent.etcd import Etcd
from agent.registry import Registry
from overlay.errors import BadConfig
from tests.contract.etcd_server import Server
from tests.contract.nodes import NETWORK, Living, identity, tunnels

pytestmark = pytest.mark.contract

FROZEN_S = 4.0
ANSWER_S = 3.2


class Freezing:
    """Freezes etcd when the question has been put, until a timer ends that; ``looked`` after the look that waited."""

    def __init__(self, real: Etcd, server: Server) -> None:
        self.real, self.looked = real, threading.Event()
        self.thaw: threading.Timer | None = None
        self._server = server

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.real, name)

    def txn(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        done = self.real.txn(*args, **more)
        if self.thaw is None:
            self._server.freeze()
            self.thaw = threading.Timer(FROZEN_S, self._server.thaw)
            self.thaw.start()
        return done

    def range(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        found = self.real.range(*args, **more)
        if self.thaw is not None:
            self.looked.set()
        return found


class Held:
    """An etcd whose transactions wait for an event."""

    def __init__(self, real: Etcd, event: threading.Event) -> None:
        self.real, self.event = real, event

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self.real, name)

    def txn(self, *args: Any, **more: Any) -> Any:  # noqa: ANN401
        assert self.event.wait(30)
        return self.real.txn(*args, **more)


def test_a_standstill_is_not_held_against_the_one_who_is_asked(
    etcd_server: Server, prefix: str
) -> None:
    """It is longer than an answer may take, and the holder is heard only after it."""
    store = Etcd([etcd_server.url], timeout_s=20)
    holder, freezing = Living(etcd_server.url, prefix, 1), Freezing(store, etcd_server)
    holder.registry._own._etcd = cast("Etcd", Held(holder.registry._own._etcd, freezing.looked))
    other = Registry(cast("Etcd", freezing), prefix, answer_s=ANSWER_S)
    successor = replace(identity(2), node="n1")  # of the same name: not given the long patience
    try:
        with pytest.raises(BadConfig, match=r"n1 .*alive.*the address"):
            other.claim(successor, NETWORK, tunnels(1), ttl_s=60)
        assert freezing.thaw is not None
        assert list(Registry(store, prefix).snapshot().leases) == [holder.claimed.lease.key]
    finally:
        freezing.looked.set()
        etcd_server.thaw()
        if freezing.thaw is not None:
            freezing.thaw.cancel()
        holder.stop()
        store.close()
