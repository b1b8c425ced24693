"""A certificate authority of a lab with one server and one client certificate, made and made anew by openssl."""

from pathlib import Path

from e2e.etcdserver import ServerTls
from e2e.process import must

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
_DAYS = ("-days", "2")


def issue(directory: Path, address: str) -> ServerTls:
    """New CA, new keys; files of last time are replaced, each by a rename."""
    fresh = directory / "fresh"
    fresh.mkdir(parents=True)
    _ca(fresh)
    _leaf(fresh, "server", f"IP:{address},IP:127.0.0.1")
    _leaf(fresh, "client", "DNS:client")
    for path in fresh.iterdir():
        path.replace(directory / path.name)
    fresh.rmdir()
    return ServerTls(
        cafile=directory / "ca.crt",
        certfile=directory / "server.crt",
        keyfile=directory / "server.key",
        client_certfile=directory / "client.crt",
        client_keyfile=directory / "client.key",
    )


def _ca(where: Path) -> None:
    files = ("-keyout", where / "ca.key", "-out", where / "ca.crt")
    must(["openssl", "req", "-x509", *_KEY, *_DAYS, "-subj", "/CN=the lab's CA", *files])


def _leaf(where: Path, name: str, names: str) -> None:
    files = ("-keyout", where / f"{name}.key", "-out", where / f"{name}.csr")
    more = ("-subj", f"/CN={name}", "-addext", f"subjectAltName={names}")
    must(["openssl", "req", *_KEY, *more, *files])
    words = ["openssl", "x509", "-req", "-copy_extensions", "copy", *_DAYS]
    words += ["-in", str(where / f"{name}.csr"), "-out", str(where / f"{name}.crt")]
    must([*words, "-CA", where / "ca.crt", "-CAkey", where / "ca.key", "-CAcreateserial"])
