"""Logging as journald likes it: one line per change, no timestamps of ours, priority in front.

journald stamps the time and reads the ``<N>`` prefix as the priority (sd-daemon(3)); on a terminal or
in a file people get a plain time instead.
"""

import logging
import os
import sys
from collections.abc import Mapping

from agent.printable import printable
from cni.steps import Steps
from overlay.errors import OverlayError

log = logging.getLogger(__name__)

_PRIORITY = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


class _OneLine(logging.Formatter):
    """What others wrote, such as keys in etcd, begins no line of its own; a traceback may."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return printable(super().formatMessage(record))


class _Journal(_OneLine):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        mark = f"<{_PRIORITY.get(record.levelno, 6)}>"
        return "\n".join(mark + line for line in text.splitlines())


FORMATTERS = {
    "journal": _Journal("%(message)s"),
    "plain": _OneLine("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"),
}


def configure(level: str) -> None:
    """Set up the root logger, once, before any thread starts."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(FORMATTERS["journal" if os.environ.get("JOURNAL_STREAM") else "plain"])
    logging.basicConfig(level=level, handlers=[handler], force=True)


def set_level(level: str) -> None:
    """Another one from now on."""
    logging.getLogger().setLevel(level)


def refused(error: OverlayError) -> None:
    """Why the agent does not start, for a person or the journal; there may be no settings for a log yet."""
    mark = "<3>" if os.environ.get("JOURNAL_STREAM") else ""
    print(f"{mark}overlay-agent: {printable(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"{mark}  next: {printable(error.hint)}", file=sys.stderr)


def cni_answered(environ: Mapping[str, str], steps: Steps, code: int, stdout: bytes) -> None:
    """What became of a CNI request, in one line."""
    verb = environ.get("CNI_COMMAND", "")[:8]
    verb = verb if verb.isalpha() else repr(verb)  # one line, whatever it holds
    if code > 0:
        log.warning("%s refused %s %s", verb, steps.sentence(), stdout.decode().strip())
    elif verb in ("ADD", "DEL", "GC"):
        log.info("%s %s", verb, steps.sentence())
    else:
        log.debug("%s %s", verb, steps.sentence())
