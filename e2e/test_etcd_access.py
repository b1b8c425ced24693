"""An etcd behind TLS, passwords and a quota, on the days when one of them is in the way; and a stepped clock.

As in test_etcd_faults: no ping is lost, and all is at rest afterwards.
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import certificates
from e2e.clock import Clock
from e2e.etcdserver import CONFIG_KEY, NETWORK, PREFIX, EtcdServer
from e2e.lab import FABRIC_ADDRESS, MEMORY, Lab
from e2e.node import Node, wait_for
from e2e.stage import Stage

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

TOKEN_TTL_S = 2
LEASE_TTL_S = 9
"""Renewed every third of it: longer than a token lives unused."""
QUOTA_BYTES = 4 << 20
HOUR_S = 3600


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Nothing yet."""
    with Lab(root=MEMORY) as made:
        yield made


@pytest.fixture(scope="module")
def keys(lab: Lab) -> Path:
    """Where certificates and keys are."""
    return lab.work / "keys"


@pytest.fixture(scope="module")
def server(lab: Lab, keys: Path) -> EtcdServer:
    """One etcd that wants certificates and passwords, and is full soon."""
    flags = (
        *("--auth-token-ttl", str(TOKEN_TTL_S), "--quota-backend-bytes", str(QUOTA_BYTES)),
        *("--bcrypt-cost", "4"),  # each etcdctl logs in
    )
    made = EtcdServer(
        *(lab.fabric, FABRIC_ADDRESS, lab.work),
        name="guarded",
        tls=certificates.issue(keys, FABRIC_ADDRESS),
        flags=flags,
    )
    lab.clients.append(made)
    made.start()
    lab.record()
    made.ctl("user", "add", "root:of-all")
    made.ctl("user", "add", "agent:secret")
    made.ctl("role", "add", "overlay")
    made.ctl("role", "grant-permission", "overlay", "--prefix=true", "readwrite", PREFIX)
    made.ctl("user", "grant-role", "agent", "overlay")
    made.ctl("user", "grant-role", "root", "root")
    made.ctl("auth", "enable")
    made.user = "root:of-all"
    return made


@pytest.fixture(scope="module")
def settings(server: EtcdServer, keys: Path) -> dict[str, str]:
    """Of every node."""
    return {
        "etcd_endpoints": server.url,
        "etcd_cafile": str(keys / "ca.pem"),
        "etcd_certfile": str(keys / "client.pem"),
        "etcd_keyfile": str(keys / "client.key"),
        "etcd_username": "agent",
        "etcd_password": "secret",
        "lease_ttl": f"{LEASE_TTL_S}s",
    }


@pytest.fixture(scope="module")
def stage(lab: Lab, server: EtcdServer, settings: dict[str, str]) -> Stage:
    """Two nodes with a pod each; the wall clock of the second can be stepped."""
    made = Stage(lab, server.ctl)
    one, two = (lab.add_node(name, **settings) for name in ("n1", "n2"))
    made.begin(one, two)
    return made


def _renewed(stage: Stage, server: EtcdServer) -> None:
    """Wait until every node has renewed its lease from now on, without losing it."""
    leases = {
        node.name: server.lease_of(f"{PREFIX}/subnets/{node.subnet.replace('/', '-')}")
        for node in stage.agents
    }
    least = dict.fromkeys(leases, LEASE_TTL_S)

    def risen() -> bool:
        for name, lease in list(leases.items()):
            left = server.seconds_left(f"{lease:x}")
            assert left > 0, f"the lease of {name} has ended"
            if left > least[name]:
                del leases[name]
            least[name] = min(least[name], left)
        return not leases

    wait_for(risen, "every lease is renewed", timeout_s=4 * LEASE_TTL_S, also=lambda: str(leases))


def _kept(stage: Stage) -> None:
    for node in stage.agents:
        assert "lease lost" not in node.log_text(), node.log_tail()


def test_a_node_asks_another_one_with_no_more_rights_than_it_has(stage: Stage) -> None:
    """By TLS, user and password; the role of docs/etcd.md is enough for both sides."""
    one, two = stage.agents

    def told() -> bool:
        found = one.ask("history", str(two.vtep).rsplit(".", 1)[0] + ".2")
        return not found["silent"] and [row["node"] for row in found["rows"]] == ["n2"]

    wait_for(told, "n2 has told", timeout_s=40)


def test_an_expired_token_is_replaced_without_a_word(stage: Stage, server: EtcdServer) -> None:
    """Tokens end after 2 s without use: between two renewals, and at every restart of etcd."""
    with stage.undisturbed():
        _renewed(stage, server)
        stage.news()
        server.stop()
        server.start()
        stage.lab.record()
        stage.news()
        _kept(stage)


def test_new_certificates_and_a_new_ca_are_taken_up_without_a_restart(
    stage: Stage, server: EtcdServer, keys: Path
) -> None:
    """Of the agents; etcd reads its CA only at its own start."""
    pids = [node.pid for node in stage.agents]
    with stage.undisturbed():
        certificates.issue(keys, FABRIC_ADDRESS)
        server.stop()
        server.start()
        stage.lab.record()
        stage.news()
        assert [node.pid for node in stage.agents] == pids
        _kept(stage)


def test_a_clock_that_is_stepped_changes_nothing(
    stage: Stage, server: EtcdServer, settings: dict[str, str]
) -> None:
    """An hour ahead, then an hour behind: renewals, events, deadlines and pods go by the monotonic clock."""
    node = stage.lab.add_node("stepped", **settings)
    clock = Clock(stage.lab.work)
    with stage.undisturbed(), stage.visiting(node, environ=clock.environ):
        for step in (HOUR_S, -HOUR_S):
            clock.step(step)
            _renewed(stage, server)
            stage.news()
            assert abs(_ahead_s(node) - step) < 60
            stage.lab.remove_pod(stage.lab.add_pod(node))
            wait_for(lambda: node.tell("status")["verdict"] == "healthy", "healthy", timeout_s=20)
        _kept(stage)


def _ahead_s(node: Node) -> int:
    """How far the wall clock is ahead of ours that a node's last line in its log was written by."""
    stamps = re.findall(r"^(\d\d):(\d\d):(\d\d) ", node.log_text(), re.MULTILINE)
    hours, minutes, seconds = map(int, stamps[-1])
    now = time.localtime()
    ahead = (hours - now.tm_hour) * HOUR_S + (minutes - now.tm_min) * 60 + seconds - now.tm_sec
    return (ahead + 12 * HOUR_S) % (24 * HOUR_S) - 12 * HOUR_S


def test_a_full_etcd_keeps_the_leases_it_has_and_new_nodes_say_why_they_wait(
    stage: Stage, server: EtcdServer, settings: dict[str, str]
) -> None:
    """Over its quota etcd refuses every write, but no renewal; disarmed, all goes on by itself."""
    with stage.undisturbed():
        try:
            _fill(server)
            late = stage.lab.add_node("late", **settings)
            late.start_agent()
            stage.lab.record()
            wait_for(lambda: "is full" in late.log_text(), "why", timeout_s=20, also=late.log_tail)
            old = [node for node in stage.agents if node is not late]
            stage.lab.remove_pod(stage.lab.add_pod(old[0]))
            assert all(node.tell("status")["lease"] for node in old)
            said = old[0].overlayctl("etcd")
            assert (said.code, "NOSPACE" in said.out + said.err) == (1, True), said.out
        finally:
            _make_room(server)
        late.wait_ready()
        _renewed(stage, server)
        _kept(stage)
        stage.leave(late)


def _fill(server: EtcdServer) -> None:
    for number in range(2 * QUOTA_BYTES >> 20):
        said = server.namespace.run(server.command("put", f"/full/{number}"), stdin="x" * (1 << 20))
        if "database space exceeded" in said.err:
            return
    raise AssertionError(f"etcd takes more than its quota: {said.err}")


def _make_room(server: EtcdServer) -> None:
    """As etcd's own page on maintenance has it."""
    server.ctl("del", "--prefix", "/full/")
    server.ctl("compact", str(server.revision()))
    server.ctl("defrag")
    server.ctl("alarm", "disarm")
    server.ctl("put", CONFIG_KEY, NETWORK)
