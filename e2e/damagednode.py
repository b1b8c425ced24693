"""What a node has for itself, damaged piece by piece: devices, pods, switches, nft. {words} are those of a Side."""

from e2e.damages import OUTSIDE, PODS, Damage

_ANEW = "ip link del overlay.1; ip link add overlay.1 type vxlan id 1 dstport 8472 local {underlay} dev eth0 nolearning"
_LINKWATCH = "sleep 1.5"
"""The kernel takes a second to stop what has lost its carrier (net/core/link_watch.c)."""
_ALTERED = (
    "nft table inet overlay was altered: set right; changes=1 likely=nft (the kernel names it"
)
_POD = "WARNING pod overlay/"

DEVICE = {
    "device's MAC changed": Damage(
        "ip link set overlay.1 address 02:00:00:00:00:55",
        "device overlay.1 had mac 02:00:00:00:00:55",
        PODS,
    ),
    "device's MTU changed": Damage(
        "ip link set overlay.1 mtu 1300", "device overlay.1 had mtu 1300: set right"
    ),
    "device down": Damage("ip link set overlay.1 down", "device overlay.1 was down, ", PODS),
    "device down and up": Damage(
        "ip link set overlay.1 down; ip link set overlay.1 up",
        "device overlay.1 was set down and is as it was again, but lost ",
        PODS,
    ),
    "device's local address changed": Damage(
        "ip link set overlay.1 type vxlan id 1 local 192.168.50.77",
        "device overlay.1 had local 192.168.50.77",
        PODS,
    ),
    "device learns": Damage(
        "ip link set overlay.1 type vxlan learning", "device overlay.1 had learning True"
    ),
    "device's TTL": Damage("ip link set overlay.1 type vxlan ttl 1", "device overlay.1 had ttl"),
    "device with a remote": Damage(
        "ip link set overlay.1 type vxlan id 1 remote 192.168.50.77",
        "device overlay.1 had a remote",
    ),
    "device without ARP": Damage(
        "ip link set overlay.1 arp off", "device overlay.1 had arp off", PODS
    ),
    "device held down": Damage(
        f"ip link set overlay.1 protodown on; {_LINKWATCH}", "device overlay.1 had protodown", PODS
    ),
    "device held down for a reason": Damage(
        f"ip link set overlay.1 protodown on protodown_reason 3 on; {_LINKWATCH}",
        "device overlay.1 had protodown",
        PODS,
    ),
    "device put into the bridge": Damage(
        "ip link set overlay.1 master overlay0", "device overlay.1 had a place in overlay0"
    ),
    "device's addresses flushed": Damage(
        "ip addr flush dev overlay.1", "address {own} dev overlay.1 was deleted", PODS
    ),
    "device's address added": Damage(
        "ip addr add 10.77.0.1/24 dev overlay.1",
        "address 10.77.0.1/24 dev overlay.1 was not ours to have: taken away",
    ),
    "device's mark lost": Damage(
        "ip link set overlay.1 alias mine", "device overlay.1 lost our mark (its alias)"
    ),
    "device deleted": Damage("ip link del overlay.1", "device overlay.1 was deleted, ", PODS),
    "device made anew by others": Damage(
        f"{_ANEW}; ip link set overlay.1 addrgenmode none up",
        "device overlay.1 lost our mark (its alias), ",
        PODS,
    ),
    "device made anew with other flags": Damage(
        f"{_ANEW} maxaddress 1 l3miss proxy; ip link set overlay.1 addrgenmode none up",
        "device overlay.1 lost our mark (its alias), ",
        PODS,
    ),
    "device's address with a peer": Damage(
        "ip addr add 10.77.0.1 peer {far}/32 dev overlay.1",
        "address 10.77.0.1/32 peer {far} dev overlay.1 was not ours to have: taken away",
        PODS,
    ),
    "device's own address with a peer": Damage(
        "ip addr add $(echo {own} | cut -d/ -f1) peer {far}/32 dev overlay.1",
        "address {own} peer {far} dev overlay.1 was not ours to have: taken away",
        PODS,
    ),
}
BRIDGE = {
    "bridge deleted": Damage("ip link del overlay0", "bridge overlay0 was deleted, ", PODS),
    "bridge down": Damage("ip link set overlay0 down", "bridge overlay0 was down, ", PODS),
    "bridge's MAC changed": Damage(
        "ip link set overlay0 address 02:00:00:00:00:56",
        "bridge overlay0 had mac 02:00:00:00:00:56: set right",
        PODS,
    ),
    "bridge's MTU changed": Damage(
        "ip link set overlay0 mtu 1280", "bridge overlay0 had mtu 1280: set right"
    ),
    "bridge without ARP": Damage(
        "ip link set overlay0 arp off", "bridge overlay0 had arp off: set right", PODS
    ),
    "bridge's mark lost": Damage(
        "ip link set overlay0 alias mine", "bridge overlay0 lost our mark (its alias)"
    ),
    "bridge's addresses flushed": Damage(
        "ip addr flush dev overlay0", "address {gateway}/24 dev overlay0 was deleted", PODS
    ),
    "bridge's address with another prefix": Damage(
        "ip addr del {gateway}/24 dev overlay0; ip addr add {gateway}/25 dev overlay0",
        "address {gateway}/25 dev overlay0 was not ours to have: taken away",
    ),
    "bridge's address doubled": Damage(
        "ip addr add {gateway}9/24 dev overlay0",
        "address {gateway}9/24 dev overlay0 was not ours to have: taken away",
    ),
    "bridge's address behind another one": Damage(
        "ip addr del {gateway}/24 dev overlay0; ip addr add {gateway}9/24 dev overlay0; "
        "ip addr add {gateway}/24 dev overlay0",
        "address {gateway}9/24 dev overlay0 was not ours to have: taken away",
    ),
    "bridge's address with a peer": Damage(
        "ip addr del {gateway}/24 dev overlay0; ip addr add {gateway} peer 10.77.0.9/24 dev overlay0",
        "address {gateway}/24 peer 10.77.0.9 dev overlay0 was not ours to have: taken away",
        PODS,
    ),
    "bridge's address with a pod for a peer": Damage(
        "ip addr del {gateway}/24 dev overlay0; ip addr add {gateway} peer {gateway}9/24 dev overlay0",
        "address {gateway}/24 peer {gateway}9 dev overlay0 was not ours to have: taken away",
    ),
}
POD = {
    "pod taken out of the bridge": Damage(
        "ip link set {port} nomaster",
        "mended: the host's end {port} is not in bridge overlay0",
        PODS,
        _POD,
    ),
    "pod's link down": Damage(
        "ip link set {port} down", "mended: the host's end {port} is down", PODS, _POD
    ),
    "pod's link with another MTU": Damage(
        "ip link set {port} mtu 1300",
        "mended: the host's end {port} has MTU 1300 instead of 1450",
        thing=_POD,
    ),
    "pod's link without its mark": Damage(
        "ip link set {port} alias ''", "mended: the host's end {port} has lost its mark", thing=_POD
    ),
    "pod's link renamed": Damage(
        "ip link set {port} down; ip link set {port} name stray; ip link set stray up",
        "mended: the host's end {port} is named stray",
        thing=_POD,
    ),
}
SWITCHES = {
    "forwarding off": Damage(
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "sysctl net.ipv4.ip_forward had value 0: set right; ",
        PODS,
    ),
    "forwarding off on the bridge": Damage(
        "echo 0 > /proc/sys/net/ipv4/conf/overlay0/forwarding",
        "sysctl net.ipv4.conf.overlay0.forwarding had value 0: set right",
        PODS,
    ),
    "forwarding off on the device": Damage(
        "echo 0 > /proc/sys/net/ipv4/conf/overlay.1/forwarding",
        "sysctl net.ipv4.conf.overlay.1.forwarding had value 0: set right",
        PODS,
    ),
    "forwarding off on the underlay": Damage(
        "echo 0 > /proc/sys/net/ipv4/conf/eth0/forwarding",
        "sysctl net.ipv4.conf.eth0.forwarding had value 0: set right",
        OUTSIDE,
    ),
    "router advertisements accepted on the bridge": Damage(
        "echo 1 > /proc/sys/net/ipv6/conf/overlay0/accept_ra",
        "sysctl net.ipv6.conf.overlay0.accept_ra had value 1: set right",
    ),
    "router advertisements accepted on the device": Damage(
        "echo 1 > /proc/sys/net/ipv6/conf/overlay.1/accept_ra",
        "sysctl net.ipv6.conf.overlay.1.accept_ra had value 1: set right",
    ),
}
NFT = {
    "nft table deleted": Damage(
        "nft delete table inet overlay",
        "nft table inet overlay was deleted: put back; changes=1 likely=nft (the kernel names it",
        OUTSIDE,
    ),
    "nft ruleset flushed": Damage(
        "nft flush ruleset", "nft table inet overlay was deleted: put back", OUTSIDE
    ),
    "nft chain flushed": Damage("nft flush chain inet overlay postrouting", _ALTERED, OUTSIDE),
    "nft chain added": Damage("nft add chain inet overlay mine", _ALTERED),
    "nft rule deleted": Damage(
        "nft delete rule inet overlay postrouting handle $(nft -a list chain inet overlay postrouting | "
        "sed -n 's/.*pods to the outside.*handle //p')",
        _ALTERED,
        OUTSIDE,
    ),
    "nft rule before ours": Damage("nft insert rule inet overlay postrouting drop", _ALTERED, PODS),
    "nft policy changed": Damage(
        "nft chain inet overlay postrouting '{{ policy drop; }}'", _ALTERED
    ),
    "nft table dormant": Damage(
        "nft add table inet overlay '{{ flags dormant; }}'", _ALTERED, OUTSIDE
    ),
}
