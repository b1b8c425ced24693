"""The table of checks: one row each, in the order of their areas."""

from agent.ctl.doctor import (
    agentside,
    clock,
    conflists,
    executable,
    firewall,
    forwarding,
    ground,
    kernel,
    limits,
    networkd,
    overlap,
    paths,
    places,
    runtimes,
    secretfiles,
    store,
)
from agent.ctl.doctor.surveying import Check

CHECKS = (
    Check(
        "agent", "agent", "the agent runs, is of this version and has no complaint", agentside.check
    ),
    Check(
        "kernel", "kernel", "the kernel makes VXLAN, bridge, veth and nftables' rules", kernel.check
    ),
    Check(
        "underlay",
        "underlay",
        "there is an interface for the tunnel, and its MTU fits",
        ground.check,
    ),
    Check("forwarding", "traffic", "packets are forwarded, now and after a boot", forwarding.check),
    Check("firewall", "traffic", "no rule drops pods' packets or the tunnel's", firewall.check),
    Check("overlap", "traffic", "nobody else has the pod network or the VNI", overlap.check),
    Check("docker", "traffic", "Docker's address pools are elsewhere", overlap.check_docker),
    Check(
        "udp-port", "traffic", "the tunnel's UDP port is free, or the tunnel's", overlap.check_port
    ),
    Check("paths", "traffic", "no probe of a peer says otherwise", paths.check),
    Check(
        "conflists",
        "cni",
        "runtimes take our configuration, and all of its chain is there",
        conflists.check,
    ),
    Check("executable", "cni", "the CNI executable is ours and of this version", executable.check),
    Check("runtimes", "cni", "containerd and CRI-O look where the agent writes", runtimes.check),
    Check("places", "host", "the directories have room and are of the right kind", places.check),
    Check(
        "network-programs",
        "host",
        "networkd, udev and NetworkManager leave ours alone",
        networkd.check,
    ),
    Check("clock", "host", "the clock is not known to be wrong", clock.check),
    Check("limits", "host", "no table of the kernel is nearly full", limits.check),
    Check("etcd", "etcd", "every endpoint is healthy, new enough and has room", store.check),
    Check(
        "network-config", "etcd", "the network config is there and can be read", store.check_config
    ),
    Check(
        "secrets",
        "etcd",
        "certificates are valid, and secrets readable by nobody else",
        secretfiles.check,
    ),
)
