"""The text of the executable that runtimes exec, in Python; ``cni.install`` fills in the names.

``front.c`` does exactly the same, compiled; this one serves where there was no compiler. It must import
almost nothing: a full Python start costs 30 ms, this one about 8. So no json, no socket module (the
built-in ``_socket`` instead), no pathlib; it understands nothing of what it forwards but the place of one
key, a configuration's own ``runDir``. Braces and strings are followed to find it, since a pod's annotations
are in there too and could lead a search for the bytes astray; where it has an escape in it, the full
program, which decodes, takes over.

Any failure to connect makes it the full program, which is safe at any time: agent and program share
the locks of ``cni.lock``. Once connected it is not, since the agent may be at work, unless the agent answers
that it has touched nothing (``full``).

No message may contain "not found" or "no such file or directory": runtimes take a DEL that fails with
those for done. So errors are told by number.
"""

import importlib.util
import marshal
import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What is written into an executable. ``full`` is the command that serves a request in process."""

    run_dir: str
    full: tuple[str, ...]
    answer_s: float = 90.0
    """Longer than an ADD takes on a busy node, shorter than kubelet's patience (2 minutes)."""
    status_s: float = 0.8
    """A runtime holds its lock meanwhile, and kubelet asks every 5 s."""


TEMPLATE = """\
#!{python} -ISE
# overlay's CNI plugin: forwards environment and stdin to overlay-agent; where no agent answers it
# becomes the full program. Written by "python -m cni.install"; do not edit.
import posix
from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM, socket
from time import monotonic

RUN_DIR = {run_dir!r}
FULL = {full!r}
ANSWER_S, STATUS_S = {answer_s!r}, {status_s!r}
MOST = 4 << 20
LONGEST_PATH = 4096


def read():
    parts, size = [], 0
    while size <= MOST:
        try:
            part = posix.read(0, min(65536, MOST + 1 - size))
        except BlockingIOError:
            posix.set_blocking(0, True)
            continue
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def write(fd, data):
    data = memoryview(data)
    while data:
        try:
            data = data[posix.write(fd, data):]
        except BlockingIOError:
            posix.set_blocking(fd, True)


def say(code, data):
    try:
        write(1, data)
    except OSError:
        return 1  # an answer that could not be handed over is a failure, whatever it said
    return code


def fail(why, code):
    return say(1, b'{{"cniVersion":"1.0.0","code":%d,"msg":"%s"}}\\n' % (code, why))


def string(text, start):
    end = text.find(b'"', start)
    while end >= 0:
        back = end
        while back > start and text[back - 1] == 92:
            back -= 1
        if (end - back) % 2 == 0:
            return text[start:end], end + 1
        end = text.find(b'"', end + 1)
    return None, len(text)


def skip_blanks(text, at):
    while at < len(text) and text[at] in b" \\t\\r\\n":
        at += 1
    return at


def find_run_dir(text):
    # The configuration's own runDir or b""; None: it must be decoded to tell. A scan and no check: in
    # what is not JSON it finds something or nothing, and whoever is asked then refuses it.
    found, depth, at = b"", 0, 0
    while (quote := text.find(b'"', at)) >= 0:
        between = text[at:quote]
        depth += between.count(b"{{") + between.count(b"[") - between.count(b"}}") - between.count(b"]")
        word, at = string(text, quote + 1)
        if word is None:
            break
        if depth != 1:
            continue
        after = skip_blanks(text, at)
        if text[after:after + 1] != b":":
            continue  # not a key of the configuration itself
        if b"\\\\" in word:
            return None
        if word != b"runDir":
            continue
        found = b""  # the last of several counts
        at = skip_blanks(text, after + 1)
        if text[at:at + 1] != b'"':
            continue
        word, at = string(text, at + 1)
        if word is None:
            break
        if b"\\\\" in word:
            return None
        if word.startswith(b"/") and len(word) <= LONGEST_PATH and b"\\0" not in word:
            found = word
    return found


def dial(run_dir):
    door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    door.settimeout(0)
    try:
        door.connect(run_dir + b"/cni.sock")
    except OSError:
        return None
    return door


def left(deadline):
    left_s = deadline - monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


def converse(door, request, deadline):
    # However the agent breaks off, read or unread the request: what it said before is its answer.
    try:
        door.settimeout(left(deadline))
        door.sendall(request)
    except TimeoutError:
        raise
    except OSError:
        pass
    parts, size = [], 0
    try:
        door.shutdown(SHUT_WR)
    except OSError:
        pass
    try:
        while size < MOST:
            door.settimeout(left(deadline))
            part = door.recv(min(65536, MOST - size))
            if not part:
                break
            parts.append(part)
            size += len(part)
    except TimeoutError:
        raise
    except OSError:
        pass
    return b"".join(parts)


def relay(answer):
    code, end, stdout = answer.partition(b"\\n")
    if not (end and code.isdigit() and len(code) <= 3 and int(code) <= 255) or len(answer) == MOST:
        return fail(b"overlay-agent stopped before it had answered; try again", 11)
    return say(int(code), stdout)


def become_full(env, run_dir, stdin):
    if run_dir is not None:
        env[b"OVERLAY_RUN_DIR"] = run_dir
    try:
        again = posix.memfd_create("stdin")
        write(again, stdin)
        posix.lseek(again, 0, 0)
        posix.dup2(again, 0)
        posix.execve(FULL[0], FULL, env)
    except OSError as error:
        return fail(b"the full program %s cannot be started: errno %d" % (FULL[0], error.errno), 11)


def main():
    env = posix.environ
    try:
        stdin = read()
    except OSError as error:
        return fail(b"stdin cannot be read: errno %d" % error.errno, 5)
    run_dir = env.get(b"OVERLAY_RUN_DIR") or find_run_dir(stdin)
    if run_dir is None:
        return become_full(env, None, stdin)
    run_dir = run_dir or RUN_DIR
    door = dial(run_dir)
    if door is None:
        return become_full(env, run_dir, stdin)
    wanted = (b"CNI_", b"TRACE", b"BAGGAGE")
    head = b"".join([b"%s=%s\\0" % pair for pair in env.items() if pair[0].startswith(wanted)])
    status = env.get(b"CNI_COMMAND") == b"STATUS"
    patience = STATUS_S if status else ANSWER_S
    try:
        answer = converse(door, b"overlay-cni/1\\0" + head + b"\\0" + stdin, monotonic() + patience)
    except TimeoutError:
        how = b"within" if status else b"for"
        why = b"overlay-agent has not answered %s %g s; see: systemctl status overlay-agent"
        return fail(why % (how, patience), 50 if status else 11)
    return become_full(env, run_dir, stdin) if answer == b"full\\n" else relay(answer)


if __name__ == "__main__":
    posix._exit(main())
"""


def render(settings: Settings, *, python: str) -> str:
    """The executable's text, to be run by ``python``."""
    return TEMPLATE.format(
        python=python,
        run_dir=os.fsencode(settings.run_dir),
        full=[os.fsencode(word) for word in settings.full],
        answer_s=settings.answer_s,
        status_s=settings.status_s,
    )


def pack(text: str) -> str:
    """The same executable with its code compiled already, which saves a tenth of its time.

    Compiled code is good for one version of Python only, so the text stays in it for any other.
    """
    code = marshal.dumps(compile(text, "overlay", "exec", dont_inherit=True))
    shebang = text.partition("\n")[0]
    return f"""\
{shebang}
# overlay's CNI plugin, written by "python -m cni.install"; do not edit. Its source is the last line.
from _frozen_importlib_external import MAGIC_NUMBER
from marshal import loads
exec(loads({code!r}) if MAGIC_NUMBER == {importlib.util.MAGIC_NUMBER!r} else
{text!r})
"""
