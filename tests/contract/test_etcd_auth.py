"""Users and tokens on a real etcd: renewed without a lost event, and each refusal in words."""

import shutil
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from agent.etcd import Credentials, Etcd, Span
from overlay.errors import BadConfig, OverlayError
from tests.contract.certificates import make_rsa
from tests.contract.etcd_follower import Follower, until
from tests.contract.etcd_server import VERSIONS, Server, ctl

pytestmark = pytest.mark.contract

PASSWORD = "s3cret-of-nobody"
ROOT = Credentials(username="root", password=PASSWORD)
NODE = Credentials(username="node", password=PASSWORD)
P = "/coreos.com/network"
TTL_S = 1


@pytest.fixture(scope="module", params=VERSIONS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With authentication; 3.4 with simple tokens, which a restart forgets, 3.5 with signed ones."""
    work = tmp_path_factory.mktemp("auth")
    tokens = ["--auth-token-ttl", str(TTL_S)]
    if request.param == "3.5":
        pair = make_rsa(work)
        tokens = ["--auth-token"]
        tokens += [f"jwt,pub-key={pair.cert},priv-key={pair.key},sign-method=RS256,ttl={TTL_S}s"]
    made = Server(work, "--bcrypt-cost", "4", *tokens, version=request.param)
    for words in (
        ("user", "add", f"root:{PASSWORD}"),
        ("user", "grant-role", "root", "root"),
        ("user", "add", f"node:{PASSWORD}"),
        ("role", "add", "overlay"),
        ("role", "grant-permission", "overlay", "--prefix=true", "readwrite", P),
        ("user", "grant-role", "node", "overlay"),
        ("auth", "enable"),
    ):
        made.ctl(*words)
    yield made
    made.stop()
    shutil.rmtree(work, ignore_errors=True)


def store(server: Server, credentials: Credentials) -> Etcd:
    """A client of the agent's kind."""
    return Etcd([server.url], credentials=credentials, timeout_s=20, scope=P)


def test_an_expired_token_is_renewed_and_no_event_is_lost(server: Server) -> None:
    """Calls go on, and so does a watch that was opened with a token which is long gone; also over a restart."""
    follower, writer = Follower(store(server, NODE), P), store(server, NODE)
    try:
        until(lambda: len(follower.events) >= 2)
        writer.put(f"{P}/subnets/a", b"1")
        until(lambda: follower.keys == ["a"])
        first = _authentications(server)
        # A simple token lives as long as it is used; it is asked for seldom enough to expire.
        pause = iter((0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4))
        while _authentications(server) == first:
            time.sleep(next(pause))
            writer.put(f"{P}/other", b"1")
        writer.put(f"{P}/subnets/b", b"1")
        server.stop()
        server.start()
        writer.put(f"{P}/subnets/c", b"1")
        until(lambda: len(follower.keys) >= 3)
        assert follower.keys == ["a", "b", "c"]
    finally:
        follower.stop()
        writer.close()


def test_a_changed_auth_store_makes_a_new_token(server: Server) -> None:
    """etcd 3.5 with signed tokens says: revision of auth store is old."""
    writer, root = store(server, NODE), ["--user", f"root:{PASSWORD}"]
    writer.put(f"{P}/x", b"1")
    name = f"more{time.monotonic_ns()}"
    ctl([server.url], *root, "role", "add", name)

    writer.put(f"{P}/x", b"2")
    watch = writer.watch([Span(f"{P}/x", "", 1)])
    assert next(iter(watch)).changes
    writer.close()


def test_sixteen_threads_authenticate_once(server: Server) -> None:
    """The password is checked once, whoever comes first; once more only when the token's life is over meanwhile."""
    before, began = _authentications(server), time.monotonic()
    client = store(server, NODE)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: client.put(f"{P}/t{n}", b"1"), range(16)))
    client.close()

    lives = 1 + int((time.monotonic() - began) / TTL_S)
    assert before < _authentications(server) <= before + lives


def test_a_wrong_password_is_said_without_it(server: Server) -> None:
    """Name and settings, never the password."""
    for wrong in (
        Credentials(username="node", password="wr0ng"),
        Credentials(username="nobody", password="wr0ng"),
    ):
        with pytest.raises(BadConfig, match=f"etcd_username = '{wrong.username}'") as caught:
            store(server, wrong).range(f"{P}/config")
        _holds_no_secret(caught.value, "wr0ng")
        assert "wr0ng" not in repr(wrong)


def test_no_user_where_etcd_asks_for_one_names_the_setting(server: Server) -> None:
    """For calls and for watches."""
    client = store(server, Credentials())
    with pytest.raises(BadConfig, match="etcd_username is not set"):
        client.range(f"{P}/config")
    with pytest.raises(OverlayError):
        client.watch([Span(f"{P}/config", "", 1)])
    client.close()


def test_what_the_user_may_not_do_comes_with_the_command_that_grants_it(server: Server) -> None:
    """User, range and command; for reading, writing and watching."""
    client = store(server, NODE)
    for act, words in (
        (lambda: client.range("/else/", "/else0"), r"'node' may not read \[/else/, /else0\)"),
        (lambda: client.put("/else/x", b"1"), "'node' may not write /else/x"),
        (lambda: client.watch([Span("/else/", "/else0", 1)]), r"'node' may not read \[/else/"),
    ):
        with pytest.raises(BadConfig, match=words) as caught:
            act()
        assert "etcdctl role grant-permission overlay readwrite /else/" in caught.value.hint
        _holds_no_secret(caught.value, PASSWORD)
    client.close()

    bare = Etcd([server.url], credentials=NODE, scope="/else")
    with pytest.raises(BadConfig) as caught:
        bare.range("/else/subnets/", "/else/subnets0")
    assert "--prefix=true readwrite /else/" in caught.value.hint
    bare.close()


def test_a_user_is_no_fault_where_authentication_is_off(
    etcd_server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes on without, and says so once."""
    client = store(etcd_server, NODE)
    client.put("/off", b"1")
    client.watch([Span("/off", "", 1)]).close()
    client.close()

    assert caplog.text.count("authentication switched off") == 1
    assert PASSWORD not in caplog.text


def test_authentication_that_is_switched_on_later_is_obeyed(server: Server) -> None:
    """The client that was told it is off authenticates as soon as it is asked to."""
    root = ["--user", f"root:{PASSWORD}"]
    ctl([server.url], *root, "auth", "disable")
    client = store(server, NODE)
    client.put(f"{P}/x", b"1")
    ctl([server.url], "auth", "enable")

    client.put(f"{P}/x", b"2")
    client.close()


def _authentications(server: Server) -> int:
    """How often etcd was asked to check a password, by its own count."""
    with urllib.request.urlopen(f"{server.url}/metrics") as page:
        lines = page.read().decode().splitlines()
    counts = [
        line
        for line in lines
        if line.startswith("grpc_server_started_total") and 'grpc_method="Authenticate"' in line
    ]
    return sum(int(float(line.split()[-1])) for line in counts)


def _holds_no_secret(error: OverlayError, secret: str) -> None:
    link: BaseException | None = error
    while link is not None:
        assert secret not in str(link)
        assert secret not in str(getattr(link, "hint", ""))
        link = link.__cause__ or link.__context__
