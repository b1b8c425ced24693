"""The ways that `make bench` sends traffic along, each between two machines with a pod."""

from collections.abc import Callable
from dataclasses import dataclass, field

from e2e import bench_hand, bench_path, bench_traffic
from e2e.bench_path import Costs
from e2e.bench_traffic import Plan, Rates, Way, as_it_is, by_hand
from e2e.etcdserver import CONFIG_KEY
from e2e.lab import Lab
from e2e.node import Node

OURS, BARE_TABLES = "overlay", "overlay without nft"
HAND, HAND_NAT = "by hand", "by hand, masquerading"
DIRECT, HAND_DIRECT, HAND_DIRECT_NAT = "direct", "direct by hand", "direct by hand, masq."
UNDERLAY = "underlay"
PAIRS = (
    (OURS, HAND),
    (OURS, HAND_NAT),
    (OURS, BARE_TABLES),
    (BARE_TABLES, HAND),
    (DIRECT, HAND_DIRECT),
    (DIRECT, HAND_DIRECT_NAT),
    (DIRECT, UNDERLAY),
)
"""What is compared with what."""
OTHER_PREFIX = "/overlay/direct"
TUNNEL = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'
PLAIN = '{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan","VNI":2,"DirectRouting":true}}'
PATH_ROUNDS = 2
"""For one of iperf3: they take a tenth of the time."""


@dataclass(slots=True)
class Traffic:
    """By way. ``direct`` tells whether DirectRouting was one: else it stands for the tunnel it fell back to."""

    direct: bool = False
    rates: dict[str, Rates] = field(default_factory=dict)
    costs: dict[str, Costs] = field(default_factory=dict)


def traffic(lab: Lab, found: Traffic, plan: Plan, say: Callable[[str], None]) -> None:
    """All ways, by packet and by iperf3; ``found`` is filled on the way."""
    lab.etcd.ctl("put", CONFIG_KEY, TUNNEL)
    lab.etcd.ctl("put", f"{OTHER_PREFIX}/config", PLAIN)
    ours = _pair(lab, "t")
    direct = _pair(lab, "d", etcd_prefix=OTHER_PREFIX)
    found.direct = bench_traffic.is_direct(*direct)
    if not found.direct:
        say("DirectRouting is asked for, but the route is not direct: the tunnel is measured")
    ways = _ways(lab, ours, direct)
    for node in (*ours, *direct):
        node.stop_agent()  # the data plane stays; nobody mends a table that is taken away on purpose
    bench_path.measure(ways, found.costs, rounds=PATH_ROUNDS * plan.rounds, say=say)
    bench_traffic.measure(
        lab, [it for it in ways if it.name != HAND_DIRECT_NAT], found.rates, plan, say
    )


def _ways(lab: Lab, ours: tuple[Node, Node], direct: tuple[Node, Node]) -> list[Way]:
    one, two = hands = bench_hand.pair(lab)

    def handmade(name: str, prepared: Callable[[], bench_traffic.Surrounding]) -> Way:
        return Way(name, one.pod, two.pod, two.pod_address, prepared)

    return [
        _between(lab, OURS, ours, as_it_is),
        _between(lab, BARE_TABLES, ours, bench_traffic.without_tables(ours)),
        handmade(HAND, as_it_is),
        handmade(HAND_NAT, by_hand(hands, masquerade=True)),
        _between(lab, DIRECT, direct, as_it_is),
        handmade(HAND_DIRECT, by_hand(hands, masquerade=False, tunnel=False)),
        handmade(HAND_DIRECT_NAT, by_hand(hands, masquerade=True, tunnel=False)),
        Way(UNDERLAY, one.space, two.space, two.address, as_it_is),
    ]


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
