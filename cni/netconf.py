"""The network configuration on stdin, checked, as one frozen Config. Pure.

An ADD is held to every rule. A DEL needs only what names the attachment and what has to be undone,
because a configuration that has gone bad since the ADD must never keep a pod from being torn down. Keys
that we do not know are accepted, as the specification asks (1.1.0, section 1).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeGuard

from overlay.errors import BadConfig, BadVersion

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
NEWEST = VERSIONS[-1]
UNSTATED_VERSION = "0.1.0"
"""What libcni takes a configuration without cniVersion for."""
PLUGIN = "overlay"
OWN_IPAM = ("", PLUGIN, "calico-ipam")
"""``ipam.type`` that means our own allocator; calico-ipam is what a Calico-style conflist names."""
AGENT_WIDE = (
    "nodename",
    "etcd_endpoints",
    "etcd_key_file",
    "etcd_cert_file",
    "etcd_ca_cert_file",
)
"""Keys of a Calico-style conflist that only an agent can follow; they must not contradict it."""
VALID_KEYS = ("cni.dev/valid-attachments", "cni.dev/attachments")
"""libcni sends the list under both names (libcni/api.go)."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # specification 1.1.0, sections 1 and 2
IFNAME = re.compile(r"(?!\.\.?$)[!-.0-9;-~]{1,15}")  # printable ASCII without blank, "/" and ":"
PATH = re.compile(r"/[^\0]{0,4095}")
_NOTHING: Mapping[str, Any] = MappingProxyType({})
_LEVELS = ("debug", "info", "warning", "warn", "error", "fatal", "none")


@dataclass(frozen=True, slots=True)
class Ipam:
    """Who gives the addresses; ``given`` is the configuration's own object."""

    kind: str = ""
    given: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def foreign(self) -> bool:
        """True if another program is to be asked."""
        return self.kind not in OWN_IPAM


@dataclass(frozen=True, slots=True)
class Config:
    """The network configuration; None is "not stated". ``given`` is the object as it came.

    ``runtime`` is runtimeConfig with its keys in lower case (containerd sends them capitalised, others
    not), ``args`` is ``args.cni``, ``valid`` the attachments that GC was told of.
    """

    version: str = UNSTATED_VERSION
    name: str = ""
    kind: str = PLUGIN
    mtu: int | None = None
    bridge: str | None = None
    ip_masq: bool | None = None
    run_dir: str | None = None
    dns: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    ipam: Ipam = field(default_factory=Ipam)
    previous: Mapping[str, Any] | None = None
    runtime: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    args: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)
    agent_wide: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    valid: frozenset[tuple[str, str]] | None = None
    given: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @property
    def is_ipam(self) -> bool:
        """True if we were called for addresses alone, by a plugin of another kind."""
        return self.kind != PLUGIN and self.ipam.kind == PLUGIN


def read(given: Mapping[str, Any], *, strict: bool) -> Config:
    """``given`` checked; leniently for verbs that undo.

    Raises:
        BadVersion: a cniVersion that we do not speak.
        BadConfig: a key has a bad value; key and value are named.
    """
    version = given.get("cniVersion", UNSTATED_VERSION) or UNSTATED_VERSION
    if version not in VERSIONS:
        raise BadVersion(f"cniVersion is {show(version)}, we speak {', '.join(VERSIONS)}")
    name = given.get("name", "")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise BadConfig(
            f"name is {show(name)}, it must start with a letter or digit "
            "and go on with those, _ . or -"
        )
    if not strict:
        return _leniently(version, name, given)
    ipam = checked(given, "ipam", is_object, "an object") or {}
    _check_program("type", given.get("type"))
    _check_program("ipam.type", ipam.get("type"))
    _check_accepted(given)
    args = checked(given, "args", is_object, "an object") or {}
    return Config(
        version=version,
        name=name,
        kind=given.get("type") or PLUGIN,
        mtu=checked(given, "mtu", _is_mtu, "a number of bytes up to 65535") or None,
        bridge=checked(given, "bridge", _is_ifname, "an interface name") or None,
        ip_masq=checked(given, "ipMasq", lambda value: isinstance(value, bool), "true or false"),
        run_dir=checked(given, "runDir", _is_path, "an absolute path"),
        dns=_dns(given),
        ipam=Ipam(ipam.get("type") or "", ipam),
        previous=checked(given, "prevResult", is_object, "an object"),
        runtime=_folded(checked(given, "runtimeConfig", is_object, "an object") or {}),
        args=checked(args, "cni", is_object, "an object", within="args.") or {},
        agent_wide=_agent_wide(given),
        given=given,
    )


def valid_attachments(given: Mapping[str, Any]) -> frozenset[tuple[str, str]] | None:
    """(container, interface) of each valid attachment; None where the runtime did not say.

    ``null``, a Go nil slice, is an empty list. A list that cannot be read is an error and never means
    that nothing is valid.

    Raises:
        BadConfig: an entry is not ``{"containerID": …, "ifname": …}``.
    """
    stated = [key for key in VALID_KEYS if key in given]
    if not stated:
        return None
    pairs: set[tuple[str, str]] = set()
    for key in stated:
        for item in checked(given, key, lambda value: isinstance(value, list), "a list") or []:
            container = item.get("containerID") if is_object(item) else None
            ifname = item.get("ifname") if is_object(item) else None
            if not (isinstance(container, str) and container and isinstance(ifname, str)):
                raise BadConfig(f"{key} has {show(item)}, wanted are containerID and ifname")
            pairs.add((container, ifname))
    return frozenset(pairs)


def _leniently(version: str, name: str, given: Mapping[str, Any]) -> Config:
    ipam = given.get("ipam")
    kind = ipam.get("type") if is_object(ipam) else None
    plugin = given.get("type")
    return Config(
        version=version,
        name=name,
        kind=plugin if is_program(plugin) else PLUGIN,
        ipam=Ipam(kind, ipam) if is_object(ipam) and is_program(kind) else Ipam(),
        given=given,
    )


def _check_program(key: str, value: object) -> None:
    """``type`` and ``ipam.type`` name programs: no path may hide in them (CVE-2021-20206)."""
    if value is not None and value != "" and not is_program(value):
        raise BadConfig(f"{key} is {show(value)}, it must be the name of a plugin")


def _check_accepted(given: Mapping[str, Any]) -> None:
    """Keys of a Calico-style conflist that are taken without being followed must at least make sense."""
    policy = checked(given, "policy", is_object, "an object") or {}
    checked(policy, "type", lambda value: value in ("", "k8s"), "k8s", within="policy.")
    checked(given, "kubernetes", is_object, "an object")
    checked(given, "log_level", _is_level, f"one of {', '.join(_LEVELS)}")
    checked(given, "datastore_type", lambda value: value in ("", "etcdv3", "etcd"), "etcdv3")


def _agent_wide(given: Mapping[str, Any]) -> Mapping[str, str]:
    texts = {key: checked(given, key, _is_text, "text") for key in AGENT_WIDE}
    return {key: value for key, value in texts.items() if value}


def _dns(given: Mapping[str, Any]) -> Mapping[str, Any]:
    dns = checked(given, "dns", is_object, "an object") or {}
    lists = ("nameservers", "search", "options")
    checked(dns, "domain", _is_text, "text", within="dns.")
    for key in lists:
        checked(dns, key, is_texts, "a list of text", within="dns.")
    return {key: dns[key] for key in ("domain", *lists) if dns.get(key)}


def _folded(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Keys in lower case; of two that differ only in case the one with a value counts."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if value is not None or key.lower() not in found:
            found[key.lower()] = value
    return found


def checked(
    given: Mapping[str, Any],
    key: str,
    good: Callable[[Any], bool],
    wanted: str,
    *,
    within: str = "",
) -> Any:  # noqa: ANN401 - what JSON holds; `good` has looked at it
    """The value of a key, or None where it is not stated.

    Raises:
        BadConfig: it is stated and not ``good``.
    """
    value = given.get(key)
    if value is not None and not good(value):
        raise BadConfig(f"{within}{key} is {show(value)}, it must be {wanted}")
    return value


def is_object(value: object) -> TypeGuard[dict[str, Any]]:
    """A JSON object."""
    return isinstance(value, dict)


def is_texts(value: object) -> bool:
    """A list of text."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def show(value: object) -> str:
    """A hostile value in an error message: quoted and bounded."""
    return repr(value)[:80]


def _is_mtu(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535


def _is_ifname(value: object) -> bool:
    return isinstance(value, str) and (not value or bool(IFNAME.fullmatch(value)))


def _is_path(value: object) -> bool:
    return isinstance(value, str) and bool(PATH.fullmatch(value))


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_level(value: object) -> bool:
    return isinstance(value, str) and value.lower() in (*_LEVELS, "")


def is_program(value: object) -> TypeGuard[str]:
    """The name of a plugin, in which no path can hide (CVE-2021-20206)."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= 255
        and "/" not in value
        and "\0" not in value
        and value not in (".", "..")
    )
