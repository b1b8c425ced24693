"""TLS to a real etcd: CA only, client certificate, names, files that change, and what is said of each fault."""

import contextlib
import logging
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.etcd import Credentials, Etcd, Span
from e2e.proxy import Proxy
from overlay.errors import BadConfig, StoreUnavailable
from tests.contract.certificates import Authority, Pair
from tests.contract.etcd_follower import until
from tests.contract.etcd_server import VERSIONS, Server

pytestmark = pytest.mark.contract


class Site:
    """One etcd that asks for client certificates, one that does not, and one with an expired certificate."""

    def __init__(self, work: Path, version: str) -> None:
        self.work = work
        self.authority = Authority(work)
        mine = self.authority.issue("client", names="DNS:client")
        self.ca_only = Credentials(cafile=str(self.authority.ca.cert))
        self.full = replace(self.ca_only, certfile=str(mine.cert), keyfile=str(mine.key))
        server = self.authority.issue("server", names="IP:127.0.0.1,DNS:etcd.test")
        self.open = Server(work / "open", version=version, tls=server, credentials=self.ca_only)
        self.strict = Server(
            work / "strict",
            *("--client-cert-auth", "--trusted-ca-file", str(self.authority.ca.cert)),
            version=version,
            tls=server,
            credentials=self.full,
        )


@pytest.fixture(scope="module", params=VERSIONS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    """For each version."""
    work = tmp_path_factory.mktemp("tls")
    for name in ("open", "strict"):
        (work / name).mkdir()
    made = Site(work, request.param)
    yield made
    made.open.stop()
    made.strict.stop()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def client() -> Iterator[Callable[..., Etcd]]:
    """Makes clients, and closes them."""
    made = []

    def make(url: str, credentials: Credentials, **more: object) -> Etcd:
        made.append(Etcd([url], credentials=credentials, timeout_s=20, **more))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_ca_is_enough_where_etcd_asks_for_no_certificate(
    site: Site, client: Callable[..., Etcd]
) -> None:
    """With https:// and, because a CA is set, without a scheme."""
    client(site.open.url, site.ca_only).put("/a", b"1")
    bare = client(site.open.url.removeprefix("https://"), site.ca_only)
    assert bare.range("/a").records[0].value == b"1"


def test_a_client_certificate_is_shown(site: Site, client: Callable[..., Etcd]) -> None:
    """And without one etcd's demand is said in a sentence."""
    client(site.strict.url, site.full).put("/a", b"1")

    with pytest.raises(StoreUnavailable, match="asks for a client certificate") as caught:
        client(site.strict.url, site.ca_only).range("/a")
    assert "etcd_certfile" in caught.value.hint


def test_a_certificate_that_etcd_does_not_trust_is_named(
    site: Site, client: Callable[..., Etcd]
) -> None:
    """Ours, of another CA."""
    other = Authority(site.work, "other").issue("foreign", names="DNS:client")
    wrong = replace(site.full, certfile=str(other.cert), keyfile=str(other.key))

    with pytest.raises(StoreUnavailable, match=r"etcd_certfile = .*foreign.* is not accepted"):
        client(site.strict.url, wrong).range("/a")


def test_each_fault_of_etcds_certificate_is_one_sentence_with_its_setting(
    site: Site, client: Callable[..., Etcd]
) -> None:
    """Wrong CA, no CA, wrong name, TLS where none is and none where TLS is."""
    wrong = replace(site.ca_only, cafile=str(Authority(site.work, "wrong").ca.cert))
    cases = [
        (site.open.url, wrong, "not signed by etcd_cafile = "),
        (site.open.url, Credentials(), "not signed by a CA of this machine"),
        (f"http://127.0.0.1:{site.open.port}", Credentials(), "speaks TLS only"),
    ]
    for url, credentials, words in cases:
        with pytest.raises(StoreUnavailable, match=words) as caught:
            client(url, credentials).range("/a")
        assert "etcd_" in str(caught.value) + caught.value.hint
        assert "\n" not in str(caught.value)


def test_tls_to_an_etcd_without_is_said(
    site: Site, etcd_server: Server, client: Callable[..., Etcd]
) -> None:
    """https:// in the endpoint, http behind it."""
    with pytest.raises(StoreUnavailable, match="does not speak TLS") as caught:
        client(etcd_server.url.replace("http", "https"), site.ca_only).range("/")
    assert "http://" in caught.value.hint


def test_an_expired_certificate_is_called_expired(site: Site, client: Callable[..., Etcd]) -> None:
    """A TLS server of Python's stands in, which saves the start of an etcd."""
    expired = site.authority.issue("expired", days=-1)
    with socket.create_server(("127.0.0.1", 0)) as door:
        threading.Thread(target=_shake_hands, args=(door, expired), daemon=True).start()
        url = f"https://127.0.0.1:{door.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match=r"certificate .* has expired"):
            client(url, site.ca_only).range("/")


def test_the_certificate_must_be_for_the_name_not_for_the_address(
    site: Site, client: Callable[..., Etcd]
) -> None:
    """A name is expanded to addresses by us, and checked as a name all the same."""

    def resolve(name: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    good = f"https://etcd.test:{site.open.port}"
    client(good, site.ca_only, resolver=resolve).range("/")

    bad = f"https://other.test:{site.open.port}"
    with pytest.raises(StoreUnavailable, match=r"certificate is not for other\.test"):
        client(bad, site.ca_only, resolver=resolve).range("/")


def test_files_that_change_are_read_again_and_running_streams_go_on(
    site: Site, client: Callable[..., Etcd], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A torn file is said once and not used; the old connection is closed when its last stream has ended."""
    caplog.set_level(logging.INFO)
    mine = {name: tmp_path / name for name in ("cafile", "certfile", "keyfile")}
    for name, path in mine.items():
        shutil.copy(getattr(site.full, name), path)
    credentials = Credentials(**{name: str(path) for name, path in mine.items()})
    fresh = site.authority.issue("renewed", names="DNS:client")
    with Proxy(("127.0.0.1", site.strict.port)) as proxy:
        store = client(f"https://{proxy.url}", credentials)
        watch = store.watch([Span("/r", "", store.put("/r", b"0"))])
        heard = iter(watch)
        assert next(heard).changes
        assert proxy.count.connections == 1

        mine["certfile"].write_bytes(fresh.cert.read_bytes()[:100])
        until(lambda: store.put("/r", b"1") and "not taken" in caplog.text)
        assert proxy.count.connections == 1
        mine["certfile"].write_bytes(fresh.cert.read_bytes())
        mine["keyfile"].write_bytes(fresh.key.read_bytes())
        until(lambda: store.put("/r", b"2") and "certificates taken" in caplog.text)
        until(lambda: store.put("/r", b"3") and proxy.count.connections == 2)

        values = []
        while b"3" not in values:
            values += [one.record.value for one in next(heard).changes if one.record]
        assert proxy.open == 2
        watch.close()
        until(lambda: proxy.open == 1)
    assert (
        caplog.text.count("not taken") <= 2
    )  # torn, and perhaps the new certificate beside the old key


def test_a_file_that_is_missing_is_named_with_its_setting(client: Callable[..., Etcd]) -> None:
    """Said at the first use, so that a file that comes later is found."""
    absent = Credentials(cafile="/nonexistent/ca.pem")
    with pytest.raises(BadConfig, match=r"etcd_cafile = '/nonexistent/ca\.pem': No such file"):
        client("https://127.0.0.1:1", absent).range("/")


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials(cafile="/ca"), "not encrypted, but etcd_cafile is set"),
        (Credentials(certfile="/c"), "etcd_keyfile is not"),
        (Credentials(keyfile="/k"), "etcd_certfile is not"),
        (Credentials(password="p"), "etcd_username is not"),
    ],
)
def test_settings_that_contradict_each_other_are_refused_at_once(
    credentials: Credentials, words: str
) -> None:
    """Before anything is sent."""
    with pytest.raises(BadConfig, match=words):
        Etcd(["http://127.0.0.1:1"], credentials=credentials)


def _shake_hands(door: socket.socket, pair: Pair) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    context.set_alpn_protocols(["h2"])
    with contextlib.suppress(OSError):  # also every handshake that the other end breaks off
        while True:
            plug, _ = door.accept()
            with contextlib.suppress(OSError), plug, context.wrap_socket(plug, server_side=True):
                pass
