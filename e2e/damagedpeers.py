"""The ways to the peers, damaged one by one: routes, neighbours, FDB entries. {words} are those of a Side."""

from e2e.damages import PODS, Damage

_OURS = "ip route replace {subnet} via {vtep} dev overlay.1 onlink proto 158"
_FDB = "bridge fdb replace {mac} dev overlay.1 self"

ROUTES = {
    "route deleted": Damage("ip route del {subnet}", "route {subnet} was deleted: put back", PODS),
    "route replaced by another program's": Damage(
        "ip route replace {subnet} via 192.168.50.254 dev eth0 proto dhcp",
        "route {subnet} led via 192.168.50.254 dev eth0: put back; changes=1 likely=a DHCP client",
        PODS,
    ),
    "routes flushed by protocol": Damage(
        "ip route flush proto 158", "route {subnet} was deleted: put back", PODS
    ),
    "route replaced by a blackhole": Damage(
        "ip route replace blackhole {subnet}", "route {subnet} was a blackhole: put back", PODS
    ),
    "route by another protocol": Damage(
        "ip route replace {subnet} dev overlay.1",
        "route {subnet} led dev overlay.1 by protocol 3: set right",
        PODS,
    ),
    "route by another gateway": Damage(
        "ip route replace {subnet} via 10.5.0.77 dev overlay.1 onlink proto 158",
        "route {subnet} led via 10.5.0.77 dev overlay.1 by protocol 158: set right",
        PODS,
    ),
    "route by another device": Damage(
        "ip route replace {subnet} via 192.168.50.254 dev eth0 proto 158",
        "route {subnet} led via 192.168.50.254 dev eth0 by protocol 158: set right",
        PODS,
    ),
    "route no more onlink": Damage(
        "ip route add {vtep} dev overlay.1; ip route replace {subnet} via {vtep} dev overlay.1 proto 158; "
        "ip route del {vtep} dev overlay.1",
        "route {subnet} led via {vtep} dev overlay.1 by protocol 158: set right",
    ),
    "route of another metric": Damage(
        "ip route del {subnet}; ip route add {subnet} via {vtep} dev overlay.1 onlink proto 158 metric 77",
        "route {subnet} metric 77 was not ours to have: taken away",
    ),
    "route with a second next hop": Damage(
        "ip route replace {subnet} proto 158 nexthop via {vtep} dev overlay.1 onlink "
        "nexthop via 192.168.50.77 dev eth0 weight 99",
        "route {subnet} led via {vtep} dev overlay.1 with several next hops by protocol 158: set right",
        PODS,
    ),
    "route with an MTU": Damage(
        f"{_OURS} mtu lock 100",
        "route {subnet} led via {vtep} dev overlay.1 with mtu 100 by protocol 158: set right",
    ),
    "route with a source": Damage(
        f"{_OURS} src {{underlay}}",
        "route {subnet} led via {vtep} dev overlay.1 from {underlay} by protocol 158: set right",
    ),
    "route by a next hop object": Damage(
        "ip nexthop replace id 50 via 10.5.0.77 dev overlay.1 onlink; "
        "ip route replace {subnet} nhid 50 proto 158",
        "with a next hop object by protocol 158: set right",
        PODS,
    ),
    "narrower route by a next hop object": Damage(
        "ip nexthop replace id 51 via 10.5.0.78 dev overlay.1 onlink; "
        "ip route add {far} nhid 51 proto 158",
        "route {far}/32 was not ours to have: taken away",
        PODS,
    ),
    "narrower blackhole of our protocol": Damage(
        "ip route add blackhole {far} proto 158",
        "route {far}/32 was not ours to have: taken away",
        PODS,
    ),
    "route replaced by a blackhole of our protocol": Damage(
        "ip route replace unreachable {subnet} proto 158",
        "route {subnet} was unreachable: set right",
        PODS,
    ),
    "blackhole of our protocol before ours": Damage(
        "ip route prepend blackhole {subnet} proto 158",
        "route {subnet} was not ours to have: taken away",
        PODS,
    ),
    "narrower route of our protocol": Damage(
        "ip route add {far} via 10.5.0.77 dev overlay.1 onlink proto 158",
        "route {far}/32 was not ours to have: taken away",
        PODS,
    ),
    "route to our own pods deleted": Damage(
        "ip route del {mine}", "route {mine} was deleted: put back", PODS
    ),
    "route to our own pods a blackhole": Damage(
        "ip route replace blackhole {mine}", "route {mine} was a blackhole: put back", PODS
    ),
}
NEIGHBOURS = {
    "neighbour deleted": Damage(
        "ip neigh del {vtep} dev overlay.1", "neighbour {vtep} dev overlay.1", PODS
    ),
    "neighbours flushed": Damage(
        "ip neigh flush all nud permanent",
        "neighbour {vtep} dev overlay.1 was deleted: put back",
        PODS,
    ),
    "neighbour altered": Damage(
        "ip neigh replace {vtep} lladdr 02:00:00:00:00:77 nud permanent dev overlay.1",
        "neighbour {vtep} dev overlay.1 had mac 02:00:00:00:00:77: set right",
        PODS,
    ),
    "neighbour no more permanent": Damage(
        "ip neigh replace {vtep} lladdr {mac} nud reachable dev overlay.1",
        "neighbour {vtep} dev overlay.1 was no more permanent: put back",
    ),
    "neighbour stale": Damage(
        "ip neigh change {vtep} lladdr {mac} nud stale dev overlay.1",
        "neighbour {vtep} dev overlay.1",
    ),
    "neighbour failed": Damage(
        "ip neigh change {vtep} nud failed dev overlay.1",
        "neighbour {vtep} dev overlay.1 was no more permanent: put back",
        PODS,
    ),
}
FDB = {
    "fdb entry deleted": Damage(
        "bridge fdb del {mac} dev overlay.1",
        "fdb entry {mac} dev overlay.1 was deleted: put back",
        PODS,
    ),
    "fdb entry altered": Damage(
        f"{_FDB} dst 192.168.50.77 permanent",
        "fdb entry {mac} dev overlay.1 had underlay 192.168.50.77: set right",
        PODS,
    ),
    "fdb entry to another port": Damage(
        f"{_FDB} dst {{peer}} port 4789 permanent",
        "fdb entry {mac} dev overlay.1 led elsewhere than an address: set right",
        PODS,
    ),
    "fdb entry to another VNI": Damage(
        f"{_FDB} dst {{peer}} vni 9 permanent",
        "fdb entry {mac} dev overlay.1 led elsewhere than an address: set right",
        PODS,
    ),
    "fdb entry to a next hop object": Damage(
        "ip nexthop replace id 12 via 192.168.50.77 fdb; ip nexthop replace id 102 group 12 fdb; "
        "bridge fdb del {mac} dev overlay.1; bridge fdb add {mac} dev overlay.1 nhid 102 self permanent",
        "fdb entry {mac} dev overlay.1 led elsewhere than an address: set right",
        PODS,
    ),
    "fdb entry that ages": Damage(
        f"{_FDB} dst {{peer}} dynamic",
        "fdb entry {mac} dev overlay.1 was no more permanent: put back",
    ),
    "fdb entry added": Damage(
        "bridge fdb add 02:00:00:00:00:99 dev overlay.1 dst 192.168.50.77 self permanent",
        "fdb entry 02:00:00:00:00:99 dev overlay.1 was not ours to have: taken away",
    ),
    "flooding to two": Damage(
        "for it in 77 78; do "
        "bridge fdb append 00:00:00:00:00:00 dev overlay.1 dst 192.168.50.$it self permanent; done",
        "fdb entry 00:00:00:00:00:00 dev overlay.1 was not ours to have: taken away",
    ),
    "all of a peer at once": Damage(
        "ip route del {subnet}; ip neigh del {vtep} dev overlay.1; bridge fdb del {mac} dev overlay.1",
        "route {subnet} was deleted: put back",
        PODS,
    ),
}
