"""All kinds of finding: the id, where it belongs, and why it matters. Pure; docs/doctor.md has a row for each."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """``why`` is one sentence for an operator who sees it for the first time."""

    area: str
    why: str


_KERNEL = {
    "not-root": "without CAP_NET_ADMIN and CAP_SYS_ADMIN most checks see little; the agent can do nothing at all",
    "kernel-link": "the tunnel, the bridge and every pod's link are made of such devices",
    "nft-unusable": "masquerading and forwarding of pods are one nftables table, loaded by libnftables",
    "kernel-untried": "only a trial shows whether the kernel has what is needed",
}
_TRAFFIC = {
    "ip-forward": "the node is a router for its pods: with forwarding off their packets end here",
    "ip-forward-at-boot": "after the next boot pods are cut off until the agent has mended it",
    "rp-filter": "strict reverse path filtering drops packets that come by another way than the answer goes",
    "bridge-filter": "packets between pods of one node then pass the drop rules for forwarded packets, too",
    "forward-drop": "pods' packets are forwarded ones: an accept in our own table does not overrule another's drop",
    "udp-in-blocked": "the tunnel's packets from other nodes never arrive: nothing from their pods does",
    "udp-out-blocked": "the tunnel's packets to other nodes never leave: nothing reaches their pods",
    "rules-unread": "what stands there may drop packets of pods and of the tunnel as well",
    "udp-port-taken": "the kernel gives a UDP port to one user: the tunnel device cannot be set up",
    "vxlan-taken": "the kernel allows one device for a VNI, port and family: ours cannot be made",
    "pod-network-overlap": "an address that is both the host's and a pod's leads to one of them only",
    "docker-pool-overlap": "Docker takes the next network from this pool, and then pods there are cut off",
    "checksum-offload": "the card or driver below gets the checksum of tunnelled packets wrong",
    "peer-silent": "no packet through the tunnel comes back: a firewall on the way, or the node is away",
    "peer-lossy": "some packets through the tunnel are lost",
    "mtu-black-hole": "small packets pass and large ones vanish: pings work, transfers hang",
}
_UNDERLAY = {
    "underlay-none": "without an interface for the tunnel this node cannot join",
    "underlay-mtu": "a tunnel needs 50 bytes of each packet over IPv4, 70 over IPv6",
    "backend-mtu": "nodes whose interface has less than the network's MTU use their own: pods' MTUs differ",
}
_CNI = {
    "conflist-order": "runtimes take the first configuration by name: new pods go to another network",
    "conflist-other": "it is used as soon as ours is away; max_conf_num decides whether both are",
    "conflist-missing": "the runtime starts no pod on this node, or starts it in another network",
    "conflist-unreadable": "containerd and CRI-O refuse a configuration that is no JSON",
    "cni-plugin-missing": "one missing executable in the chain fails every pod of the node",
    "cni-executable": "the runtime execs it for every pod that comes or goes",
    "cni-executable-mode": "runtimes cannot start it, or start it with rights it must not have",
    "cni-executable-other": "it is not what this installation would write: it talks to another agent, or is older",
    "bin-dir-noexec": "nothing in a directory that is mounted noexec can be started",
    "runtime-dirs": "the runtime looks elsewhere: it finds neither our conflist nor our executable",
    "runtime-unreadable": "the runtime's directories could not be compared with ours",
    "runtime-max-conf": "containerd then joins each pod to every network in the directory, not to the first alone",
    "runtime-cri-off": "the runtime serves no kubelet, and reads no CNI configuration",
}
_HOST = {
    "networkd-routes": "systemd-networkd deletes routes that it did not make whenever it is restarted",
    "networkd-manages": "systemd-networkd configures devices of ours by a file that fits them",
    "mac-policy": "udev gives such a device another MAC after the agent has told the peers the first one",
    "networkmanager": "NetworkManager may take our devices up, down or into its own configuration",
    "clock-unsynchronised": "certificates and leases are judged by the clock; nodes that differ cannot be compared",
    "clock-wrong": "certificates are refused as not yet valid or expired, leases look older or younger than they are",
    "place-full": "a full disk stops addresses from being recorded, so no pod can start",
    "place-nearly-full": "a full disk stops addresses from being recorded, so no pod can start",
    "run-dir-not-tmpfs": "addresses of pods that a reboot ended stay taken: allocations must go when the pods do",
    "place-unwritable": "the agent keeps its MAC, its last subnet and its copy of the records there",
    "fd-limit": "each pod that starts, and each connection to etcd, takes descriptors of the agent's",
    "conntrack-full": "the kernel drops new connections of all pods once its table is full",
    "neighbour-table": "the kernel drops packets to neighbours that it has no room for",
}
_STORE = {
    "etcd-unreachable": "running pods go on, but no node can join, and changes are not heard of",
    "etcd-degraded": "etcd is a member, a leader or some space away from refusing this node",
    "etcd-notice": "worth knowing, no fault",
    "etcd-old": "this version may lose the deletion of a key at a compaction: dead nodes stay, or come back",
    "etcd-alarm": "etcd refuses writes while an alarm stands: no node can join",
    "network-config-missing": "the agents wait for it",
    "network-config-unknown": "what overlaps with it, or does not fit it, can only be told from it",
    "network-config-bad": "no agent can start with it",
    "tls-file": "without it there is no connection to etcd",
    "tls-expired": "etcd, or this node, refuses the connection",
    "tls-expires": "then etcd, or this node, refuses the connection",
    "tls-not-yet": "etcd, or this node, refuses the connection: the certificate is new, or this clock is behind",
    "secret-readable": "whoever reads it can act as this node in etcd",
}
_AGENT = {
    "agent-not-installed": "a preflight: nothing is expected to run here yet",
    "agent-down": "traffic goes on, but no pod can start or end cleanly, and peers' changes are missed",
    "agent-failed": "traffic goes on, but no pod can start or end cleanly, and peers' changes are missed",
    "agent-not-enabled": "after the next boot the agent is not started",
    "agent-degraded": "the agent itself says so",
    "settings-bad": "no agent starts with them, and a reload is refused",
    "agent-waiting": "the agent has not joined the network yet",
    "agent-version": "it was upgraded on disk and not restarted, or overlayctl is another installation's",
    "check-failed": "what it would have looked at is not known; the others are not affected",
    "check-late": "what it would have looked at is not known; the others are not affected",
}

AREAS = {
    "kernel": _KERNEL,
    "traffic": _TRAFFIC,
    "underlay": _UNDERLAY,
    "cni": _CNI,
    "host": _HOST,
    "etcd": _STORE,
    "agent": _AGENT,
}
KINDS = {kind: Kind(area, why) for area, kinds in AREAS.items() for kind, why in kinds.items()}
