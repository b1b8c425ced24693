"""A registry's watch in a thread, its events kept; with pauses short enough for a test."""

import random
import threading
import time
from collections.abc import Callable, MutableSequence
from typing import Any

from agent.etcd import Etcd
from agent.events import Event, Put, Snapshot, Unreadable
from agent.registry import Registry, Seen
from agent.retry import Pauses

TIMEOUT_S = 2.0
"""Where a member hangs and a test waits for it; long enough for one that is only slow."""


class Unshuffled(random.Random):
    """Endpoints in the order given, so that a test knows which is asked first."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        """No."""


class Follower:
    """A registry's watch in a thread; ``first`` is the member it begins with."""

    def __init__(self, store: Etcd, prefix: str, *, seen: Seen | None = None) -> None:
        self.events: list[Event] = []
        self.outages: list[str] = []
        self.returns = self.needless = 0
        """How often it was told that etcd is back, and how often of that without an outage before."""
        self._away = False
        self.store = store
        self.registry = Registry(store, prefix, pauses=Pauses(most_s=0.3))
        self._seen = seen
        self.prepare()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def prepare(self) -> None:
        """What is to be set at the registry before it watches."""

    def _run(self) -> None:
        watch = self.registry.watch(on_lost=self._lost, on_back=self._back, seen=self._seen)
        for event in watch:
            self.events.append(event)

    def _lost(self, why: str) -> None:
        self._away = True
        self.outages.append(why)

    def _back(self) -> None:
        self.needless += not self._away
        self._away = False
        self.returns += 1

    @property
    def keys(self) -> list[str]:
        """Of the records heard of, in order."""
        return [
            one.key if isinstance(one, Unreadable) else one.lease.key
            for one in self.events
            if isinstance(one, Put | Unreadable)
        ]

    @property
    def snapshots(self) -> list[Snapshot]:
        """All."""
        return [one for one in self.events if isinstance(one, Snapshot)]

    def stop(self) -> None:
        """End it."""
        self.registry.close()
        self._thread.join(30)
        assert not self._thread.is_alive()


def until(condition: Callable[[], object], most_s: float = 45) -> None:
    """Wait for it."""
    deadline = time.monotonic() + most_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
