"""One request from beginning to end: bytes in, exit code and stdout out, whatever happens.

Called by the agent for what comes through its socket, and by ``python -m cni`` where no agent
answers.
"""

import os
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from cni import commands, protocol, results
from cni.protocol import Request, Verb
from overlay import nodefile
from overlay.errors import BadEnvironment, BadInput, NotReady, OverlayError

NO_AGENT = "overlay-agent does not run or has not got a subnet yet"
NOT_AVAILABLE = 50
"""CNI specification 1.1.0, STATUS: no ADD can be served now."""
STDIN_FAILED = 5
"""CNI specification 1.1.0, "Error": I/O failure."""


def run(
    environ: Mapping[str, str], stdin: bytes, run_dir: Path, *, waiting: str = NO_AGENT
) -> tuple[int, bytes]:
    """(exit code, stdout). ``waiting`` is what to say while there is no node page. Never raises."""
    try:
        request = protocol.parse(environ, stdin)
        return 0, _answer(request, run_dir, waiting)
    except OverlayError as error:
        unready = environ.get("CNI_COMMAND") == "STATUS" and isinstance(error, NotReady)
        code = NOT_AVAILABLE if unready else None
        return 1, results.encode_error(error, _speakable(stdin), code=code)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return 1, results.encode_internal_error(error, _speakable(stdin))


def main(installed: str = nodefile.DEFAULT_RUN_DIR) -> int:
    """``python -m cni``: environment and stdin as a runtime gives them.

    ``installed`` is the run directory where neither of them names one.
    """
    try:
        stdin = _read(0)
    except OSError as error:
        reason = BadInput(f"stdin cannot be read: {error.strerror}")
        _write(results.encode_error(reason, protocol.NEWEST, code=STDIN_FAILED))
        return 1
    stated = os.environ.get("OVERLAY_RUN_DIR") or protocol.stated_run_dir(stdin)
    code, stdout = run(os.environ, stdin, Path(stated or installed))
    _write(stdout)
    return code


def _answer(request: Request, run_dir: Path, waiting: str) -> bytes:
    match request.verb:
        case Verb.VERSION:
            return results.encode_versions(request.config.version)
        case Verb.ADD:
            page = _page(run_dir, waiting)
            result = commands.add(request, page, run_dir, now=time.time())
            return results.encode_result(result, request.config.version)
        case Verb.DEL:
            commands.delete(request, run_dir)
            return b""
        case Verb.STATUS:
            _page(run_dir, waiting)
            return b""
    raise BadEnvironment(f"CNI_COMMAND {request.verb.value} is not served yet")


def _page(run_dir: Path, waiting: str) -> nodefile.NodePage:
    try:
        return nodefile.read_page(run_dir)
    except NotReady as error:
        raise NotReady(
            f"this node cannot take pods yet: {waiting}", hint=f"{error}; {error.hint}"
        ) from error


def _speakable(stdin: bytes) -> str:
    """The version to answer an error in: the one asked for, if we speak it."""
    version = protocol.stated_version(stdin)
    return version if version in protocol.VERSIONS else protocol.NEWEST


def _read(descriptor: int) -> bytes:
    """To the end, or one byte more than is accepted."""
    parts: list[bytes] = []
    size = 0
    while size <= protocol.MOST_STDIN_BYTES and (part := os.read(descriptor, 1 << 16)):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
