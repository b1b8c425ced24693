"""Certificates of a lab's etcd, made and made anew in place: a CA, a server's, a client's."""

from pathlib import Path

from e2e.etcdserver import ServerTls
from tests.contract.certificates import Authority


def issue(directory: Path, address: str) -> ServerTls:
    """New CA, new keys; files of last time are replaced, each by a rename."""
    fresh = directory / "fresh"
    fresh.mkdir(parents=True)
    authority = Authority(fresh)
    server = authority.issue("server", names=f"IP:{address},IP:127.0.0.1")
    client = authority.issue("client", names="DNS:client")
    paths = (authority.ca.cert, server.cert, server.key, client.cert, client.key)
    for path in fresh.iterdir():
        path.replace(directory / path.name)
    fresh.rmdir()
    return ServerTls(*(directory / path.name for path in paths))
