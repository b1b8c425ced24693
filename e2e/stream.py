"""A TCP connection between two namespaces that carries many segments, or does not."""

import socket
from dataclasses import dataclass

from e2e.netns import Namespace
from overlay.family import Address, Family
from overlay.netlink.namespace import open_inside

LARGE = 200_000
"""Bytes: many segments, which on the way out are cut, and summed up, by the kernel."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where it listens, on any port of its own, and the address it is asked for by if that is another one."""

    space: Namespace
    address: Address
    asked_for: Address | None = None


def carries(here: Namespace, there: Server, *, within_s: float, port: int = 0) -> bool:
    """Whether a connection from ``here`` carries LARGE bytes."""
    kind = Family.of(there.address).af
    with open_inside(there.space.path, lambda: socket.socket(kind)) as server:
        server.settimeout(within_s)
        server.bind((str(there.address), port))
        server.listen()
        with open_inside(here.path, lambda: socket.socket(kind)) as client:
            client.settimeout(within_s)
            try:
                client.connect((str(there.asked_for or there.address), server.getsockname()[1]))
                accepted, _ = server.accept()
                with accepted:
                    accepted.settimeout(within_s)
                    client.sendall(bytes(LARGE))
                    client.shutdown(socket.SHUT_WR)
                    return sum(map(len, iter(lambda: accepted.recv(1 << 16), b""))) == LARGE
            except TimeoutError:
                return False
