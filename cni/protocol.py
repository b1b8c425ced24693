"""What a runtime asks: environment and stdin, checked, as one frozen Request. Pure.

After the CNI specification 1.1.0 (sections 2 and 5) and what libcni, containerd and CRI-O send. What
the configuration means is `cni.netconf`'s.
"""

import dataclasses
import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cni import netconf
from cni.netconf import IFNAME, NAME, NEWEST, PATH, UNSTATED_VERSION, VERSIONS, Config
from cni.owner import Owner
from overlay.errors import BadEnvironment, BadInput

__all__ = ["NEWEST", "VERSIONS", "Config", "Request", "Verb", "parse"]

MOST_STDIN_BYTES = 4 << 20
"""Pod annotations (256 KiB at most, in kubernetes) may be part of it; 16 times that is enough."""
KNOWN_ARGS = frozenset(
    {
        "IgnoreUnknown",
        "IP",
        "MAC",
        "K8S_POD_NAMESPACE",
        "K8S_POD_NAME",
        "K8S_POD_INFRA_CONTAINER_ID",
        "K8S_POD_UID",
    }
)


class Verb(enum.Enum):
    """CNI_COMMAND."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    GC = "GC"
    STATUS = "STATUS"
    VERSION = "VERSION"


_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,32}")
_TRACE = re.compile(
    r"[0-9A-Za-z-]{1,128}"
)  # W3C's traceparent has 55; it goes into the log as it is

_UNSAFE = re.compile(r"[^!-~]")
"""What would let a pod's name pass for another field or another line of the log."""

_FORMS: Mapping[str, re.Pattern[str]] = {
    "CNI_CONTAINERID": NAME,
    "CNI_IFNAME": IFNAME,
    "CNI_NETNS": PATH,
}
_TEXTS = ("CNI_ARGS", "CNI_PATH")
_ATTACHMENT = ("CNI_CONTAINERID", "CNI_IFNAME")
REQUIRED: Mapping[Verb, tuple[str, ...]] = {
    Verb.ADD: (*_ATTACHMENT, "CNI_NETNS"),
    Verb.CHECK: (*_ATTACHMENT, "CNI_NETNS"),
    Verb.DEL: _ATTACHMENT,
    Verb.GC: (),
    Verb.STATUS: (),
    Verb.VERSION: (),
}


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the plugin. ``netns`` is empty where the runtime has none left (DEL).

    ``args_text`` is CNI_ARGS as it came, ``path`` where programs that we delegate to are looked for,
    ``trace`` the runtime's TRACEPARENT.
    """

    verb: Verb
    config: Config
    container: str = ""
    ifname: str = ""
    netns: str = ""
    args: Mapping[str, str] = field(default_factory=dict)
    args_text: str = ""
    path: str = ""
    trace: str = ""

    @property
    def pod(self) -> str:
        """``namespace/name`` in kubernetes, else empty. It goes into the log: without blanks, bounded."""
        names = (self.args.get("K8S_POD_NAMESPACE", ""), self.args.get("K8S_POD_NAME", ""))
        return "/".join(_UNSAFE.sub("?", name[:253]) for name in names if name)

    @property
    def owner(self) -> Owner:
        """Whom the attachment belongs to."""
        return Owner(self.config.name, self.container, self.ifname)


def parse(environ: Mapping[str, str], stdin: bytes) -> Request:
    """The request that a runtime makes by ``environ`` and ``stdin``.

    Raises:
        BadEnvironment: variables are missing or malformed; all of them are named.
        BadInput: stdin is not a JSON object, or longer than MOST_STDIN_BYTES.
        BadVersion: a cniVersion that we do not speak.
        BadConfig: a key of the configuration has a bad value.
    """
    verb = _verb(environ)
    if verb is Verb.VERSION:  # answers whatever stdin holds, and to an empty one
        return Request(verb, Config(version=stated_version(stdin)))
    _check_variables(environ, verb)
    strict = verb in (Verb.ADD, Verb.CHECK)
    return Request(
        verb=verb,
        config=_config(verb, decode(stdin)),
        container=environ.get("CNI_CONTAINERID", ""),
        ifname=environ.get("CNI_IFNAME", ""),
        netns=environ.get("CNI_NETNS", ""),
        args=parse_args(environ.get("CNI_ARGS", "")) if strict else {},
        args_text=environ.get("CNI_ARGS", ""),
        path=environ.get("CNI_PATH", ""),
        trace=_trace(environ.get("TRACEPARENT", "")),
    )


def _config(verb: Verb, given: Mapping[str, Any]) -> Config:
    config = netconf.read(given, strict=verb in (Verb.ADD, Verb.CHECK))
    if verb is Verb.GC:
        return dataclasses.replace(config, valid=netconf.valid_attachments(given))
    return config


def stated_version(stdin: bytes) -> str:
    """The cniVersion to answer in: the input's, or our newest where it states none that is sane."""
    try:
        version = decode(stdin).get("cniVersion", UNSTATED_VERSION)
    except BadInput:
        return NEWEST
    return version if isinstance(version, str) and _VERSION.fullmatch(version) else NEWEST


def stated_run_dir(stdin: bytes) -> str:
    """The configuration's runDir, or "" where it states none that is a path."""
    try:
        run_dir = decode(stdin).get("runDir")
    except BadInput:
        return ""
    return run_dir if isinstance(run_dir, str) and PATH.fullmatch(run_dir) else ""


def decode(stdin: bytes) -> Mapping[str, Any]:
    """The JSON object in ``stdin``.

    Raises:
        BadInput: there is none.
    """
    if len(stdin) > MOST_STDIN_BYTES:
        raise BadInput(f"stdin is longer than {MOST_STDIN_BYTES} bytes")
    try:
        return msgspec.json.decode(stdin, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        reason = "it is empty" if not stdin.strip() else str(error)
        hint = "it must hold the network configuration as one JSON object"
        raise BadInput(f"stdin cannot be decoded: {reason}", hint=hint) from error


def parse_args(text: str) -> Mapping[str, str]:
    """CNI_ARGS, ``KEY=VALUE;KEY=VALUE``, as a mapping; a value may itself hold ``=``.

    Raises:
        BadEnvironment: a pair without ``=``, or a key unknown to us while IgnoreUnknown is not set.
    """
    pairs = [item.partition("=") for item in text.split(";") if item]
    if broken := [key for key, equals, _ in pairs if not equals or not key]:
        raise BadEnvironment(f"CNI_ARGS must be KEY=VALUE;KEY=VALUE, but {broken[0]!r} is no pair")
    args = {key: value for key, _, value in pairs}
    unknown = sorted(args.keys() - KNOWN_ARGS)
    if unknown and args.get("IgnoreUnknown", "").lower() not in ("1", "t", "true"):
        names = ", ".join(unknown)
        raise BadEnvironment(f"CNI_ARGS has unknown keys: {names}", hint="add IgnoreUnknown=1")
    return args


def _verb(environ: Mapping[str, str]) -> Verb:
    name = environ.get("CNI_COMMAND", "")
    try:
        return Verb(name)
    except ValueError as error:
        known = ", ".join(verb.value for verb in Verb)
        reason = f"CNI_COMMAND is {name!r}, known are {known}" if name else "CNI_COMMAND is missing"
        hint = "" if name else "this program is run by a container runtime"
        raise BadEnvironment(reason, hint=hint) from error


def _check_variables(environ: Mapping[str, str], verb: Verb) -> None:
    faults = [f"{name} is missing" for name in REQUIRED[verb] if not environ.get(name)]
    if verb is not Verb.DEL:  # whatever else is broken must not keep a pod from being torn down
        faults += [f"{name} is not UTF-8" for name in _TEXTS if not _is_utf8(environ.get(name, ""))]
    faults += [
        f"{name} is {value[:80]!r}, which is malformed"
        for name, form in _FORMS.items()
        if (value := environ.get(name, "")) and not (form.fullmatch(value) and _is_utf8(value))
    ]
    if faults:
        raise BadEnvironment(f"{verb.value}: " + "; ".join(faults))


def _is_utf8(value: str) -> bool:
    """False for bytes of the environment that are no text (they arrive as lone surrogates)."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _trace(given: str) -> str:
    return given if _TRACE.fullmatch(given) else ""
