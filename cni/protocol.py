"""What a runtime asks: environment and stdin, checked, as one frozen Request. Pure.

After the CNI specification 1.1.0 (sections 2 and 5) and what libcni, containerd and CRI-O send. An
ADD is held to every rule; a DEL needs only what names the attachment, because a configuration that
has gone bad since the ADD must never keep a pod from being torn down.
"""

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from cni.owner import Owner
from overlay.errors import BadConfig, BadEnvironment, BadInput, BadVersion

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = VERSIONS[-1]
UNSTATED_VERSION = "0.1.0"
"""What libcni takes a configuration without cniVersion for."""
MOST_STDIN_BYTES = 4 << 20
"""Pod annotations (256 KiB at most, in kubernetes) may be part of it; 16 times that is enough."""
KNOWN_ARGS = frozenset(
    {
        "IgnoreUnknown",
        "IP",
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


_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # specification 1.1.0, sections 1 and 2
_IFNAME = re.compile(r"(?!\.\.?$)[!-.0-9;-~]{1,15}")  # printable ASCII without blank, "/" and ":"
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,32}")
_PATH = re.compile(r"/[^\0]{0,4095}")

_FORMS: Mapping[str, re.Pattern[str]] = {
    "CNI_CONTAINERID": _NAME,
    "CNI_IFNAME": _IFNAME,
    "CNI_NETNS": _PATH,
}
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
class Config:
    """The network configuration; None is "not stated". ``given`` is the object as it came."""

    version: str = UNSTATED_VERSION
    name: str = ""
    mtu: int | None = None
    bridge: str | None = None
    ip_masq: bool | None = None
    run_dir: str | None = None
    dns: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """One call of the plugin. ``netns`` is empty where the runtime has none left (DEL)."""

    verb: Verb
    config: Config
    container: str = ""
    ifname: str = ""
    netns: str = ""
    args: Mapping[str, str] = field(default_factory=dict)

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
        config=_config(decode(stdin), strict=strict),
        container=environ.get("CNI_CONTAINERID", ""),
        ifname=environ.get("CNI_IFNAME", ""),
        netns=environ.get("CNI_NETNS", ""),
        args=parse_args(environ.get("CNI_ARGS", "")) if strict else {},
    )


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
    return run_dir if isinstance(run_dir, str) and _PATH.fullmatch(run_dir) else ""


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
    faults += [
        f"{name} is {value[:80]!r}, which is malformed"
        for name, form in _FORMS.items()
        if (value := environ.get(name, "")) and not form.fullmatch(value)
    ]
    if faults:
        raise BadEnvironment(f"{verb.value}: " + "; ".join(faults))


def _config(given: Mapping[str, Any], *, strict: bool) -> Config:
    version = given.get("cniVersion", UNSTATED_VERSION) or UNSTATED_VERSION
    if version not in VERSIONS:
        raise BadVersion(f"cniVersion is {_show(version)}, we speak {', '.join(VERSIONS)}")
    name = given.get("name", "")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise BadConfig(
            f"name is {_show(name)}, it must start with a letter or digit "
            "and go on with those, _ . or -"
        )
    if not strict:
        return Config(version=version, name=name, given=given)
    _check_types(given)
    return Config(
        version=version,
        name=name,
        mtu=_checked(given, "mtu", _is_mtu, "a number of bytes up to 65535") or None,
        bridge=_checked(given, "bridge", _is_ifname, "an interface name") or None,
        ip_masq=_checked(given, "ipMasq", lambda value: isinstance(value, bool), "true or false"),
        run_dir=_checked(given, "runDir", _is_path, "an absolute path"),
        dns=_dns(given),
        given=given,
    )


def _check_types(given: Mapping[str, Any]) -> None:
    """``type`` and ``ipam.type`` name programs: no path may hide in them (CVE-2021-20206)."""
    ipam = _checked(given, "ipam", lambda value: isinstance(value, dict), "an object") or {}
    for key, value in (("type", given.get("type")), ("ipam.type", ipam.get("type"))):
        if value is not None and not (isinstance(value, str) and "/" not in value):
            raise BadConfig(f"{key} is {_show(value)}, it must be the name of a plugin")
    if given.get("prevResult") is not None:
        raise BadConfig(
            "prevResult is given: another plugin runs before this one",
            hint="put overlay first in the conflist",
        )


def _dns(given: Mapping[str, Any]) -> Mapping[str, Any]:
    dns = _checked(given, "dns", lambda value: isinstance(value, dict), "an object") or {}
    lists = ("nameservers", "search", "options")
    _checked(dns, "domain", lambda value: isinstance(value, str), "text", within="dns.")
    for key in lists:
        _checked(dns, key, _is_texts, "a list of text", within="dns.")
    return {key: dns[key] for key in ("domain", *lists) if dns.get(key)}


def _checked(
    given: Mapping[str, Any],
    key: str,
    good: Callable[[Any], bool],
    wanted: str,
    *,
    within: str = "",
) -> Any:  # noqa: ANN401 - what JSON holds; `good` has looked at it
    value = given.get(key)
    if value is not None and not good(value):
        raise BadConfig(f"{within}{key} is {_show(value)}, it must be {wanted}")
    return value


def _is_mtu(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535


def _is_ifname(value: object) -> bool:
    return isinstance(value, str) and (not value or bool(_IFNAME.fullmatch(value)))


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(_PATH.fullmatch(value))


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _show(value: object) -> str:
    return repr(value)[:80]
