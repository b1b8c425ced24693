"""One question to the running agent over its socket."""

import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.server import CTL_MAGIC
from overlay.errors import NotReady, OverlayError


class NotAllowed(NotReady):
    """The agent may well run: this user cannot know."""


def ask(run_dir: Path, verb: str, *, timeout_s: float = 15.0, **more: object) -> dict[str, Any]:
    """The agent's answer.

    Raises:
        NotAllowed: this user may not ask it.
        NotReady: no agent answers; the hint says how to start it.
        OverlayError: the agent refused; its own words.
    """
    path = run_dir / "cni.sock"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(timeout_s)
            door.connect(str(path))
            door.sendall(CTL_MAGIC + json.dumps({"verb": verb, **more}).encode())
            door.shutdown(socket.SHUT_WR)
            raw = b"".join(iter(lambda: door.recv(1 << 16), b""))
    except PermissionError as error:
        raise NotAllowed(
            f"this user may not ask the agent at {path}: {error.strerror}",
            hint="run it as root",
        ) from error
    except OSError as error:
        raise NotReady(
            f"no agent answers at {path}: {error.strerror or error}",
            hint=f"systemctl status {_unit(run_dir)}; journalctl -u {_unit(run_dir)}",
        ) from error
    try:
        answer: Mapping[str, Any] = json.loads(raw)
    except ValueError as error:
        raise NotReady(
            f"the agent at {path} closed the connection without an answer",
            hint=f"journalctl -u {_unit(run_dir)}; systemctl status {_unit(run_dir)}",
        ) from error
    if "error" in answer:
        raise OverlayError(str(answer["error"]), hint=str(answer.get("hint", "")))
    return dict(answer)


def _unit(run_dir: Path) -> str:
    """Of a named instance's directory, if it is the default one, that instance's."""
    name = run_dir.name.removeprefix("overlay-")
    return f"overlay-agent@{name}" if name != run_dir.name else "overlay-agent"
