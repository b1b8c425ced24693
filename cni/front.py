"""The text of the executable that runtimes exec; ``cni.install`` fills in the names.

It must import almost nothing: a full Python start costs 30 ms, this one about 8. So no json, no
socket module (the built-in ``_socket`` instead), no pathlib; it understands nothing of what it
forwards. Only a configuration that states a ``runDir`` makes it read JSON, and then the whole of
it: a pod's annotations are in there too, and a search for the bytes could be led astray by them.

Any failure to connect makes it the full program, which is safe at any time: agent and program share
the locks of ``cni.lock``. Once connected it is not, since the agent may be at work.
"""

TEMPLATE = """\
#!{python} -ISE
# overlay's CNI plugin: forwards environment and stdin to overlay-agent; where no agent answers it
# becomes the full program. Written by "python -m cni.install"; do not edit.
import posix
from _socket import AF_UNIX, SHUT_WR, SOCK_CLOEXEC, SOCK_STREAM, socket

RUN_DIR = {run_dir!r}
FULL = {full!r}
TIMEOUT_S = 60
MOST = 4 << 20


def read():
    parts, size = [], 0
    while size <= MOST:
        part = posix.read(0, 65536)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def write(fd, data):
    while data:
        data = data[posix.write(fd, data):]


def fail(code, why):
    write(1, b'{{"cniVersion":"1.0.0","code":%d,"msg":"%s"}}\\n' % (code, why))
    return 1


def stated(stdin):
    if b'"runDir"' not in stdin:
        return b""
    import json
    try:
        found = json.loads(stdin)["runDir"].encode()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return b""
    return found if found.startswith(b"/") and b"\\0" not in found else b""


def connect(path):
    door = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
    door.settimeout(TIMEOUT_S)
    try:
        door.connect(path)
    except OSError:
        return None
    return door


def ask(door, request):
    door.sendall(request)
    door.shutdown(SHUT_WR)
    parts = []
    while True:
        part = door.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def forward(door, head, stdin):
    try:
        answer = ask(door, b"overlay-cni/1\\0" + head + b"\\0" + stdin)
    except TimeoutError:
        return fail(11, b"overlay-agent has not answered for %d s; see: systemctl status "
                        b"overlay-agent" % TIMEOUT_S)
    except OSError as error:
        return fail(11, b"overlay-agent broke off: errno %d" % (error.errno or 0))
    code, _, stdout = answer.partition(b"\\n")
    if not code.isdigit():
        return fail(11, b"overlay-agent stopped before it had answered; try again")
    write(1, stdout)
    return int(code)


def become_full(env, stdin):
    again = posix.memfd_create("stdin")
    write(again, stdin)
    posix.lseek(again, 0, 0)
    posix.dup2(again, 0)
    posix.execve(FULL[0], FULL, env)


def main():
    env = posix.environ
    try:
        stdin = read()
    except OSError as error:
        return fail(5, b"stdin cannot be read: errno %d" % error.errno)
    run_dir = env.get(b"OVERLAY_RUN_DIR") or stated(stdin) or RUN_DIR.encode()
    door = connect(run_dir + b"/cni.sock")
    if door is None:
        env[b"OVERLAY_RUN_DIR"] = run_dir
        become_full(env, stdin)
    wanted = (b"CNI_", b"TRACE", b"BAGGAGE")
    pairs = [pair for pair in env.items() if pair[0].startswith(wanted)]
    return forward(door, b"".join(b"%s=%s\\0" % pair for pair in pairs), stdin)


if __name__ == "__main__":
    posix._exit(main())
"""


def render(*, python: str, run_dir: str, full: list[str]) -> str:
    """The executable's text; ``full`` is the command that serves a request in process."""
    return TEMPLATE.format(python=python, run_dir=run_dir, full=full)
