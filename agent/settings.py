"""The settings of the agent, one table row each: the TOML key, the OVERLAY_ variable and the flag.

A new setting is a row here and a field of agent.config.Config.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import values
from cni import hostlocal
from overlay.marks import ONLY
from overlay.model import Family


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: ``parse`` raises ValueError with the reason."""

    key: str
    default: str
    parse: Callable[[str], Any]
    metavar: str
    help: str


SETTINGS = (
    Setting(
        "instance",
        "",
        values.instance,
        "NAME",
        "tells several agents of one node apart; run_dir, state_dir, bridge and the marks follow from it",
    ),
    Setting(
        "node_name",
        "",
        values.node,
        "NAME",
        "this node's name in leases and logs (default: host name)",
    ),
    Setting(
        "machine_id",
        "",
        values.machine,
        "HEX",
        "identity that keeps the subnet (default: /etc/machine-id)",
    ),
    Setting(
        "etcd_endpoints", "http://127.0.0.1:2379", values.endpoints, "URL,...", "etcd client URLs"
    ),
    Setting(
        "etcd_prefix",
        "/coreos.com/network",
        values.prefix,
        "PATH",
        "where the network lives in etcd",
    ),
    Setting("etcd_cafile", "", values.plain, "FILE", "CA that signed etcd's certificates"),
    Setting("etcd_certfile", "", values.plain, "FILE", "client certificate"),
    Setting("etcd_keyfile", "", values.plain, "FILE", "client key"),
    Setting("etcd_username", "", values.plain, "NAME", "etcd user"),
    Setting(
        "etcd_password",
        "",
        values.plain,
        "TEXT",
        "its password (better in the file than on a command line)",
    ),
    Setting("etcd_timeout", "5s", values.at_least(0.1), "TIME", "deadline of one etcd call"),
    Setting(
        "iface",
        "",
        values.words,
        "NAME|ADDR|REGEX,...",
        "underlay interface; the first that fits is taken",
    ),
    Setting(
        "iface_can_reach",
        "",
        values.addresses,
        "ADDR,...",
        "underlay = the interface that routes to this address, at most one per family",
    ),
    Setting(
        "public_ip",
        "",
        values.public(Family.V4),
        "ADDR",
        "IPv4 address peers send to, if NAT hides the interface's",
    ),
    Setting("public_ipv6", "", values.public(Family.V6), "ADDR", "the same for IPv6"),
    Setting("bridge", ONLY.bridge, values.link_name, "NAME", "bridge the pods join"),
    Setting("ip_masq", "true", values.boolean, "BOOL", "masquerade what leaves the pod network"),
    Setting(
        "ip_masq_fully_random", "true", values.boolean, "BOOL", "with fully random source ports"
    ),
    Setting(
        "subnet",
        "",
        values.subnets,
        "CIDR,...",
        "ask for exactly this subnet, at most one per family (default: any)",
    ),
    Setting(
        "lease_ttl",
        "24h",
        values.at_least(5),
        "TIME",
        "how long the lease outlives a node that is gone",
    ),
    Setting(
        "resync_interval",
        "60s",
        values.at_least(1),
        "TIME",
        "compare the whole kernel state this often",
    ),
    Setting(
        "run_dir",
        ONLY.run_dir,
        values.own_directory,
        "DIR",
        "socket, subnet.env, address allocations; a tmpfs",
    ),
    Setting(
        "state_dir",
        ONLY.state_dir,
        values.own_directory,
        "DIR",
        "what outlives a reboot: VTEP MAC, last subnet",
    ),
    Setting(
        "cni_conf_dir",
        "/etc/cni/net.d",
        values.directory,
        "DIR",
        "where the conflist goes once the node is ready",
    ),
    Setting(
        "cni_bin_dir", "/opt/cni/bin", values.directory, "DIR", "where the CNI executables are"
    ),
    Setting(
        "host_local_dir",
        hostlocal.DIRECTORY,
        Path,
        "DIR",
        "where host-local keeps the addresses of pods that flannel's plugin attached (its dataDir)",
    ),
    Setting(
        "conflist_when_unready",
        "keep",
        values.choice("keep", "remove"),
        "keep|remove",
        "the conflist of a node that has lost its lease: keep (each ADD is refused with the reason) or "
        "remove (the runtime calls the node NotReady)",
    ),
    Setting(
        "sweep_interval",
        "60s",
        values.at_least(1),
        "TIME",
        "check all attachments, and take away what dead pods left behind, this often",
    ),
    Setting(
        "probe_interval",
        "0",
        values.off_or_at_least(5),
        "TIME",
        "ask each peer through the tunnel once in this time whether packets pass; 0: never (docs/probe.md)",
    ),
    Setting("checksum_test", "true", values.boolean, "BOOL", "test checksum offload (docs/mtu.md)"),
    Setting(
        "metrics_listen",
        "127.0.0.1:10158",
        values.listen,
        "ADDR:PORT",
        "where /metrics, /healthz and /readyz are (docs/metrics.md); empty: nowhere, as with an instance",
    ),
    Setting("log_level", "info", values.level, "LEVEL", "debug, info, warning or error"),
)
