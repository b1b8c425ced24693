"""The socket where runtimes and overlayctl find the agent, and that it stays there.

A file that somebody deletes, or puts another one in place of, leaves a process that listens and is never asked again.
"""

import contextlib
import logging
import os
import socket
import threading
from pathlib import Path

log = logging.getLogger(__name__)


class Doorway:
    """Listens at ``path`` until closed, 0600: whoever can speak here is root already."""

    def __init__(self, path: Path, *, backlog: int) -> None:
        self.trouble = ""
        """Why nobody finds us; empty while they do."""
        self._path, self._name, self._backlog = path, str(path), backlog
        self._lock = threading.Lock()
        self._closed = False
        self._listener = self._listen()

    def accept(self) -> socket.socket:
        """The next connection.

        Raises:
            OSError: there is none, for want of descriptors for example, or because it was closed.
        """
        while True:
            listener = self._listener
            try:
                return listener.accept()[0]
            except OSError:
                if listener is self._listener:
                    raise

    def look(self) -> None:
        """Make it again if it is not to be found at its path; called twice a second: where it is, that is all."""
        if not self._is_ours():
            self._make_again()

    def _make_again(self) -> None:
        with self._lock:
            if self._closed or self._is_ours():
                return
            what = (
                "somebody put another file in place of" if os.path.lexists(self._path) else "lost"
            )
            if not self.trouble:
                log.warning("%s our socket %s, made again", what, self._path)
            before = self._listener
            try:
                self._listener = self._listen()
            except OSError as error:
                self.trouble = (
                    f"{self._path} is not our socket any more, and it cannot be made again: {error}; runtimes run the "
                    f"full program instead; next: ls -l {self._path}; df -h {self._path.parent}"
                )
                return
            self.trouble = ""
            _end(before)

    def close(self) -> None:
        """Listen no more; the file goes as well."""
        with self._lock:
            self._closed = True
            _end(self._listener)
            if self._is_ours():
                self._path.unlink(missing_ok=True)

    def _is_ours(self) -> bool:
        try:
            found = os.stat(self._name, follow_symlinks=False)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._place

    def _listen(self) -> socket.socket:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            before = os.umask(0o177)  # the socket is never, not even for a moment, open to others
            try:
                listener.bind(str(self._path))
            finally:
                os.umask(before)
            listener.listen(self._backlog)
            found = os.stat(self._path)
        except OSError:
            listener.close()
            raise
        self._place = (found.st_dev, found.st_ino)
        return listener


def _end(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
