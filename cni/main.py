"""One request from beginning to end: bytes in, exit code and stdout out, whatever happens.

Called by the agent for what comes through its socket, and by ``python -m cni`` where no agent
answers, or where it answers that the request means to start another program.
"""

import contextlib
import dataclasses
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from pathlib import Path

from cni import check, collect, commands, delegate, diary, log, netconf, protocol, results
from cni.ipam import Ipam
from cni.protocol import Request, Verb
from cni.standing import NO_AGENT, NO_NEW_PODS, Standing
from cni.steps import Steps
from overlay import nodefile
from overlay.errors import BadInput, NotReady, NotServing, OverlayError

FULL = -1
"""Instead of an exit code: nothing was touched, the caller must run the full program."""
_FIRST = threading.Lock()
"""Whoever has it answers: the call that is done, or the thread that says it is late."""
STDIN_FAILED = 5
"""CNI specification 1.1.0, "Error": I/O failure."""


def run(
    environ: Mapping[str, str],
    stdin: bytes,
    run_dir: Path,
    *,
    standing: Standing = NO_AGENT,
    steps: Steps | None = None,
    alone: bool = True,
) -> tuple[int, bytes]:
    """(exit code, stdout). Never raises.

    ``standing`` is what the agent knows of the node; ``alone`` says that we are the full program, which
    may start others: without it such a request is answered by FULL.
    """
    steps = steps or Steps()
    try:
        request = protocol.parse(environ, stdin)
        steps.trace, steps.notes["pod"] = request.trace, request.pod
        if request.container:
            steps.notes["attachment"] = f"{request.ifname}@{request.container[:12]}"
        if not alone and _needs_program(request, run_dir):
            return FULL, b""
        return 0, _answer(request, run_dir, standing, steps, alone=alone)
    except commands.NeedsProgram:
        return FULL, b""
    except OverlayError as error:
        return 1, _refusal(error, environ, stdin)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return 1, results.encode_internal_error(error, _speakable(stdin))
    finally:
        steps.done()


def too_late(environ: Mapping[str, str], stdin: bytes, steps: Steps) -> tuple[int, bytes]:
    """The answer to a request whose time is up while it still hangs."""
    verb = environ.get("CNI_COMMAND", "")[:8]
    error = NotReady(f"{verb} is {steps.late()}", hint="journalctl -u overlay-agent")
    return 1, _refusal(error, environ, stdin)


def main(installed: str = nodefile.DEFAULT_RUN_DIR) -> int:
    """``python -m cni``: environment and stdin as a runtime gives them.

    ``installed`` is the run directory where neither of them names one.
    """
    try:
        stdin = _read(0)
    except OSError as error:
        reason = BadInput(f"stdin cannot be read: {error.strerror}")
        reason.cni_code = STDIN_FAILED
        _write(results.encode_error(reason, netconf.NEWEST))
        return 1
    run_dir = Path(os.environ.get("OVERLAY_RUN_DIR") or protocol.stated_run_dir(stdin) or installed)
    steps, verb = Steps(), os.environ.get("CNI_COMMAND", "")
    threading.Thread(target=_end_when_late, args=(stdin, steps), daemon=True).start()
    standing = _ask_agent(run_dir) if verb == "STATUS" else NO_AGENT
    code, stdout = run(_environ(), stdin, run_dir, standing=standing, steps=steps)
    if verb in ("ADD", "DEL", "CHECK", "GC"):
        said = stdout.decode(errors="replace") if code else ""
        log.append(run_dir, f"{verb} {'refused' if code else 'done'} {steps.sentence()} {said}")
    _FIRST.acquire()  # held by the other one, we end with it
    _write(stdout)
    _leave_a_line(run_dir, steps)
    return code


def _leave_a_line(run_dir: Path, steps: Steps) -> None:
    """For the history of addresses, once the answer is out; where no agent was ever ready, nobody knows the place."""
    if steps.line is not None:
        with contextlib.suppress(OverlayError):
            if home := nodefile.read_page(run_dir).state_dir:
                diary.append(home, [steps.line])


def _answer(
    request: Request, run_dir: Path, standing: Standing, steps: Steps, *, alone: bool
) -> bytes:
    match request.verb:
        case Verb.VERSION:
            return results.encode_versions(request.config.version)
        case Verb.ADD:
            page = _page(run_dir, standing)
            result = commands.add(request, page, run_dir, now=time.time(), steps=steps)
            return results.encode_result(result, request.config.version)
        case Verb.DEL:
            commands.delete(request, run_dir, steps=steps, alone=alone)
        case Verb.CHECK:
            check.check(request, _page(run_dir, standing), run_dir, steps=steps)
        case Verb.GC:
            collect.collect(request, run_dir, steps=steps)
        case Verb.STATUS:
            _status(request, run_dir, standing, steps)
    return b""


def _status(request: Request, run_dir: Path, standing: Standing, steps: Steps) -> None:
    standing.demand()
    page, ipam = _page(run_dir, standing), Ipam(run_dir)
    for family in page.families:
        if ipam.free(family) == 0:
            raise NotServing(
                f"no free address in {family.subnet}: {ipam.count(family)} are held",
                code=NO_NEW_PODS,
                hint="who holds them: overlayctl ipam show",
            )
    if request.config.ipam.foreign and not request.config.is_ipam:
        given = delegate.config_for(request, page)
        delegate.call("STATUS", given, delegate.environ_of(request), steps)


def _needs_program(request: Request, run_dir: Path) -> bool:
    """By the configuration, and for GC by the journals; a DEL finds out once it has read its own."""
    if request.verb is Verb.DEL or request.config.is_ipam:
        return False
    return request.config.ipam.foreign or (
        request.verb is Verb.GC and collect.needs_program(request, run_dir)
    )


def _page(run_dir: Path, standing: Standing) -> nodefile.NodePage:
    try:
        return nodefile.read_page(run_dir)
    except NotReady as error:
        reason = standing.reason or "the first clean apply is still to come"
        raise NotReady(
            f"this node cannot take pods yet: {reason}", hint=f"{error}; {error.hint}"
        ) from error


def _refusal(error: OverlayError, environ: Mapping[str, str], stdin: bytes) -> bytes:
    verb = environ.get("CNI_COMMAND", "")
    if verb == "STATUS" and isinstance(error, NotReady) and not isinstance(error, NotServing):
        error = NotServing(str(error), code=NO_NEW_PODS, hint=error.hint)
    return results.encode_error(error, _speakable(stdin), verb=verb)


def _speakable(stdin: bytes) -> str:
    """The version to answer an error in: the one asked for, if we speak it."""
    version = protocol.stated_version(stdin)
    return version if version in netconf.VERSIONS else netconf.NEWEST


def _end_when_late(stdin: bytes, steps: Steps) -> None:
    """A thread of its own: the one that hangs may be inside the kernel."""
    time.sleep(max(steps.left_s, 0) + 1)
    code, stdout = too_late(_environ(), stdin, steps)
    if _FIRST.acquire(blocking=False):
        _write(stdout)
        os._exit(code)


def _ask_agent(run_dir: Path) -> Standing:
    """What the agent says of the node, within half a second."""
    import msgspec

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(0.5)
            door.connect(str(run_dir / "cni.sock"))
            door.sendall(b'overlay-ctl/1\0{"verb":"standing"}')
            door.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: door.recv(1 << 16), b""))
        return msgspec.json.decode(answer, type=Standing)
    except (OSError, ValueError):
        hint = f"{NO_AGENT.hint}; its socket would be {run_dir}/cni.sock"
        return dataclasses.replace(NO_AGENT, hint=hint)


def _environ() -> Mapping[str, str]:
    """Variables as the agent gets them: bytes that are no UTF-8 can go into neither journal nor answer."""
    return {key: os.fsencode(value).decode(errors="replace") for key, value in os.environ.items()}


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
