"""`make demo`: three nodes talk, one agent is killed, a node joins, one leaves, three verbs tell; on this machine.

Every statement it prints has been looked at; the first that is not true ends the demo with exit code 1
and what was expected and seen. Everything is taken down again, also on Ctrl-C; `--keep` leaves it.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from itertools import count

from rich.console import Console
from rich.table import Table

from e2e.demo_kept import how_to_look
from e2e.etcdserver import PREFIX
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.process import CommandFailed, Said

SETTLE_S = 30


class Unexpected(Exception):
    """What was expected, and what was seen."""


class Demo:
    """One run; ``done`` collects the closing table. What a pod is, a subclass may say otherwise."""

    pods_are = "network namespaces, through the CNI executable"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.done: list[tuple[str, str, float]] = []
        self._numbers = count(1)
        self._out = Console(
            emoji=False,  # a MAC has ":cd:" in it
            highlight=False,
            width=None if sys.stdout.isatty() else 150,
        )

    def step(self, title: str, act: Callable[[], str]) -> None:
        """Say what is tried, try it, say what came out."""
        number = next(self._numbers)
        self._out.print(f"[bold]{number}. {title}[/bold]")
        begun = time.monotonic()
        outcome = act()
        taken = time.monotonic() - begun
        self._out.print(f"   [green]ok[/green] {outcome} ({taken:.1f} s)")
        self.done.append((title, outcome, taken))

    def print(self, table: Table) -> None:
        """A table, as it is."""
        self._out.print(table)

    def show(self, text: str) -> None:
        """Output of a command, indented."""
        for line in text.rstrip().splitlines():
            self._out.print(f"   {line}", markup=False)

    def close(self) -> None:
        """The closing table."""
        table = Table(title="the demo, step by step", box=None, title_justify="left")
        for column in ("step", "outcome", "seconds"):
            table.add_column(column, justify="right" if column == "seconds" else "left")
        for title, outcome, taken in self.done:
            table.add_row(title, outcome, f"{taken:.1f}")
        self._out.print(table)

    # --- what a pod is -----------------------------------------------------------------------------

    def add_node(self, name: str) -> Node:
        """A machine, its agent not yet started."""
        return self.lab.add_node(name)

    def add_pod(self, node: Node) -> Pod:
        """One more pod of the lab."""
        return self.lab.add_pod(node)

    def drain(self, node: Node) -> None:
        """No pod is left on that node."""
        self.lab.drain(node)

    def talk_more(self) -> None:
        """Further steps once the pods reach one another."""

    def hints(self) -> list[str]:
        """Further commands to look around with, for a demo that is kept."""
        return []

    # --- the steps -----------------------------------------------------------------------------------

    def run(self) -> None:
        """The whole story."""
        self.step("a private etcd", self._etcd)
        nodes = [self.add_node(f"n{number}") for number in (1, 2, 3)]
        self.step("three agents start before there is a network config", lambda: self._start(nodes))
        self.step("overlayctl init: they go on by themselves", lambda: self._init(nodes))
        self.step(
            "the leases, as etcdctl and overlayctl print them", lambda: self._leases(nodes[0])
        )
        self.step(f"two pods on each node: {self.pods_are}", lambda: self._pods(nodes))
        self.step("every pod pings every pod and every VTEP", self._matrix)
        self.step("a packet over the MTU is refused", self._too_large)
        self.talk_more()
        self.step("an agent is killed: traffic goes on", lambda: self._kill(nodes[1]))
        self.step("it starts again: nothing changes", lambda: self._restart(nodes[1]))
        self.step("a fourth node joins", lambda: self._join(nodes))
        self.step("it is drained and leaves", lambda: self._leave(nodes))
        self.step("overlayctl status", lambda: self._status(nodes[0]))
        self.step("overlayctl why: the whole way between two pods", self._why)
        self.step("overlayctl probe: do packets reach the others", lambda: self._probe(nodes[0]))

    def _etcd(self) -> str:
        self.lab.etcd.start()
        self.lab.record()
        return f"serves at {self.lab.etcd.url}, inside its own namespace"

    def _start(self, nodes: list[Node]) -> str:
        for node in nodes:
            node.start_agent()
            self.lab.record()
        first = nodes[0]
        wait_for(
            lambda: "no network config" in first.log_text(),
            "n1 says what it waits for",
            timeout_s=SETTLE_S,
        )
        return "each waits, and says what to put into etcd"

    def _init(self, nodes: list[Node]) -> str:
        said = nodes[0].overlayctl("init", "--network", "10.5.0.0/16")
        expect(said.code == 0, "overlayctl init succeeds", said.out + said.err)
        self.show(said.out)
        for node in nodes:
            node.wait_ready()
        return ", ".join(f"{node.name} has {node.subnet}" for node in nodes)

    def _leases(self, node: Node) -> str:
        self.show(self.lab.etcd.ctl("get", "--prefix", f"{PREFIX}/subnets"))
        said = node.overlayctl("leases")
        self.show(said.out)
        rows = node.ask("leases")
        expect(len(rows) == 3, "3 leases", str(rows))
        return f"{len(rows)} leases"

    def _pods(self, nodes: list[Node]) -> str:
        for node in nodes:
            for _ in range(2):
                pod = self.add_pod(node)
                self.show(f"{pod.name} on {node.name}: {pod.address} mtu {pod.mtu}")
        return f"{len(self.lab.pods)} pods"

    def _matrix(self) -> str:
        targets = [(pod.name, str(pod.address)) for pod in self.lab.pods]
        targets += [(f"vtep {node.name}", node.vtep) for node in self.lab.nodes.values()]
        table = Table(
            box=None, title="round trip, small / full MTU with DF, in ms", title_justify="left"
        )
        for column in ("from", *(name for name, _ in targets)):
            table.add_column(column)
        for pod in self.lab.pods:
            cells = [self._cell(pod, name, address) for name, address in targets]
            table.add_row(pod.name, *cells)
        self._out.print(table)
        return f"{len(self.lab.pods) * len(targets)} pairs, small and full size, none lost"

    def _cell(self, pod: Pod, name: str, address: str) -> str:
        if address == str(pod.address):
            return "-"
        small = pod.ping(address)
        large = pod.ping(address, payload=pod.largest_payload, whole=True)
        expect(small.ok and large.ok, f"{pod.name} reaches {name} ({address})", f"{small} {large}")
        return f"{small.rtt_ms:.2f}/{large.rtt_ms:.2f}"

    def _too_large(self) -> str:
        first, last = self.lab.pods[0], self.lab.pods[-1]
        answer = first.ping(last.address, payload=first.largest_payload + 1, whole=True)
        expect(answer.too_long, "message too long", str(answer))
        return f"{first.mtu + 1} bytes with DF: message too long, mtu={first.mtu}"

    def _kill(self, node: Node) -> str:
        pods = [pod for pod in self.lab.pods if pod.node == node.name]
        other = next(pod for pod in self.lab.pods if pod.node != node.name)
        node.kill_agent()
        answer = other.ping(pods[0].address, count=20)
        expect(answer.received == answer.sent == 20, "20 of 20 answers", str(answer))
        return f"{answer.received} of {answer.sent} pings answered while {node.name} has no agent"

    def _restart(self, node: Node) -> str:
        before = node.subnet
        node.start_agent()
        self.lab.record()
        node.wait_ready()
        status = node.status()
        expect(node.subnet == before, f"the same subnet {before}", node.subnet)
        expect(status["changes"] == 0, "0 changes in the kernel", str(status))
        self.show(node.log_text().splitlines()[-2])
        return f"{node.name} keeps {before}: {status['changes']} changes"

    def _join(self, nodes: list[Node]) -> str:
        fourth = self.add_node("n4")
        self.lab.start_nodes(fourth)
        pod = self.add_pod(fourth)
        others = [other for other in self.lab.pods if other.node != "n4"]
        taken = wait_for(
            lambda: all(other.ping(pod.address).ok for other in others),
            "n4 reachable",
            timeout_s=SETTLE_S,
        )
        nodes.append(fourth)
        return f"all {len(others)} pods reach {pod.name} ({pod.address}) after {taken:.1f} s"

    def _leave(self, nodes: list[Node]) -> str:
        fourth = nodes.pop()
        subnet = fourth.subnet
        self.drain(fourth)
        said = fourth.overlayctl("leave")
        expect(said.code == 0, "overlayctl leave succeeds", said.out + said.err)
        self.show(said.out)
        taken = wait_for(
            lambda: not any(node.routes_to(subnet) for node in nodes),
            "routes gone",
            timeout_s=SETTLE_S,
        )
        leases = nodes[0].ask("leases")
        expect(len(leases) == 3, "3 leases left", str(leases))
        return f"lease revoked, its peers dropped {subnet} after {taken:.1f} s"

    def _status(self, node: Node) -> str:
        said = self._told(node, "status")
        return f"exit code {said.code}: {node.name} is healthy"

    def _why(self) -> str:
        first = self.lab.pods[0]
        last = next(pod for pod in reversed(self.lab.pods) if pod.node != first.node)
        node = self.lab.nodes[first.node]
        self._told(node, "why", str(first.address), str(last.address))
        return f"every hop from {first.name} on {first.node} to {last.name} on {last.node} is right"

    def _probe(self, node: Node) -> str:
        self._told(node, "probe")
        rows = node.ask("probe")["results"]
        expect(len(rows) == 2, "2 peers probed", str(rows))
        return f"{len(rows)} peers of {node.name}, small and full size"

    def _told(self, node: Node, verb: str, *words: str) -> Said:
        """What an operator reads on a node that is well."""
        said = node.overlayctl(verb, *words)
        self.show(said.out)
        expect(said.code == 0, f"overlayctl {verb} finds nothing wrong", said.out + said.err)
        return said


def expect(true: bool, what: str, seen: str) -> None:
    """Go on only if it is so."""
    if not true:
        raise Unexpected(f"expected: {what}\nseen: {seen}")


def main(story: type[Demo] = Demo) -> int:
    """Command line; 0 if all went as told."""
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true", help="leave it running")
    flags = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun = time.monotonic()
    try:
        with Lab(keep=flags.keep) as lab:
            print(f"lab {lab.id}: namespaces ovl-{lab.id}-*, files in {lab.work}", flush=True)
            demo = story(lab)
            demo.run()
            demo.close()
            if flags.keep:
                print(how_to_look(lab, demo.hints()))
    except (Unexpected, CommandFailed) as error:
        print(f"\nthe demo failed\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; everything was taken down", file=sys.stderr)
        return 130
    print(
        f"done in {time.monotonic() - begun:.0f} s"
        + ("" if flags.keep else "; everything was taken down")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
