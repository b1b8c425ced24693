"""Simulated nodes for `make bench-etcd`: the product's own client, registry and life, without a kernel.

A process of its own (``python -m e2e.simnodes PREFIX``) that takes one command per line of stdin, as JSON, and
answers each with one line. A *full* node is what an agent is to etcd: a connection of its own, agent.life with its
two threads, agent.registry, agent.storehealth; only the VTEP it leases for is made up. Each connects to an address
of its own in 127.0.0.0/8: grpc shares one TCP connection among all channels to one address.

What is too many for one machine are *bare* nodes: leases of the same content, renewed by the product's
`Registry.keep` at the product's intervals, over one connection and without a watch.
"""

import heapq
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from agent import claim, recalled
from agent.claim import Ask, Identity, Tunnel
from agent.etcd import Etcd
from agent.events import Event
from agent.join import Standby
from agent.keeping import RENEW_MOST_S
from agent.lastgood import LastGood
from agent.life import Life
from agent.moment import now
from agent.registry import Claimed, Registry
from agent.roll import Past
from overlay import netconfig, schema
from overlay.errors import LeaseLost, NotReady, OverlayError
from overlay.model import Family, Lease, Network

FIRST_ADDRESS = ip_address("127.64.0.0")
FIRST_UNDERLAY = ip_address("198.18.0.0")
PORT = 2379
RENEWERS = 4
"""Threads that keep the bare nodes."""
TIMEOUT_S = 5.0
"""The product's default (etcd_timeout)."""


def identity(number: int) -> Identity:
    """Node ``number``."""
    return Identity(f"node-{number:05d}.example.internal", f"{number:032x}", "0.1.0")


def tunnels(number: int) -> dict[Family, Tunnel]:
    """Its VTEP."""
    mac = "02:00:" + ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
    return {Family.V4: Tunnel(FIRST_UNDERLAY + number, mac, 1)}


def url_of(number: int) -> str:
    """An address of etcd that only this node uses."""
    return f"http://{FIRST_ADDRESS + number}:{PORT}"


class Deaf(Registry):
    """A registry that never watches: 500 watchers of 500 joins are 250,000 events to decode on one machine."""

    def watch(self, **_: object) -> Iterator[Event]:
        """Nothing, ever."""
        yield from ()


class SimNode:
    """One node; implements agent.life.Sink and Joining. With ``watching`` it hears of the others."""

    def __init__(
        self, number: int, url: str, prefix: str, ttl_s: int, *, watching: bool = True
    ) -> None:
        self.events: Counter[str] = Counter()
        self.held_at = 0.0
        self.losses = 0
        self._number, self._ttl_s = number, ttl_s
        store = Etcd([url], timeout_s=TIMEOUT_S)
        self.registry = (Registry if watching else Deaf)(store, prefix)
        header = recalled.header(identity(number).machine_id, prefix, [url])
        copy = LastGood(Path("/nonexistent"), header, source=lambda: None, now=now)  # not started
        self.life = Life(self.registry, self, self, last_good=copy, recalled=None, ttl_s=ttl_s)

    def claim(self, network: Network) -> tuple[Any, Claimed]:
        """As agent.join does it; nobody asks who we are."""
        number = self._number
        return None, self.registry.claim(
            identity(number), network, tunnels(number), ttl_s=self._ttl_s
        )

    def recall(self, recalled: recalled.Recalled) -> Standby:
        """There is no last-good copy."""
        raise NotReady("a simulated node has no earlier life")

    def moved(self, me: object) -> str:
        """Its underlay stays."""
        return ""

    def drained(self, claimed: Claimed) -> bool:
        """It has no pods."""
        return False

    def held(self, network: Network, me: object, claimed: Claimed) -> None:
        """A lease is held."""
        self.held_at = time.monotonic()

    def lost(self, why: str) -> None:
        """It is gone."""
        self.losses += 1

    def event(self, event: Event) -> None:
        """Something under the prefix changed."""
        self.events[type(event).__name__] += 1

    def remember(self, past: Past) -> None:
        """Nothing."""

    def renew(self) -> None:
        """What agent.life does every 8 to 10 minutes, now, on this node's own connection."""
        if self.life.claimed is not None:
            self.registry.keep(self.life.claimed.lease)
            self.life.keeper.store.look()


class BareNodes:
    """Leases without nodes: kept as agent.life would, by a few threads."""

    def __init__(self, store: Etcd, registry: Registry) -> None:
        self.done: Counter[str] = Counter()
        self._store, self._registry = store, registry
        self._due: list[tuple[float, int, Lease]] = []
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def seed(self, first: int, count: int, network: Network, ttl_s: int) -> None:
        """Leases with the content of a claim: a grant and a put each, without the list a claim reads first."""
        (pool,) = network.pools
        taken = self._registry.snapshot().leases.keys()
        every = (netconfig.nth(pool, number) for number in range(netconfig.count(pool)))
        free = (subnet for subnet in every if schema.format_key([subnet]) not in taken)
        for number, subnet in zip(range(first, first + count), free, strict=False):
            lease = claim.asked([subnet], Ask(identity(number), network, tunnels(number), ttl_s))
            key = self._registry.keys.start + lease.key
            self._store.put(key, schema.format_lease(lease), lease=self._store.grant(ttl_s))

    def shorten(self, first: int, last: int, ttl_s: int) -> int:
        """Give the records of nodes first..last a lease that soon ends, and renew it from now on."""
        ids = {f"{number:032x}" for number in range(first, last + 1)}
        found = [it for it in self._registry.snapshot().leases.values() if it.machine_id in ids]
        for _ in range(RENEWERS):
            threading.Thread(target=self._renew, daemon=True).start()
        for number, lease in enumerate(found):
            short = replace(lease, etcd_lease=self._store.grant(ttl_s))
            key = self._registry.keys.start + lease.key
            self._store.put(key, schema.format_lease(lease), lease=short.etcd_lease)
            with self._lock:
                heapq.heappush(self._due, (time.monotonic() + ttl_s / 4, number, short))
        return len(found)

    def _renew(self) -> None:
        while not self._closing.is_set():
            with self._lock:
                wait = self._due[0][0] - time.monotonic() if self._due else 0.1
                entry = heapq.heappop(self._due) if self._due and wait <= 0 else None
            if entry is None:
                self._closing.wait(min(max(wait, 0.001), 0.1))
                continue
            pause = random.uniform(0.2, 1.0)  # agent.keeping: no more than a sixth of a short TTL
            try:
                ttl_s = self._registry.keep(entry[2])
                pause = min(ttl_s / 3, RENEW_MOST_S) * random.uniform(0.8, 1.0)
                self.done["renewed"] += 1
            except LeaseLost:
                self.done["lost"] += 1
                continue
            except OverlayError:
                self.done["failed"] += 1
            with self._lock:
                heapq.heappush(self._due, (time.monotonic() + pause, entry[1], entry[2]))


class Worker:
    """The commands."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._nodes: list[SimNode] = []
        self._store = Etcd([f"http://127.0.0.1:{PORT}"], timeout_s=TIMEOUT_S)
        self._registry = Registry(self._store, prefix)
        self._bare = BareNodes(self._store, self._registry)

    def do(self, command: Mapping[str, Any]) -> object:
        """One command; its answer is JSON."""
        verbs: dict[str, Callable[..., object]] = {
            "config": lambda text: self._registry.write_network(text.encode()),
            "nodes": self._make,
            "start": self._start,
            "state": self._state,
            "renew": self._renew,
            "keep": self._keep,
            "seed": self._seed,
            "shorten": self._bare.shorten,
            "touch": self._touch,
            "leases": lambda: len(self._registry.snapshot().leases),
        }
        return verbs[command["do"]](**{k: v for k, v in command.items() if k != "do"})

    def _make(self, first: int, count: int, ttl_s: int, watching: int) -> None:
        """The first ``watching`` of them are full nodes."""
        self._nodes += [
            SimNode(i, url_of(i), self._prefix, ttl_s, watching=i < first + watching)
            for i in range(first, first + count)
        ]

    def _start(self, last: int) -> float:
        begun = time.monotonic()
        for node in self._nodes[-last:]:
            node.life.start()
        return begun

    def _state(self) -> dict[str, Any]:
        claimed = [node.life.claimed for node in self._nodes]
        events: Counter[str] = Counter()
        for node in self._nodes:
            events += node.events
        return {
            "keys": [one.lease.key for one in claimed if one],
            "held_at": max((node.held_at for node in self._nodes), default=0),
            "heard_at": [node.registry.heard_at for node in self._nodes if node.registry.heard_at],
            "connected": sum(node.life.health.fine for node in self._nodes),
            "losses": sum(node.losses for node in self._nodes),
            "events": dict(events),
            "bare": dict(self._bare.done),
            "cpu_s": sum(os.times()[:2]),
        }

    def _renew(self) -> int:
        for node in self._nodes:
            node.renew()
        return len(self._nodes)

    def _keep(self, count: int) -> None:
        """Stop all but the first ones, as agents stop: the lease stays."""
        leaving, self._nodes = self._nodes[count:], self._nodes[:count]
        for node in leaving:
            node.life.stop()

    def _seed(self, first: int, count: int, ttl_s: int) -> None:
        network = self._registry.network()
        assert network is not None
        self._bare.seed(first, count, network, ttl_s)

    def _touch(self, count: int) -> None:
        """Write so many records anew, unchanged."""
        some = sorted(self._registry.snapshot().leases.values(), key=lambda it: it.key)[:count]
        for lease in some:
            key = self._registry.keys.start + lease.key
            self._store.put(key, schema.format_lease(lease), lease=lease.etcd_lease)


def main() -> int:
    """Serve stdin."""
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        print(json.dumps(worker.do(json.loads(line))), flush=True)
    os._exit(0)  # hundreds of threads of grpc have nothing to finish


if __name__ == "__main__":
    sys.exit(main())
