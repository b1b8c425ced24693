"""`make bench-etcd`: what N nodes ask of etcd, by etcd's own counters and the bytes on the wire.

Run for real: N leases in one etcd, all of them renewed; ``--storm`` full nodes that start at once; ``--full``
full nodes (agent.life with its watch on a connection of its own) through everything that follows. Computed, and
marked so: what N full nodes would send, from the counted figures of one. docs/scale.md has the figures and the
arithmetic; e2e/simnodes.py says what a simulated node is.
"""

import argparse
import itertools
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from e2e.simfigures import Found, flannel, per, say
from e2e.simstore import Crew, Reading, SimStore, Span

CONFIG = '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}'
NODES_A_PROCESS = 25
"""More full nodes in one process of Python spend their time waiting for each other."""
DAY_S = 86_400
MOST_S = 300.0
ROUNDS = 5
TOUCHED = 20


class Bench:
    """The phases, in order. ``flags`` are the command line's."""

    def __init__(self, store: SimStore, crew: Crew, flags: argparse.Namespace) -> None:
        self.found = Found()
        self._store, self._crew, self._flags = store, crew, flags
        self._storm = min(flags.storm, flags.nodes)
        self._full = min(flags.full, self._storm)

    def run(self) -> None:
        """All of it."""
        self._crew.one({"do": "config", "text": CONFIG})
        self._join_storm()
        self._seed()
        self._quiet()
        self._renew_full()
        self._fan_out()
        self._renew_all()
        self._restart()

    # --- the phases -----------------------------------------------------------------------------------

    def _join_storm(self) -> None:
        """So many nodes, all at once, into an empty network; the full ones among them watch meanwhile."""
        shares, full = _shares(self._storm, len(self._crew)), _shares(self._full, len(self._crew))
        self._crew.all(
            *(
                {"do": "nodes", "first": first, "count": n, "ttl_s": DAY_S, "watching": watching}
                for (first, n), (_, watching) in zip(shares, full, strict=True)
            )
        )
        cpu = sum(state["cpu_s"] for state in self._states())
        first = self._store.opening()
        begun = min(self._crew.all(*({"do": "start", "last": n} for _, n in shares)))
        states = self._until(lambda now: _total(now, "keys") == self._storm, "all hold a lease")
        span = Span(first, self._store.closing())
        keys = [key for state in states for key in state["keys"]]
        assert len(set(keys)) == self._storm, "a subnet was given twice"
        self.found.join_s = max(state["held_at"] for state in states) - begun
        calls = span.calls()
        say(
            f"join storm: {self._storm} nodes at once into an empty network, {self._full} of them watch",
            f"all hold distinct subnets after {self.found.join_s:.1f} s",
            f"transactions {calls['Txn']}, one for each node and {calls['Txn'] - self._storm} again "
            "(lost to another claim, or not answered in time)",
            f"requests {per(calls, self._storm)}",
            f"CPU: etcd {span.sum('process_cpu_seconds_total'):.1f} s, the nodes themselves "
            f"{sum(state['cpu_s'] for state in states) - cpu:.1f} s, all on this machine",
        )

    def _seed(self) -> None:
        """Down to the full nodes that stay, then up to N leases."""
        self._crew.all(
            *({"do": "keep", "count": n} for _, n in _shares(self._full, len(self._crew)))
        )
        self._crew.one(
            {
                "do": "seed",
                "first": self._storm,
                "count": self._flags.nodes - self._storm,
                "ttl_s": DAY_S,
            }
        )
        leases = self._crew.one({"do": "leases"})
        assert leases == self._flags.nodes, leases
        size = self._store.opening()
        say(
            f"{leases} leases, {self._full} of them full nodes",
            f"database {size.sum('etcd_mvcc_db_total_size_in_use_in_bytes') / leases:.0f} bytes in use per "
            f"lease, etcd's memory {size.sum('process_resident_memory_bytes') / (1 << 20):.0f} MiB",
        )

    def _quiet(self) -> None:
        """Nothing happens: what a connection costs that only has to live."""
        self._until(self._caught_up, "the watches have caught up")
        span = self._store.over(lambda: time.sleep(self._flags.quiet))
        messages = span.sum("grpc_server_msg_received_total", 'grpc_method="Watch"')
        self.found.quiet_bytes_per_hour = span.wire / self._full / span.seconds * 3600
        say(
            f"quiet: {span.seconds:.0f} s, {self._full} full nodes, no renewal",
            f"requests {span.calls() or 'none'}, {self.found.quiet_bytes_per_hour:.0f} bytes per node and hour: "
            f"HTTP/2 pings, and {messages / self._full / span.seconds * 3600:.0f} questions to the watch "
            "whether it lives",
        )

    def _renew_full(self) -> None:
        """Each full node renews on its own connection, as it does every 8 to 10 minutes."""
        self._crew.all({"do": "renew"})  # the first look of the day reads the quota as well
        before = self._heard()
        span = self._store.over(lambda: [self._crew.all({"do": "renew"}) for _ in range(ROUNDS)])
        events, renewals = self._heard() - before, ROUNDS * self._full
        quiet = self.found.quiet_bytes_per_hour / 3600 * span.seconds * self._full
        self.found.events_per_renewal = events / renewals
        self.found.requests_per_renewal = sum(span.calls().values()) / renewals
        self.found.bytes_per_renewal = (span.wire - quiet) / renewals
        say(
            f"renewals by the full nodes: {renewals}",
            f"requests per renewal {per(span.calls(), renewals)}, bytes {self.found.bytes_per_renewal:.0f}",
            f"revisions written {span.sum('etcd_mvcc_put_total'):.0f}, events {events}",
        )

    def _renew_all(self) -> None:
        """Every lease of the N is renewed at least once, or it would be gone at the end."""
        flags, bare = self._flags, self._flags.nodes - self._storm
        if not bare:
            return
        last = {"do": "shorten", "first": self._storm, "last": flags.nodes, "ttl_s": flags.ttl}
        heard = self._heard()
        assert self._crew.one(last) == bare
        wanted = heard + bare * self._full
        self._until(lambda now: _events(now) >= wanted, "their new leases are heard of")
        before, done = self._heard(), self._states()[0]["bare"].get("renewed", 0)
        span = self._store.over(lambda: time.sleep(flags.ttl * 1.3))
        after = self._states()[0]["bare"]
        renewed = after["renewed"] - done
        leases = self._crew.one({"do": "leases"})
        assert leases == flags.nodes, f"{flags.nodes - leases} leases ended"
        assert renewed >= bare, after
        events = self._heard() - before
        self.found.events_per_renewal = max(self.found.events_per_renewal, events / renewed)
        say(
            f"renewals of all {bare} seeded leases for {span.seconds:.0f} s (their TTL is {flags.ttl} s)",
            f"renewed {renewed}, ended {after.get('lost', 0)}, events {events}, revisions written "
            f"{span.sum('etcd_mvcc_put_total'):.0f}",
            f"etcd's CPU {1e6 * span.sum('process_cpu_seconds_total') / renewed:.0f} µs per renewal",
        )

    def _fan_out(self) -> None:
        """Records written by others: what each watcher gets for one."""
        before, count = self._heard(), min(TOUCHED, self._storm)
        first = self._store.opening()
        self._crew.one({"do": "touch", "count": count})
        wanted = before + count * self._full
        self._until(lambda now: _events(now) >= wanted, "the changes are heard")
        span = Span(first, self._store.closing())
        sent = span.sum("etcd_network_client_grpc_sent_bytes_total")
        messages = span.sum("grpc_server_msg_sent_total", 'grpc_method="Watch"')
        listing = self._list_bytes()
        event = (sent - listing) / count / self._full
        say(
            f"fan-out: {count} records written, heard by {self._full} full nodes",
            f"{(self._heard() - before) / count:.0f} events and {messages / count:.0f} messages per write, "
            f"{event:.0f} bytes each before TCP",
            f"computed for {self._flags.nodes} watchers: {self._flags.nodes} events, "
            f"{event * self._flags.nodes / 1e6:.1f} MB per join or leave",
        )

    def _restart(self) -> None:
        """kill -9, start with the same data: who comes back, how fast, with how many requests."""
        flags = self._flags
        lost = sum(state["losses"] for state in self._states())
        self._store.kill()
        served = self._store.start()
        while (
            Span(Reading(served, 0, {}), self._store.closing()).calls().get("Watch", 0) < self._full
        ):
            assert time.monotonic() < served + MOST_S, "not all watch again"
            time.sleep(0.1)
        back = max(time.monotonic() - served, 0)
        states = self._states()
        time.sleep(max(0.0, served + flags.after - time.monotonic()))
        calls = Span(Reading(served, 0, {}), self._store.closing()).calls()
        leases = self._crew.one({"do": "leases"})
        losses = sum(state["losses"] for state in self._states()) - lost
        assert leases == flags.nodes, f"{flags.nodes - leases} leases were lost"
        streams = calls.get("Watch", 0) + calls.get("Range", 0)
        say(
            f"etcd killed with -9 and started: {_total(states, 'keys')} full nodes and all renewals",
            f"all watch again within {back:.1f} s of its return; leases {leases}, lost {losses}",
            f"requests in the {max(flags.after, back):.0f} s after that: {calls}",
            f"computed for {flags.nodes} full nodes: {streams / self._full * flags.nodes:.0f} to watch again, "
            f"without a list: {flags.nodes} watches",
        )

    # --- looking --------------------------------------------------------------------------------------

    def _states(self) -> list[dict[str, Any]]:
        states: list[dict[str, Any]] = self._crew.all({"do": "state"})
        return states

    def _heard(self) -> int:
        return _events(self._states())

    def _caught_up(self, states: list[dict[str, Any]]) -> bool:
        """All events of the seeding have been delivered: two looks find the same."""
        time.sleep(0.1)
        return _events(states) == self._heard()

    def _list_bytes(self) -> float:
        """What one list of all leases sends."""
        span = self._store.over(lambda: self._crew.one({"do": "leases"}))
        return span.sum("etcd_network_client_grpc_sent_bytes_total")

    def _until(
        self, condition: Callable[[list[dict[str, Any]]], bool], what: str
    ) -> list[dict[str, Any]]:
        deadline = time.monotonic() + MOST_S
        while True:
            states = self._states()
            if condition(states):
                return states
            assert time.monotonic() < deadline, f"not within {MOST_S:.0f} s: {what}"
            time.sleep(0.05)


def _events(states: list[dict[str, Any]]) -> int:
    return sum(n for one in states for kind, n in one["events"].items() if kind in ("Put", "Gone"))


def _total(states: list[dict[str, Any]], key: str) -> int:
    return sum(len(state[key]) for state in states)


def _shares(count: int, workers: int) -> list[tuple[int, int]]:
    """(first, how many) per process."""
    edges = [count * number // workers for number in range(workers + 1)]
    return [(low, high - low) for low, high in itertools.pairwise(edges)]


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="make bench-etcd")
    parser.add_argument("--nodes", type=int, default=5000, help="leases")
    parser.add_argument("--storm", type=int, default=500, help="full nodes that start at once")
    parser.add_argument("--full", type=int, default=50, help="of these, how many stay")
    parser.add_argument("--ttl", type=int, default=60, help="of the seeded leases, seconds")
    parser.add_argument("--quiet", type=float, default=60, help="seconds")
    parser.add_argument("--after", type=float, default=60, help="seconds counted after the restart")
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of every finally
    with tempfile.TemporaryDirectory(prefix="ovl-bench-etcd") as place:
        work = Path(place)
        with SimStore(f"ovl-{work.name[-8:]}", work) as store:
            print(f"etcd and the nodes are in namespace {store.space.name}", flush=True)
            crew = Crew(store.space, max(2, flags.storm // NODES_A_PROCESS), work / "nodes.log")
            try:
                bench = Bench(store, crew, flags)
                bench.run()
            finally:
                crew.close()
    flannel(flags.nodes)
    found = bench.found
    print(
        f"RESULT bench-etcd nodes={flags.nodes} events_per_renewal={found.events_per_renewal:g} "
        f"requests_per_node_hour={found.requests_per_hour:.1f} "
        f"bytes_per_node_hour={found.bytes_per_hour:.0f} join500_s={found.join_s:.1f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
