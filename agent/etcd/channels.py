"""Connections: one per endpoint, replaced when the certificates change, closed when their last user has gone."""

import threading
from typing import Any

import grpc

from agent.etcd.endpoints import Endpoint
from agent.etcd.tls import TlsFiles
from overlay.errors import StoreUnavailable

MOST_MESSAGE_BYTES = 256 << 20
"""A list of 20,000 leases is about 10 MB, a watch may get as much at once; grpc's own limit of 4 MB is too small."""
# A connection that is dead, though TCP does not say so, is ended by HTTP/2 pings: after 20 s without a word (etcd
# refuses more than one ping in 5 s), and the answer is due within 5 s. Calls have deadlines of their own, and a
# watch asks for signs of life of etcd itself; without pings both would be made on the same dead connection again.
_OPTIONS = (
    ("grpc.max_receive_message_length", MOST_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # closed is closed: nothing is shared behind our back
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.initial_reconnect_backoff_ms", 200),
)


class Line:
    """One channel. ``introduced``: its member has said which cluster it belongs to since it last failed."""

    def __init__(self, channel: grpc.Channel, generation: int) -> None:
        self.channel = channel
        self.generation = generation
        self.introduced = False
        self._lock = threading.Lock()
        self._users = 0
        self._retired = False

    def hold(self) -> "Line":
        """One user more."""
        with self._lock:
            self._users += 1
        return self

    def release(self) -> None:
        """One user less; the last one of a retired line closes it."""
        with self._lock:
            self._users -= 1
            last = self._retired and not self._users
        if last:
            self.channel.close()

    def retire(self) -> None:
        """Close it as soon as nobody uses it."""
        with self._lock:
            self._retired = True
            last = not self._users
        if last:
            self.channel.close()


class Channels:
    """Thread-safe. Nothing is sent before the first call."""

    def __init__(self, tls: TlsFiles) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._lines: dict[Endpoint, Line] = {}
        self._closed = False

    def hold(self, endpoint: Endpoint) -> Line:
        """The present one, held: ``release`` it after the call or stream.

        Raises:
            BadConfig: the certificates cannot be used.
            StoreUnavailable: closed.
        """
        generation, keys = self._tls.now() if endpoint.secure else (0, None)
        with self._lock:
            if self._closed:
                raise StoreUnavailable("the etcd client was closed")
            line = self._lines.get(endpoint)
            if line is not None and line.generation == generation:
                return line.hold()
            fresh = Line(_open(endpoint, keys), generation).hold()
            self._lines[endpoint] = fresh
        if line is not None:
            line.retire()
        return fresh

    def close(self) -> None:
        """Close all at once; calls under way fail."""
        with self._lock:
            self._closed = True
        self.drop()

    def drop(self) -> None:
        """Close all connections; calls under way fail, the next ones open new connections."""
        with self._lock:
            lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            line.channel.close()


def _open(endpoint: Endpoint, keys: Any) -> grpc.Channel:  # noqa: ANN401 - grpc ships no types
    options = [*_OPTIONS, ("grpc.default_authority", endpoint.authority)]
    if keys is None:
        return grpc.insecure_channel(endpoint.target, options=options)
    if endpoint.name != endpoint.address:  # the certificate is the name's, whatever the address
        options.append(("grpc.ssl_target_name_override", endpoint.name))
    return grpc.secure_channel(endpoint.target, keys, options=options)
