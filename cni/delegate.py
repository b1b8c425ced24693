"""The door to other IPAM plugins (host-local, static, …): the one place that starts a program.

After the CNI specification 1.1.0, section 4 ("Plugin delegation"): looked up along CNI_PATH, same environment,
the complete configuration on stdin, stderr handed through. The agent never comes here for a runtime's
request: it answers "full", and the executable itself, in the runtime's own surroundings, does it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from cni.protocol import Request
from cni.record import Attachment
from cni.steps import Steps
from overlay.errors import BadConfig, DelegateFailed, NotReady
from overlay.model import Family
from overlay.nodefile import NodePage, read_page

LONGEST_S = 30.0
LONGEST_STATUS_S = 5.0
"""Runtimes ask for STATUS every few seconds, and hold a lock meanwhile."""
MOST_CONFIG_BYTES = 1 << 18
"""What of it goes into the journal; an IPAM configuration of 256 KiB is none."""
_POD_CIDR = {"usePodCidr": Family.V4, "usePodCidrIPv6": Family.V6}
"""Calico's words for "this node's subnet" in a host-local configuration."""
_ANY_SUBNET = {"usePodCidr": "192.0.2.0/24", "usePodCidrIPv6": "2001:db8::/64"}
"""Ranges for documentation (RFC 5737, RFC 3849), where the node's own is not known."""


def config_for(request: Request, page: NodePage) -> dict[str, Any]:
    """The configuration that the IPAM plugin gets: ours, with the node's subnet where it is asked for.

    Raises:
        BadConfig: it is too large to be kept for the DEL.
    """
    found = _replaced(request, page)
    if len(msgspec.json.encode(kept(found))) > MOST_CONFIG_BYTES:
        raise BadConfig(f"ipam is longer than {MOST_CONFIG_BYTES} bytes")
    return found


def config_to_undo(request: Request, run_dir: Path) -> dict[str, Any]:
    """The same for a DEL or GC that no journal helps, with or without a node page.

    Both go by container ids; host-local only refuses to begin without a subnet that it can read.
    """
    try:
        return _replaced(request, read_page(run_dir))
    except NotReady:
        return _replaced(request, None)


def _replaced(request: Request, page: NodePage | None) -> dict[str, Any]:
    subnets = {
        word: str(item.subnet)
        for word, family in _POD_CIDR.items()
        for item in (page.families if page else ())
        if item.family is family
    }
    given = {key: value for key, value in request.config.given.items() if key != "prevResult"}
    words = subnets if page else _ANY_SUBNET
    return {**given, "ipam": _with_subnets(given.get("ipam", {}), words)}


def kept(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of it a DEL needs; pods' annotations stay out of the journal.

    host-local refuses a DEL without ranges, and those may have come with runtimeConfig.
    """
    found = {key: config[key] for key in ("cniVersion", "name", "type", "ipam") if key in config}
    runtime = config.get("runtimeConfig") or {}
    ranges = {key: value for key, value in runtime.items() if key.lower() == "ipranges"}
    return {**found, "runtimeConfig": ranges} if ranges else found


def environ_of(request: Request) -> Mapping[str, str]:
    """The environment of a request, for the same verb or another one."""
    return {
        "CNI_CONTAINERID": request.container,
        "CNI_NETNS": request.netns,
        "CNI_IFNAME": request.ifname,
        "CNI_ARGS": request.args_text,
        "CNI_PATH": request.path,
        **({"TRACEPARENT": request.trace} if request.trace else {}),
    }


def delete_recorded(record: Attachment, steps: Steps) -> None:
    """DEL by the journal alone, for an attachment whose runtime is silent."""
    environ = {
        "CNI_CONTAINERID": record.container,
        "CNI_NETNS": "",
        "CNI_IFNAME": record.ifname,
        "CNI_ARGS": "IgnoreUnknown=1",
        "CNI_PATH": record.path,
    }
    call("DEL", record.delegate, environ, steps)


def call(
    verb: str, config: Mapping[str, Any], environ: Mapping[str, str], steps: Steps
) -> Mapping[str, Any]:
    """Run the configuration's IPAM plugin; its answer, {} where it prints nothing.

    Raises:
        DelegateFailed: it refused, in its own words, or printed what is no JSON.
        NotReady: it does not answer in time, or cannot be started.
    """
    import subprocess  # 15 ms, and hardly anybody needs it

    kind = str(config["ipam"]["type"])
    steps.at(f"ipam-{kind}")
    program = _look_up(kind, environ.get("CNI_PATH", ""))
    try:
        done = subprocess.run(
            [program],
            input=json.dumps(config).encode(),
            stdout=subprocess.PIPE,
            env={**_surroundings(), **environ, "CNI_COMMAND": verb},
            timeout=min(_most_s(verb), max(steps.left_s, 0.1)),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NotReady(
            f"ipam plugin {kind} has not answered {verb} for {error.timeout:.0f} s"
        ) from error
    except OSError as error:
        raise NotReady(f"ipam plugin {program} cannot be started: {error.strerror}") from error
    answer = _decoded(done.stdout)
    if done.returncode == 0 and answer is not None:
        return answer
    raise _failure(kind, done.returncode, answer)


def _surroundings() -> Mapping[str, str]:
    """The environment that we were started in, without our own settings: an agent's may hold a password."""
    given = {key: value for key, value in os.environ.items() if not key.startswith("OVERLAY_")}
    return {"PATH": os.defpath, **given}


def _most_s(verb: str) -> float:
    return LONGEST_STATUS_S if verb == "STATUS" else LONGEST_S


def _look_up(kind: str, path: str) -> Path:
    directories = [Path(part) for part in path.split(":") if part.startswith("/")]
    for directory in directories:
        if os.access(directory / kind, os.X_OK) and (directory / kind).is_file():
            return directory / kind
    raise NotReady(
        f"ipam plugin {kind} is in none of CNI_PATH's directories: {path or 'it is empty'}",
        hint="install it (Debian: containernetworking-plugins) or leave ipam out of the conflist",
    )


def _decoded(stdout: bytes) -> Mapping[str, Any] | None:
    if not stdout.strip():
        return {}
    try:
        return msgspec.json.decode(stdout, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _failure(kind: str, code: int, answer: Mapping[str, Any] | None) -> DelegateFailed:
    if answer is None:
        return DelegateFailed(f"ipam plugin {kind} printed what is no JSON object", code=100)
    said = answer.get("code")
    number = said if type(said) is int and 0 < said < 1 << 31 else 100
    words = str(answer.get("msg") or f"ended with {code} and gave no reason")[:1000]
    return DelegateFailed(
        f"ipam plugin {kind}: {words}", code=number, hint=str(answer.get("details") or "")[:1000]
    )


def _with_subnets(value: Any, subnets: Mapping[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """``usePodCidr`` replaced wherever it stands as a subnet."""
    if isinstance(value, dict):
        return {
            key: subnets.get(item, item)
            if key == "subnet" and isinstance(item, str)
            else _with_subnets(item, subnets)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_subnets(item, subnets) for item in value]
    return value
