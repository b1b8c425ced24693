"""The token that stands for user and password: had once, shared by all threads, renewed when etcd forgets it.

etcd checks a password with bcrypt, some 50 to 100 ms of CPU each, so one authentication per process and not one per
thread or call.
"""

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Tokens:
    """Thread-safe. Without a user there never is a token."""

    def __init__(self, username: str) -> None:
        self.username = username
        self._lock = threading.Lock()
        self._token = ""
        self._needless = False
        self._said = False

    def get(self, authenticate: Callable[[], str], *, timeout_s: float) -> str:
        """The token; ``authenticate`` gets a new one, and while it does the other threads wait for it.

        Raises:
            TimeoutError: another thread is still at it.
        """
        if not self.username or self._needless:
            return ""
        if not self._lock.acquire(timeout=timeout_s):
            raise TimeoutError("another thread still waits for etcd to check the password")
        try:
            if not self._token and not self._needless:
                self._token = authenticate()
            return self._token
        finally:
            self._lock.release()

    def drop(self, token: str) -> None:
        """etcd refused ``token``; a younger one that another thread has meanwhile is kept."""
        with self._lock:
            if self._token == token:
                self._token = ""

    def needless(self) -> None:
        """etcd has no authentication: go on without. Called inside ``authenticate``."""
        self._needless = True
        if not self._said:
            self._said = True
            log.warning(
                "etcd_username is set, but etcd has authentication switched off: going on without "
                "(etcdctl auth enable)"
            )

    def needed(self) -> bool:
        """etcd asks for a user, after all; False if we have none to offer."""
        was, self._needless = self._needless, False
        return bool(self.username) and was
