"""Standard output whose reader is gone (`overlayctl status | head -1`): what is still said goes nowhere."""

import os
import select
import sys


def nobody_reads() -> None:
    """From now on; or the interpreter would complain of it at its end, and with an exit code of its own."""
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def is_read() -> bool:
    """False once the reader of a pipe is gone; who has nothing to write would never hear of it."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return not poll.poll(0)
