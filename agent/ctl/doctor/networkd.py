"""Do systemd-networkd, udev or NetworkManager believe that our devices and routes are theirs?"""

import configparser
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Look
from agent.ctl.doctor.tunnel import tunnel

NETWORKD_CONF = "/etc/systemd/networkd.conf"
_ROOTS = (
    "/etc/systemd",
    "/run/systemd",
    "/usr/local/lib/systemd",
    "/usr/lib/systemd",
    "/lib/systemd",
)
NETWORKS = tuple(f"{root}/network" for root in _ROOTS)
NETWORKD_MORE = tuple(f"{root}/networkd.conf.d" for root in _ROOTS)
NM_CONF = "/etc/NetworkManager/NetworkManager.conf"
NM_MORE = tuple(f"{root}/NetworkManager/conf.d" for root in ("/etc", "/run", "/usr/lib"))
RANDOM = "1"
"""NET_ADDR_RANDOM of /sys/class/net/*/addr_assign_type: udev gives such a device another MAC."""
_NO = {"no", "n", "false", "f", "off", "0"}
_YES = {"yes", "y", "true", "t", "on", "1"}
POD = "ovl0000000"
"""As the host end of a pod may be named."""


@dataclass(frozen=True, slots=True)
class Device:
    """``ours`` is False for the underlay. ``assigned``: addr_assign_type, empty where it is not there yet."""

    name: str
    kind: str
    ours: bool = True
    assigned: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Files by path in the order of their effect; which of the programs run. ``direct``: routes by the underlay."""

    networkd: bool = False
    manager: bool = False
    devices: tuple[Device, ...] = ()
    conf: Mapping[str, str] = field(default_factory=dict)
    networks: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    nm: Mapping[str, str] = field(default_factory=dict)
    direct: bool = False


def check(look: Look) -> list[Finding]:
    """All three."""
    return judge(read(look))


def judge(facts: Facts) -> list[Finding]:
    """Pure."""
    findings = [*(_networkd(facts) if facts.networkd else ()), *_udev(facts)]
    left = [it.name for it in facts.devices if it.ours and not unmanaged(facts.nm, it.name)]
    if facts.manager and left:
        title = f"NetworkManager runs, and no unmanaged-devices covers {', '.join(left)}"
        mend = (
            "overlayctl install; by hand, in /etc/NetworkManager/conf.d/90-overlay.conf: [keyfile] "
            "unmanaged-devices=interface-name:overlay*;interface-name:ovl*; then: nmcli general reload"
        )
        findings.append(found("networkmanager", "warning", title, mend))
    return findings


def _networkd(facts: Facts) -> list[Finding]:
    findings = []
    managed = []
    for device in facts.devices:
        path = matching(facts.networks, device)
        if path is None or told(facts.networks[path], "link", "unmanaged", "no") in _YES:
            continue
        if device.ours:
            title = f"{path} fits {device.name}: systemd-networkd configures it"
            mend = f"overlayctl install (a .network file with Unmanaged=yes before it), or a narrower [Match] in {path}"
            findings.append(found("networkd-manages", "warning", title, mend))
        if device.ours or facts.direct:
            managed.append(device.name)
    foreign = "yes"
    for text in facts.conf.values():
        foreign = told(text, "network", "manageforeignroutes", foreign)
    if managed and foreign not in _NO:
        title = f"systemd-networkd manages {', '.join(managed)} with ManageForeignRoutes={foreign}"
        mend = (
            "in /etc/systemd/networkd.conf.d/90-overlay.conf: [Network] ManageForeignRoutes=no "
            "ManageForeignRoutingPolicyRules=no (a line each); then: systemctl restart systemd-networkd"
        )
        findings.append(found("networkd-routes", "warning", title, mend))
    return findings


def _udev(facts: Facts) -> list[Finding]:
    findings = []
    for device in facts.devices:
        path = matching(facts.links, device, key="originalname")
        if not device.ours or device.assigned != RANDOM or path is None:
            continue
        if told(facts.links[path], "link", "macaddresspolicy", "none") == "persistent":
            title = f"{path} has MACAddressPolicy=persistent, and {device.name} has a MAC that the kernel made up"
            mend = (
                f"overlayctl install (a .link file with MACAddressPolicy=none), then: ip link del {device.name}; "
                "the agent makes it anew"
            )
            findings.append(found("mac-policy", "note", title, mend))
    return findings


def ini(text: str) -> configparser.RawConfigParser:
    """systemd's and NetworkManager's files, near enough: keys without case, what cannot be read is left out. Pure."""
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, interpolation=None)
    try:
        parser.read_string("\n".join(line.strip() for line in text.splitlines()))
    except configparser.Error:
        return configparser.RawConfigParser()
    return parser


def told(text: str, section: str, key: str, default: str) -> str:
    """The value in a section whose name may have any case. Pure."""
    parser = ini(text)
    for name in parser.sections():
        if name.lower() == section:
            default = (parser.get(name, key, fallback=default) or default).strip().lower()
    return default


def matching(files: Mapping[str, str], device: Device, *, key: str = "name") -> str | None:
    """The first file whose [Match] fits, by name or kind; one that asks for anything else is taken not to. Pure."""
    for path, text in sorted(files.items(), key=lambda item: item[0].rsplit("/", 1)[-1]):
        parser = ini(text)
        section = next((name for name in parser.sections() if name.lower() == "match"), None)
        asked = dict(parser.items(section)) if section else {}
        values = {key: device.name, "kind": device.kind}
        if asked and all(_fits(values.get(name), wanted or "") for name, wanted in asked.items()):
            return path
    return None


def _fits(value: str | None, wanted: str) -> bool:
    words = wanted.split()
    if value is None or not words:
        return False
    refused = words[0].startswith("!")
    globs = [word.lstrip("!") for word in words]
    return any(fnmatchcase(value, glob) for glob in globs) is not refused


def unmanaged(files: Mapping[str, str], name: str) -> bool:
    """Whether NetworkManager leaves a device alone by its configuration. Pure."""
    for text in files.values():
        parser = ini(text)
        for section in parser.sections():
            if section.lower() == "keyfile":
                keys = ("unmanaged-devices", "unmanaged-devices+")  # "+=" adds to other files'
                spec = ";".join(parser.get(section, key, fallback="") or "" for key in keys)
            elif section.lower().startswith("device") and (
                (parser.get(section, "managed", fallback="") or "").strip().lower() in _NO
            ):
                spec = parser.get(section, "match-device", fallback="") or ""
            else:
                continue
            if _spec_fits(spec, name):
                return True
    return False


def _spec_fits(spec: str, name: str) -> bool:
    fits = False
    for word in spec.replace(",", ";").split(";"):
        rule = word.strip()
        refused = rule.startswith("except:")
        kind, colon, glob = rule.removeprefix("except:").partition(":")
        is_name = not colon or kind in ("interface-name", "ifname")
        if is_name and rule and fnmatchcase(name, (glob if colon else kind).removeprefix("=")):
            if refused:
                return False
            fits = True
    return fits


def read(look: Look) -> Facts:
    """Files, and whether systemd says that the programs run."""
    it, network = tunnel(look), look.configured().network
    present = {link.name: link for link in look.hosts().links}
    wanted = [(it.bridge, "bridge", True), (POD, "veth", True)]
    wanted += [(name, "vxlan", True) for name in it.devices.values()]
    wanted += [(below.link, "", False) for below in it.underlays.values()]
    devices = tuple(
        Device(name, kind or getattr(present.get(name), "kind", ""), ours, _assigned(look, name))
        for name, kind, ours in wanted
        if name
    )
    main = {path: text for path in (NETWORKD_CONF,) if (text := look.text(path)) is not None}
    nm = {path: text for path in (NM_CONF,) if (text := look.text(path)) is not None}
    return Facts(
        networkd=_runs(look, "systemd-networkd.service"),
        manager=_runs(look, "NetworkManager.service"),
        devices=devices,
        conf=main | look.texts(NETWORKD_MORE, ".conf"),
        networks=look.texts(NETWORKS, ".network"),
        links=look.texts(NETWORKS, ".link"),
        nm=nm | look.texts(NM_MORE, ".conf"),
        direct=bool(network and network.backend.direct),
    )


def _runs(look: Look, unit: str) -> bool:
    return look.run(("systemctl", "is-active", unit)).out.strip() == "active"


def _assigned(look: Look, name: str) -> str:
    return (look.text(f"/sys/class/net/{name}/addr_assign_type") or "").strip()
