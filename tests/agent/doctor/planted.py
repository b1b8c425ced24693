"""What is planted for the judges of the doctor: a row for each kind of finding, and the facts that are well."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.ctl.doctor import (
    agentside,
    clock,
    conflists,
    executable,
    forwarding,
    ground,
    kernel,
    limits,
    overlap,
    paths,
    places,
    secretfiles,
    store,
)
from agent.ctl.doctor.certificate import Validity
from agent.ctl.doctor.finding import Finding
from agent.ctl.doctor.limits import Table
from agent.ctl.doctor.look import Configured
from agent.ctl.doctor.tunnel import Tunnel
from agent.ctl.etcd import Endpoint, Report
from agent.etcd.members import Status
from agent.underlay import Underlay
from cni.front import Settings
from overlay.dataplane.obstacles import Obstacle
from overlay.family import Family
from overlay.model import Backend
from overlay.netconfig import parse_network

Planting = tuple[str, str, Callable[[], list[Finding]]]
UNIT = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled"}
STATUS = {"version": "9", "waiting_for": "", "trouble": {}, "offload": {"overlay.1": "works"}}
AGENT = agentside.Facts(version="9", unit=UNIT, status=STATUS, ran=True)
DIRS = conflists.Facts(
    "/etc/cni/net.d",
    "/opt/cni/bin",
    "10-overlay.conflist",
    {"10-overlay.conflist": '{"name":"overlay","plugins":[{"type":"overlay"},{"type":"portmap"}]}'},
    frozenset({"overlay", "portmap"}),
    ready=True,
)
PLUGIN = executable.Facts(
    "/opt/cni/bin/overlay", "/run/overlay", mode=0o755, settings=Settings("/run/overlay", ("/x",))
)
PLACE = places.Place("run", "/run/overlay", "tmpfs", frozenset({"rw"}), 0.1, 0.1, True, True)
NETWORK = parse_network(b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}')
BELOW = Underlay("eth0", 2, NETWORK.pools[0].network.network_address, 1500)
TUNNEL = Tunnel("overlay0", 8472, NETWORK.pools, {Family.V4: "overlay.1"}, {Family.V4: BELOW})
MEMBER = Status(1, 2, "3.5.20", 2, 1, 9, 100, 100, False, ())
URL = "http://a:2379"
DAY = 86400.0
SWITCHES = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/rp_filter": "0"}


def etcd_found(status: Status | None = MEMBER, **more: Any) -> list[Finding]:  # noqa: ANN401
    return store.judge(Report([Endpoint(URL, status, why="connection refused")], **more))


def tunnel_mtu(mtu: int, backend: Backend) -> list[Finding]:
    """Of a report on one endpoint."""
    return ground.judge(
        replace(TUNNEL, underlays={Family.V4: replace(BELOW, mtu=mtu)}), backend, {}
    )


def forwarded(**more: Any) -> list[Finding]:  # noqa: ANN401
    given: dict[str, Any] = {"switches": SWITCHES, "own": ("eth0",), "serving": True}
    return forwarding.judge(forwarding.Facts(**{**given, **more}))


def rp_filters(own: str, everywhere: str = "0") -> dict[str, str]:
    """Of switches."""
    return {
        **SWITCHES,
        "net/ipv4/conf/all/rp_filter": everywhere,
        "net/ipv4/conf/eth0/rp_filter": own,
    }


def dated(since: float, until: float) -> list[Finding]:
    """Of a certificate, looked at on day 100."""
    certificates = {"/tls/a.pem": (Validity(since, until),)}
    return secretfiles.judge(secretfiles.Facts(100 * DAY, certificates))


def agent_found(**more: Any) -> list[Finding]:  # noqa: ANN401
    return agentside.judge(replace(AGENT, **more))


def status_found(**more: Any) -> list[Finding]:  # noqa: ANN401
    return agent_found(status={**STATUS, **more})


def unit(**more: str) -> dict[str, Any]:
    """Of an agent that is well but for this."""
    return {"unit": {**UNIT, **more}, "status": None, "why": "no answer"}


PLANTED: list[Planting] = [
    ("not-root", "warning", lambda: kernel.judge(kernel.Facts(("CAP_NET_ADMIN",)))),
    ("kernel-untried", "note", lambda: kernel.judge(kernel.Facts(untried="EPERM"))),
    ("kernel-link", "fault", lambda: kernel.judge(kernel.Facts(refused={"vxlan": "EOPNOTSUPP"}))),
    ("nft-unusable", "fault", lambda: kernel.judge(kernel.Facts(nft="no library"))),
    ("ip-forward", "fault", lambda: forwarded(switches={"net/ipv4/ip_forward": "0"})),
    (
        "ip-forward",
        "note",
        lambda: forwarded(switches={"net/ipv4/ip_forward": "0"}, serving=False),
    ),
    ("rp-filter", "note", lambda: forwarded(switches=rp_filters("1"))),
    ("rp-filter", "warning", lambda: forwarded(switches=rp_filters("0", "1"), direct=True)),
    (
        "ip-forward-at-boot",
        "warning",
        lambda: forwarded(files={"/etc/sysctl.d/a.conf": "net.ipv4.ip_forward = 0"}),
    ),
    (
        "vxlan-taken",
        "fault",
        lambda: overlap.judge([Obstacle("device calico", "it serves VNI 1; look: ip link")]),
    ),
    (
        "pod-network-overlap",
        "fault",
        lambda: overlap.judge([Obstacle("route 10.5.9.0/24 dev x", "why; look: ip")]),
    ),
    (
        "udp-port-taken",
        "fault",
        lambda: overlap.judge_port([overlap.PortUser("[*]", "nc (process 7)")], 8472),
    ),
    (
        "docker-pool-overlap",
        "warning",
        lambda: overlap.judge_docker(overlap.pools("{}"), [overlap.DOCKER_POOLS[3]]),
    ),
    (
        "checksum-offload",
        "warning",
        lambda: status_found(offload={"overlay.1": "broken, switched off"}),
    ),
    ("peer-silent", "warning", lambda: paths.judge([{"state": "silent", "node": "n2"}])),
    (
        "peer-lossy",
        "warning",
        lambda: paths.judge([{"state": "lossy", "node": "n2", "lost": 3, "sent": 10}]),
    ),
    (
        "mtu-black-hole",
        "warning",
        lambda: paths.judge([{"state": "black hole", "largest": 1372, "full": 1450}]),
    ),
    (
        "underlay-none",
        "fault",
        lambda: ground.judge(TUNNEL, Backend(), {Family.V6: "no default route"}),
    ),
    ("underlay-mtu", "fault", lambda: tunnel_mtu(600, Backend())),
    ("backend-mtu", "warning", lambda: tunnel_mtu(1500, Backend(mtu=9000))),
    (
        "conflist-order",
        "fault",
        lambda: conflists.judge(replace(DIRS, before=("/x/05-a.conf sorts before our",))),
    ),
    (
        "conflist-other",
        "note",
        lambda: conflists.judge(
            replace(DIRS, texts={**DIRS.texts, "87-p.conf": '{"type":"bridge"}'})
        ),
    ),
    ("conflist-missing", "fault", lambda: conflists.judge(replace(DIRS, texts={}))),
    (
        "conflist-unreadable",
        "warning",
        lambda: conflists.judge(replace(DIRS, texts={**DIRS.texts, "05.json": "[1"})),
    ),
    (
        "cni-plugin-missing",
        "fault",
        lambda: conflists.judge(replace(DIRS, executables=frozenset({"overlay"}))),
    ),
    ("cni-executable", "fault", lambda: executable.judge(replace(PLUGIN, mode=None))),
    (
        "cni-executable",
        "note",
        lambda: executable.judge(replace(PLUGIN, mode=None, expected=False)),
    ),
    ("cni-executable", "fault", lambda: executable.judge(replace(PLUGIN, regular=False))),
    ("cni-executable-mode", "fault", lambda: executable.judge(replace(PLUGIN, mode=0o4755))),
    ("cni-executable-mode", "fault", lambda: executable.judge(replace(PLUGIN, mode=0o644))),
    ("cni-executable-other", "warning", lambda: executable.judge(replace(PLUGIN, ours=False))),
    ("cni-executable-other", "warning", lambda: executable.judge(replace(PLUGIN, same=False))),
    (
        "cni-executable-other",
        "warning",
        lambda: executable.judge(replace(PLUGIN, run_dir="/run/blue")),
    ),
    ("cni-executable-other", "warning", lambda: executable.judge(replace(PLUGIN, full=False))),
    (
        "bin-dir-noexec",
        "fault",
        lambda: places.judge([replace(PLACE, what="bin", options=frozenset({"noexec"}))]),
    ),
    ("place-full", "fault", lambda: places.judge([replace(PLACE, used=0.99)])),
    ("place-full", "fault", lambda: places.judge([replace(PLACE, inodes=1.0)])),
    ("place-nearly-full", "warning", lambda: places.judge([replace(PLACE, used=0.93)])),
    ("run-dir-not-tmpfs", "warning", lambda: places.judge([replace(PLACE, kind="ext4")])),
    ("place-unwritable", "fault", lambda: places.judge([replace(PLACE, writable=False)])),
    (
        "place-unwritable",
        "fault",
        lambda: places.judge([replace(PLACE, writable=False, options=frozenset({"ro"}))]),
    ),
    ("clock-unsynchronised", "warning", lambda: clock.judge(clock.Facts(1e9, (), False))),
    ("clock-wrong", "fault", lambda: clock.judge(clock.Facts(1e9, ((2e9, "a file"),), True))),
    ("fd-limit", "warning", lambda: limits.judge([Table("fd-limit", "files", 10, 512, "more")])),
    (
        "conntrack-full",
        "warning",
        lambda: limits.judge([Table("conntrack-full", "conntrack", 95, 100, "more")]),
    ),
    (
        "neighbour-table",
        "warning",
        lambda: limits.judge([Table("neighbour-table", "arp", 1024, 1024, "more")]),
    ),
    ("etcd-unreachable", "fault", lambda: etcd_found(None)),
    ("etcd-degraded", "warning", lambda: etcd_found(warnings=["etcd has no leader; to mend: x"])),
    ("etcd-notice", "note", lambda: etcd_found(notices=["member b is not among etcd_endpoints"])),
    ("etcd-old", "warning", lambda: etcd_found(replace(MEMBER, version="3.4.23"))),
    (
        "etcd-alarm",
        "fault",
        lambda: etcd_found(
            alarms=[{"member": "2", "alarm": "NOSPACE", "text": "full", "mend": ""}]
        ),
    ),
    (
        "network-config-missing",
        "warning",
        lambda: store.judge_config(Configured(answered=True, absent=True), "/p"),
    ),
    (
        "network-config-bad",
        "fault",
        lambda: store.judge_config(Configured(why="no JSON", answered=True), "/p"),
    ),
    ("network-config-unknown", "note", lambda: store.judge_config(Configured(why="refused"), "/p")),
    (
        "network-config-unknown",
        "note",
        lambda: store.judge_config(Configured(NETWORK, "refused"), "/p"),
    ),
    (
        "tls-file",
        "fault",
        lambda: secretfiles.judge(secretfiles.Facts(0, unusable="etcd_cafile = 'x': absent")),
    ),
    ("tls-expired", "fault", lambda: dated(0, 99 * DAY)),
    ("tls-expires", "warning", lambda: dated(0, 110 * DAY)),
    ("tls-not-yet", "fault", lambda: dated(101 * DAY, 900 * DAY)),
    (
        "secret-readable",
        "warning",
        lambda: secretfiles.judge(secretfiles.Facts(0, modes={"/k": 0o640})),
    ),
    ("agent-not-installed", "note", lambda: agent_found(unit={}, status=None, ran=False)),
    ("agent-down", "fault", lambda: agent_found(**unit(ActiveState="inactive"))),
    ("agent-down", "fault", lambda: agent_found(unit={}, status=None)),
    (
        "agent-failed",
        "fault",
        lambda: agent_found(**unit(ActiveState="failed", Result="exit-code"), last="bad key"),
    ),
    (
        "agent-not-enabled",
        "warning",
        lambda: agent_found(unit={**UNIT, "UnitFileState": "disabled"}),
    ),
    ("agent-degraded", "warning", lambda: status_found(trouble={"10.5.1.0-24": "no route"})),
    ("agent-waiting", "warning", lambda: status_found(waiting_for="etcd", verdict="degraded")),
    (
        "agent-waiting",
        "fault",
        lambda: status_found(waiting_for="the network config", verdict="down"),
    ),
    ("agent-version", "warning", lambda: status_found(version="8")),
]
