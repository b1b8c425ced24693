"""What ends the main thread's sleep: a signal, or a thread that has the process end. It never wakes to have a look.

Python runs a signal's handler in the main thread, between two of its instructions; the kernel may give the signal to
any thread. One that sleeps on a lock would not hear of that. So it sleeps on a pipe, to which the part of the handler
that is written in C sends a byte in whichever thread it runs (signal.set_wakeup_fd).
"""

import os
import signal
from contextlib import suppress


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to read the settings again."""

    def __init__(self) -> None:
        self._stop = self._hangup = False
        self._ear, self._bell = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._bell, False)

    def hear(self) -> None:
        """From now on; in the main thread."""
        signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())
        signal.signal(signal.SIGHUP, lambda *_: self._hung_up())

    def stop(self) -> None:
        """End the waiting for good; from any thread, again is harmless."""
        self._stop = True
        with suppress(BlockingIOError):  # so many have rung already
            os.write(self._bell, b"\0")

    def reload(self) -> bool:
        """Sleep until the settings are to be read again (True) or it is time to stop (False)."""
        while not self._stop:
            if self._hangup:
                self._hangup = False
                return True
            os.read(self._ear, 4096)
        return False

    def _hung_up(self) -> None:
        self._hangup = True
