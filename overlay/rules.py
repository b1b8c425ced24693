"""The text of our nft table: masquerading for the pod network. Pure.

The order of the masquerade rules is flannel's (pkg/trafficmngr/iptables): C is the cluster's network, S
this node's subnet. A mark bit 0x4000 is kube-proxy's "masquerade this", which it does itself.

Only the first packet of a connection comes by these rules. There is no chain for forwarded packets as flannel has one:
nft's "accept" ends the chain it stands in and overrules no drop in another, so such a chain changes nothing, and each
packet would pay for it (docs/performance.md).
"""

from collections.abc import Sequence

from overlay.marks import ONLY
from overlay.model import Family, Subnet

TABLE = ONLY.table
_WORD = {Family.V4: "ip", Family.V6: "ip6"}
_MULTICAST = {Family.V4: "224.0.0.0/4", Family.V6: "ff00::/8"}


def render_inet(
    networks: Sequence[tuple[Subnet, Subnet]],
    *,
    masquerade: bool,
    fully_random: bool,
    draining: Sequence[tuple[str, Subnet]] = (),
    table: str = TABLE,
) -> str:
    """One transaction that replaces the table; ``networks`` are (cluster, own subnet) per family.

    ``draining`` are (tunnel device or "", own subnet of an earlier network config): pods that live on there.
    """
    old = [(subnet, subnet) for _, subnet in draining]
    nat = _postrouting((*networks, *old), _kept(draining), fully_random) if masquerade else []
    # nft 1.0.6 wants a newline before each closing brace.
    lines = [
        f"add table {table}",
        f"delete table {table}",
        f"table {table} {{",
        "\tchain postrouting {",
        "\t\ttype nat hook postrouting priority srcnat; policy accept;",
        *(f"\t\t{rule}" for rule in nat),
        "\t}",
        "}",
    ]
    return "\n".join(lines) + "\n"


def _kept(draining: Sequence[tuple[str, Subnet]]) -> list[str]:
    """Old pods talk to old pods of other nodes under their own addresses; the old network's size is forgotten."""
    return [
        f'oifname "{link}" {_WORD[Family.of(subnet)]} saddr {subnet} return comment "old pods, into the tunnel"'
        for link, subnet in draining
        if link
    ]


def _postrouting(
    networks: Sequence[tuple[Subnet, Subnet]], first: list[str], fully_random: bool
) -> list[str]:
    how = "masquerade fully-random" if fully_random else "masquerade"
    rules = ['meta mark & 0x4000 == 0x4000 return comment "kube-proxy masquerades this itself"']
    rules += first
    for cluster, own in networks:
        family = Family.of(cluster)
        ip = _WORD[family]
        rules += [
            f'{ip} saddr {own} {ip} daddr {cluster} return comment "pod to pod, leaving"',
            f'{ip} saddr {cluster} {ip} daddr {own} return comment "pod to pod, arriving"',
            f'{ip} saddr != {cluster} {ip} daddr {own} return comment "from outside to our pods"',
            f'{ip} saddr {cluster} {ip} daddr != {_MULTICAST[family]} {how} comment "pods to the outside"',
            f'{ip} saddr != {cluster} {ip} daddr {cluster} {how} comment "outside to pods of other nodes"',
        ]
    return rules
