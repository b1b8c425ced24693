"""IPAM plugins that do as they are told, as programs: what they were asked lies beside them, one JSON a line."""

import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_TEXT = """\
#!{python} -ISE
import json, os, sys, time
stdin, verb = sys.stdin.read(), os.environ["CNI_COMMAND"]
call = {{"verb": verb, "stdin": json.loads(stdin or "null"), "environ": dict(os.environ)}}
with open({calls!r}, "a") as file:
    file.write(json.dumps(call) + "\\n")
print({name!r}, "was asked for", verb, file=sys.stderr)
if verb in {hangs!r}:
    time.sleep(60)
if verb in {fails!r}:
    code, text = {fails!r}[verb]
    print(json.dumps({{"cniVersion": "1.0.0", "code": code, "msg": text}}) if text else "")
    sys.exit(1)
if verb == "ADD":
    print({answer!r})
"""


def plugin(
    directory: Path,
    name: str,
    *,
    answer: object = None,
    fails: Mapping[str, tuple[int, str]] | None = None,
    hangs: tuple[str, ...] = (),
) -> Path:
    """Write one; ``answer`` is what ADD prints (text as it is), ``fails`` gives verbs their error."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    text = answer if isinstance(answer, str) else json.dumps(answer or {})
    path.write_text(
        _TEXT.format(
            python=sys.executable,
            calls=f"{path}.calls",
            name=name,
            hangs=hangs,
            fails=dict(fails or {}),
            answer=text,
        )
    )
    os.chmod(path, stat.S_IRWXU)
    return path


def asked(path: Path) -> list[dict[str, Any]]:
    """All calls so far, in order."""
    calls = path.with_name(f"{path.name}.calls")
    return [json.loads(line) for line in calls.read_text().splitlines()] if calls.exists() else []


def verbs(path: Path) -> list[str]:
    """Just what it was asked for."""
    return [call["verb"] for call in asked(path)]
