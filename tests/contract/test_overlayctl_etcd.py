"""overlayctl etcd on a real etcd: what is shown, the exit codes, and that what it advises does mend."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent import report
from agent.claim import Identity
from agent.ctl import main as overlayctl
from agent.etcd import Credentials, Etcd
from agent.life import Life
from agent.registry import Registry
from agent.server import Server as ControlSocket
from agent.storehealth import MEND_NOSPACE, StoreHealth
from e2e.simnodes import SimNode
from overlay.errors import OverlayError
from tests.contract.certificates import Authority
from tests.contract.etcd_server import Server
from tests.contract.nodes import CONFIG, NETWORK, tunnels

pytestmark = pytest.mark.contract

Ctl = Callable[..., tuple[int, str, str]]
PREFIX = "/coreos.com/network"
NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""


@pytest.fixture
def ctl(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """(exit code, stdout, stderr) of `overlayctl etcd` at these endpoints."""

    def call(endpoints: str, *more: str) -> tuple[int, str, str]:
        line = ["etcd", "--node-name", "n1", "--machine-id", "0" * 32]
        line += ["--run-dir", str(tmp_path / "run"), "--etcd-endpoints", endpoints, *more]
        capsys.readouterr()
        code = overlayctl.main(line)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """An etcd with flags of its own."""
    started: list[Server] = []

    def start(*more: str, **given: Any) -> Server:  # noqa: ANN401 - as Server takes them
        started.append(Server(tmp_path, *more, **given))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def etcdctl(server: Server, script: str, **environ: str) -> str:
    """A shell script that runs etcdctl, as an operator would; it has to succeed."""
    environ = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": server.url, **environ}
    done = subprocess.run(
        ["sh", "-ec", script], env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_member_that_is_well(etcd_server: Server, ctl: Ctl) -> None:
    """Exit code 0; all columns, and the quota from etcd itself."""
    code, out, _ = ctl(etcd_server.url, "--output", "json")
    said = json.loads(out)
    (row,) = said["endpoints"]

    assert (code, said["verdict"], said["warnings"], said["alarms"]) == (0, "well", [], [])
    assert row["leader"]
    assert row["quota_bytes"] == 2 << 30
    assert not row["quota_assumed"]
    assert 0 < row["in_use_bytes"] <= row["size_bytes"]
    assert said["notices"][0].startswith("no agent answers")

    code, out, _ = ctl(etcd_server.url)
    assert code == 0
    assert "2.0 GiB" in out


def test_a_member_away_is_degraded_and_none_is_down(etcd_server: Server, ctl: Ctl) -> None:
    """1 and 2; the endpoint that is away says why."""
    code, out, _ = ctl(f"{NOBODY},{etcd_server.url}")
    assert code == 1
    assert "connection refused" in out

    code, out, _ = ctl(NOBODY)
    assert code == 2
    assert "down" in out


def test_a_member_that_is_not_in_the_list_is_named(
    own_server: Callable[..., Server], ctl: Ctl
) -> None:
    """A notice, not a failure; members are told apart by id, so another name for one is no other member."""
    server = own_server()
    etcdctl(server, "etcdctl member add late --learner --peer-urls http://127.0.0.1:9")

    code, out, _ = ctl(server.url.replace("127.0.0.1", "localhost"), "--output", "json")

    notices = [text for text in json.loads(out)["notices"] if "etcd_endpoints" in text]
    assert (code, len(notices)) == (0, 1), out
    assert "(no client URL yet) is not among etcd_endpoints" in notices[0]


@pytest.fixture
def life(etcd_server: Server, prefix: str, tmp_path: Path) -> Iterator[Life]:
    """A node's life with a control socket, as the agent has it."""
    node = SimNode(1, etcd_server.url, prefix, 600)
    node.registry.write_network(CONFIG)
    life = node.life
    socket = ControlSocket(
        tmp_path / "run" / "cni.sock",
        cni=lambda *_: (1, b""),
        ctl=lambda _: report.store(life),
        late=lambda *_: (1, b""),
        told=lambda *_: None,
    )
    life.start()
    yield life
    life.stop()
    socket.close()


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_agents_lease_and_watch_are_shown(etcd_server: Server, life: Life, ctl: Ctl) -> None:
    """What was granted, what is left of it, and how far the watch has come."""
    _until(lambda: life.claimed is not None and life.heard_s_ago is not None)

    code, out, _ = ctl(etcd_server.url, "--output", "json")
    agent = json.loads(out)["agent"]

    assert code == 0, out
    assert life.claimed is not None
    assert agent["lease"] == life.claimed.lease.key
    assert 590 <= agent["ttl_left_s"] <= agent["ttl_s"] == 600
    assert agent["heard_s"] < 60
    assert 0 < agent["heard_revision"] <= agent["store_revision"]
    table = ctl(etcd_server.url)[1]
    assert "agent: connected since" in table
    assert "granted 600 s" in table


def _fill(store: Etcd) -> None:
    while True:
        store.put("/filler", b"x" * 400_000)


def test_a_store_that_fills_is_warned_of_and_the_advice_mends_it(
    own_server: Callable[..., Server], ctl: Ctl
) -> None:
    """At four fifths a warning, at the end the alarm; the very commands of the hint make it well again."""
    server = own_server("--quota-backend-bytes", str(16 << 20))
    store = Etcd([server.url])
    health = StoreHealth(Registry(store, PREFIX).member, clock=time.monotonic)
    with closing(store):
        while not ctl(server.url)[0]:
            store.put("/filler", b"x" * 400_000)
        code, out, _ = ctl(server.url)
        assert code == 1
        assert "of its quota of 16.0 MiB" in out
        assert "no node can join" in out
        assert "alarm" not in out

        with pytest.raises(OverlayError, match="NOSPACE"):
            _fill(store)
        code, out, _ = ctl(server.url)
        assert code == 1
        assert "! alarm NOSPACE" in out
        health.look()
        assert "alarm NOSPACE" in health.trouble

        etcdctl(server, MEND_NOSPACE)
        health.look()
        assert health.trouble == ""
        assert ctl(server.url)[0] == 0


def role_commands() -> str:
    """The lines of docs/etcd.md between its two marks."""
    text = Path("docs/etcd.md").read_text()
    block = text.partition("<!-- role: begin -->")[2].partition("<!-- role: end -->")[0]
    return "\n".join(line for line in block.splitlines() if line.startswith("etcdctl"))


def test_a_user_with_the_documented_rights_can_do_all_a_node_must_and_no_more(
    own_server: Callable[..., Server], ctl: Ctl
) -> None:
    """Read the config, claim, renew, watch, release, be warned; not write the config."""
    server = own_server()
    etcdctl(server, role_commands())
    etcdctl(server, f"etcdctl put {PREFIX}/config '{CONFIG.decode()}'")
    etcdctl(
        server, "etcdctl user add root:r; etcdctl user grant-role root root; etcdctl auth enable"
    )
    user = Credentials(username="overlay-node", password="change-me")
    store = Etcd([server.url], credentials=user)
    with closing(store):
        registry = Registry(store, PREFIX)
        assert registry.network() == NETWORK
        events = registry.watch(on_lost=pytest.fail, on_back=lambda: None)
        next(events)
        lease = registry.claim(Identity("n1", "1" * 32, "0"), NETWORK, tunnels(1), ttl_s=60).lease
        next(events)
        assert registry.keep(lease) == 60
        assert registry.ttl_s(lease) > 50
        assert registry.member(True)[1] == 2 << 30
        registry.release(lease)
        next(events)
        assert not registry.snapshot().leases
        with pytest.raises(OverlayError, match=f"may not write {PREFIX}/config"):
            registry.write_network(CONFIG)
        with pytest.raises(OverlayError, match="may not read /elsewhere"):
            store.range("/elsewhere")

        code, out, _ = ctl(
            server.url, "--etcd-username", "overlay-node", "--etcd-password", "change-me"
        )
        assert code == 0, out


def test_over_tls_with_client_certificates(
    own_server: Callable[..., Server], ctl: Ctl, tmp_path: Path
) -> None:
    """The same files serve calls and /metrics, on etcd 3.5 as well; without them nothing is reachable."""
    authority = Authority(tmp_path)
    mine, ca = authority.issue("client", names="DNS:client"), str(authority.ca.cert)
    server = own_server(
        *("--client-cert-auth", "--trusted-ca-file", ca),
        version="3.5",
        tls=authority.issue("server"),
        credentials=Credentials(ca, str(mine.cert), str(mine.key)),
    )

    files = (
        "--etcd-cafile",
        ca,
        "--etcd-certfile",
        str(mine.cert),
        "--etcd-keyfile",
        str(mine.key),
    )
    code, out, _ = ctl(server.url, *files, "--output", "json")
    assert code == 0, out
    (row,) = json.loads(out)["endpoints"]
    assert row["version"].startswith("3.5.")
    assert not row["quota_assumed"]

    assert ctl(server.url, "--etcd-cafile", ca)[0] == 2
