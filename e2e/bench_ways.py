"""The ways that `make bench` sends traffic along, each between two machines with a pod."""

from collections.abc import Callable

from e2e import bench_hand, bench_traffic
from e2e.bench_traffic import Rates, Way, as_it_is
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import Lab
from e2e.node import Node

OURS, BARE_TABLES, HAND = "overlay", "overlay without nft", "by hand"
DIRECT, HAND_DIRECT, UNDERLAY = "direct", "direct by hand", "underlay"
OTHER_PREFIX = "/overlay/direct"
TUNNEL = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
PLAIN = '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan","VNI":2,"DirectRouting":true}}'


def traffic(
    lab: Lab, *, rounds: int, seconds: float, say: Callable[[str], None]
) -> tuple[dict[str, Rates], bool]:
    """All ways; and whether DirectRouting was one: else that name stands for the tunnel it fell back to."""
    lab.etcd.ctl("put", CONFIG_KEY, TUNNEL)
    lab.etcd.ctl("put", f"{OTHER_PREFIX}/config", PLAIN)
    ours = _pair(lab, "t")
    direct = _pair(lab, "d", etcd_prefix=OTHER_PREFIX)
    plain = bench_traffic.is_direct(*direct)
    if not plain:
        say("DirectRouting is asked for, but the route is not direct: the tunnel is measured")
    hands = bench_hand.pair(lab)
    ways = [
        _between(lab, OURS, ours, as_it_is),
        _between(lab, BARE_TABLES, ours, bench_traffic.without_tables([*ours])),
        Way(HAND, hands[0].pod, hands[1].pod, hands[1].pod_address, as_it_is),
        _between(lab, DIRECT, direct, as_it_is),
        Way(
            HAND_DIRECT,
            hands[0].pod,
            hands[1].pod,
            hands[1].pod_address,
            bench_traffic.by_hand_directly(*hands),
        ),
        Way(UNDERLAY, hands[0].space, hands[1].space, hands[1].address, as_it_is),
    ]
    for node in (*ours, *direct):
        node.stop_agent()  # the data plane stays; nobody mends a table that is taken away on purpose
    return bench_traffic.measure(lab, ways, rounds=rounds, seconds=seconds, say=say), plain


def _pair(lab: Lab, name: str, **settings: object) -> tuple[Node, Node]:
    one, two = (lab.add_node(f"{name}{number}", **settings) for number in (1, 2))
    lab.start_nodes(one, two)
    return one, two


def _between(
    lab: Lab, name: str, nodes: tuple[Node, Node], prepared: Callable[[], bench_traffic.Surrounding]
) -> Way:
    pods = [
        next((pod for pod in lab.pods if pod.node == node.name), None) or lab.add_pod(node)
        for node in nodes
    ]
    return Way(name, pods[0].namespace, pods[1].namespace, str(pods[1].address), prepared)
