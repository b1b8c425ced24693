"""The text of the executable that runtimes exec; ``cni.install`` fills in the three names.

It must import almost nothing: a full Python start costs 30 ms, this one about 8. So no json, no socket
module (the built-in ``_socket`` instead), no pathlib; it understands nothing of what it forwards.
"""

TEMPLATE = """\
#!{python} -ISE
# overlay's CNI plugin: forwards environment and stdin to overlay-agent; without an agent it becomes the
# full program. Written by "python -m cni.install"; do not edit.
import posix
from _socket import AF_UNIX, SHUT_WR, SOCK_STREAM, socket

RUN_DIR = {run_dir!r}
FULL = {full!r}
TIMEOUT_S = 90
MOST = 4194305


def read(fd):
    parts, size = [], 0
    while size < MOST:
        part = posix.read(fd, 65536)
        if not part:
            break
        parts.append(part)
        size += len(part)
    return b"".join(parts)


def write(data):
    while data:
        data = data[posix.write(1, data):]


def fail(why):
    write(b'{{"cniVersion":"1.0.0","code":11,"msg":"overlay-agent %s"}}\\n' % why)


def ask(path, request):
    door = socket(AF_UNIX, SOCK_STREAM, 0)
    door.settimeout(TIMEOUT_S)
    try:
        door.connect(path)
    except OSError:
        return None
    door.sendall(request)
    door.shutdown(SHUT_WR)
    parts = []
    while True:
        part = door.recv(65536)
        if not part:
            return b"".join(parts)
        parts.append(part)


def main():
    env = posix.environ
    run_dir = env.get(b"OVERLAY_RUN_DIR") or RUN_DIR.encode()
    stdin = b"" if env.get(b"CNI_COMMAND") == b"VERSION" and posix.isatty(0) else read(0)
    wanted = (b"CNI_", b"TRACE", b"BAGGAGE")
    head = b"".join(b"%s=%s\\0" % pair for pair in env.items() if pair[0].startswith(wanted))
    try:
        answer = ask(run_dir + b"/cni.sock", b"overlay-cni/1\\0" + head + b"\\0" + stdin)
    except OSError as error:
        fail(b"did not answer: " + type(error).__name__.encode())
        return 1
    if answer:
        code, _, stdout = answer.partition(b"\\n")
        write(stdout)
        return int(code)
    if answer == b"":
        fail(b"closed the connection without an answer; it was restarted")
        return 1
    again = posix.memfd_create("stdin")
    posix.write(again, stdin)
    posix.lseek(again, 0, 0)
    posix.dup2(again, 0)
    env[b"OVERLAY_RUN_DIR"] = run_dir
    posix.execve(FULL[0], FULL, env)


posix._exit(main())
"""


def render(*, python: str, run_dir: str, full: list[str]) -> str:
    """The executable's text; ``full`` is the command that serves a request in process."""
    return TEMPLATE.format(python=python, run_dir=run_dir, full=full)
