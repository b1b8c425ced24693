"""The only door to systemd's notification socket (sd_notify(3)); silent where there is none."""

import os
import socket
import time

REFUSED_S = 3.0
"""An operator who waits for `systemctl start` to fail waits so long."""


class Notifier:
    """Sends READY, RELOADING, STATUS, WATCHDOG and STOPPING to the service manager that started us."""

    def __init__(self, address: str | None = None) -> None:
        self._address = address if address is not None else os.environ.get("NOTIFY_SOCKET", "")
        self._said_ready = self._stopping = False

    @property
    def watchdog_s(self) -> float:
        """Seconds between two WATCHDOG=1 that systemd expects at most; 0 where it expects none."""
        microseconds = os.environ.get("WATCHDOG_USEC", "0")
        return int(microseconds) / 1e6 if microseconds.isdigit() else 0.0

    def ready(self) -> None:
        """The node serves: lease held, first clean apply done."""
        self._said_ready = True
        self._send("READY=1")

    def reloading(self) -> None:
        """The settings are being read again; a node that is not ready yet does not become so by that."""
        if self._said_ready:
            self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def reloaded(self) -> None:
        """The end of ``reloading``."""
        if self._said_ready:
            self._send("READY=1")

    def status(self, text: str) -> None:
        """The line that ``systemctl status`` shows."""
        if not self._stopping:
            self._send(f"STATUS={text.splitlines()[0] if text else ''}")

    def watchdog(self) -> None:
        """Proof of progress; call it only after the loop has really gone round."""
        self._send("WATCHDOG=1")

    def refused(self, why: str) -> None:
        """It cannot start. Tried again at once, twice a second, it would fill the journal: that is put off a while."""
        if self._address:
            self.status(why)
            time.sleep(REFUSED_S)

    def stopping(self) -> None:
        """A stop was asked for and has begun; ``systemctl status`` shows the sentence until the next start."""
        self._stopping = True
        self._send("STOPPING=1\nSTATUS=stopped: traffic, lease and pods stay as they are")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as door:
            try:
                door.connect(address)
                door.send(message.encode())
            except OSError:
                return  # the manager is gone or busy: nothing of ours depends on it
