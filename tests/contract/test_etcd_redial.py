"""redial: another way to the same etcd, while calls and a watch are under way; or nothing changes at all."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from agent.etcd import Credentials, Etcd, Span
from overlay.errors import BadConfig, OverlayError, StoreUnavailable
from tests.contract.certificates import Authority
from tests.contract.etcd_server import Server

pytestmark = pytest.mark.contract


class Site:
    """An etcd that asks for client certificates, and the files it asks for."""

    def __init__(self, work: Path) -> None:
        authority = Authority(work)
        mine = authority.issue("client", names="DNS:client")
        self.full = Credentials(
            cafile=str(authority.ca.cert), certfile=str(mine.cert), keyfile=str(mine.key)
        )
        self.server = Server(
            work / "data",
            *("--client-cert-auth", "--trusted-ca-file", str(authority.ca.cert)),
            tls=authority.issue("server", names="IP:127.0.0.1"),
            credentials=self.full,
        )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """For all of them."""
    work = tmp_path_factory.mktemp("redial")
    (work / "data").mkdir()
    made = Site(work)
    yield made
    made.server.stop()
    shutil.rmtree(work, ignore_errors=True)


@pytest.fixture
def client(site: Site) -> Iterator[Etcd]:
    """One that is refused: it shows no certificate."""
    made = Etcd([site.server.url], credentials=Credentials(cafile=site.full.cafile), timeout_s=20)
    yield made
    made.close()


def test_a_client_is_led_by_other_settings_to_the_cluster_it_knows(
    site: Site, client: Etcd
) -> None:
    """What was refused is answered, the old stream ends, and the cluster is still the one that is ours."""
    with pytest.raises(StoreUnavailable):
        client.range("/a")
    client.redial([site.server.url], site.full, timeout_s=20)
    client.put("/a", b"1")
    cluster = client.cluster
    with closing(client.watch([Span("/a", "", client.range("/a").revision)])) as stream:
        client.redial(["https://127.0.0.1:1", site.server.url], site.full, timeout_s=20)
        with pytest.raises(OverlayError):
            list(stream)
    assert client.range("/a").records[0].value == b"1"
    assert client.cluster == cluster != 0


@pytest.mark.parametrize("setting", ["certfile", "keyfile", "cafile"])
def test_what_cannot_be_used_leaves_everything_as_it_was(
    site: Site, client: Etcd, setting: str
) -> None:
    """A file that is not there is found before anything is taken."""
    client.redial([site.server.url], site.full, timeout_s=20)
    with pytest.raises(BadConfig, match=f"etcd_{setting} = '/nowhere'"):
        client.redial(
            ["https://192.0.2.1:1"], replace(site.full, **{setting: "/nowhere"}), timeout_s=20
        )
    client.put("/a", b"1")
    assert client.endpoints == (site.server.url,)


def test_files_are_looked_at_when_asked(site: Site, client: Etcd, tmp_path: Path) -> None:
    """True once for new contents, False while they are the same, an error while they do not fit."""
    names = ("cafile", "certfile", "keyfile")
    copies = {name: shutil.copy(getattr(site.full, name), tmp_path / name) for name in names}
    client.redial(
        [site.server.url], Credentials(**{k: str(v) for k, v in copies.items()}), timeout_s=20
    )
    assert not client.certificates()
    shutil.copy(site.full.certfile, tmp_path / "again")
    (tmp_path / "again").replace(tmp_path / "certfile")
    assert client.certificates()
    assert not client.certificates()
    (tmp_path / "keyfile").write_text("no key")
    with pytest.raises(BadConfig, match="etcd_keyfile"):
        client.certificates()
    client.put("/a", b"2")
