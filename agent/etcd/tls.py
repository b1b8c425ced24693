"""Certificates from files, read again when the files change.

A new set is used only if it is whole: readable, PEM, and the key is the certificate's. While it is not (files are
replaced one after the other) the old set serves on, and the reason is logged once.
"""

import logging
import os
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc

from agent.etcd.credentials import Credentials
from overlay.errors import BadConfig

log = logging.getLogger(__name__)

LOOK_EVERY_S = 2.0
"""Files are looked at when a connection is used, at most this often: three stat(2)."""

Signature = tuple[tuple[int, int, int] | None, ...]


class TlsFiles:
    """Thread-safe. ``generation`` grows with every new set."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        clock: Callable[[], float] = time.monotonic,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._credentials = credentials
        self._clock, self._look_every_s = clock, look_every_s
        self._names = (credentials.cafile, credentials.certfile, credentials.keyfile)
        self._lock = threading.Lock()
        self._looked = 0.0
        self._signature: Signature = ()
        self._refused: Signature = ()
        self._loaded: grpc.ChannelCredentials | None = None
        self.generation = 0

    def now(self) -> tuple[int, grpc.ChannelCredentials]:
        """The generation and what grpc needs of it.

        Raises:
            BadConfig: there is no usable set yet.
        """
        with self._lock:
            if self._loaded is None:
                self._load()
            elif self._clock() - self._looked >= self._look_every_s:
                self._look()
            return self.generation, self._loaded

    def again(self) -> bool:
        """Look at once; True if a new set was taken.

        Raises:
            BadConfig: the files of now cannot be used; a set loaded before serves on.
        """
        with self._lock:
            if self._loaded is not None and self._sign() == self._signature:
                return False
            self._load()
            return True

    def context(self) -> ssl.SSLContext:
        """The same for Python's ssl.

        Raises:
            BadConfig: a file cannot be read or used; setting and file are named.
        """
        its = self._credentials
        for key, name in zip(("cafile", "certfile", "keyfile"), self._names, strict=True):
            _readable(f"etcd_{key}", name)
        try:
            context = ssl.create_default_context(cafile=its.cafile or None)
        except ssl.SSLError as error:
            raise BadConfig(
                f"etcd_cafile = {its.cafile!r} holds no certificate (PEM)",
                hint=f"openssl x509 -in {its.cafile} -noout -subject",
            ) from error
        if its.certfile:
            try:
                # A password, so that a key with a passphrase is an error and no question on the terminal.
                context.load_cert_chain(its.certfile, its.keyfile, password="")
            except (ssl.SSLError, ValueError) as error:
                pair = f"etcd_keyfile = {its.keyfile!r}, etcd_certfile = {its.certfile!r}"
                if "KEY_VALUES_MISMATCH" in str(error):
                    raise BadConfig(f"{pair}: the key is not the certificate's") from error
                raise BadConfig(f"{pair}: not PEM, or the key has a passphrase") from error
        return context

    def _look(self) -> None:
        self._looked = self._clock()
        signature = self._sign()
        if signature in (self._signature, self._refused):
            return
        try:
            self._load()
        except BadConfig as error:
            self._refused = signature
            log.warning(
                "new certificates not taken, going on with the old ones: %s; look: overlayctl doctor",
                error,
            )
        else:
            log.info("new certificates taken: %s", ", ".join(name for name in self._names if name))

    def _load(self) -> None:
        before = self._sign()
        self.context()
        root, certificate, key = (Path(name).read_bytes() if name else None for name in self._names)
        if self._sign() != before:
            raise BadConfig(
                "the certificates' files are just being written", hint="it is tried again by itself"
            )
        self._loaded = grpc.ssl_channel_credentials(
            root_certificates=root or _system_roots(),
            private_key=key,
            certificate_chain=certificate,
        )
        self._signature, self._refused, self._looked = before, (), self._clock()
        self.generation += 1

    def _sign(self) -> Signature:
        return tuple(_stat(name) for name in self._names if name)


def _stat(name: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(name)  # follows links: a link that is turned over is a change
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _readable(key: str, name: str) -> None:
    try:
        if name:
            Path(name).read_bytes()
    except OSError as error:
        raise BadConfig(f"{key} = {name!r}: {error.strerror}", hint=f"ls -l {name}") from error


def _system_roots() -> bytes | None:
    """Without etcd_cafile the machine's own list decides, as for curl; grpc would bring one of its own."""
    name = ssl.get_default_verify_paths().cafile
    for path in (name, "/etc/ssl/certs/ca-certificates.crt"):
        if path and Path(path).is_file():
            return Path(path).read_bytes()
    return None
