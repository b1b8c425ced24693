"""init, etcd, leases, reserve, release."""

from agent.ctl.manual import Manual

MANUAL = {
    "init": Manual(
        """
        Writes the network config to etcd, in flannel's format: the ranges that pods get addresses from, the length of
        one node's share, the backend. Once per cluster. A config that is there already is left alone if it is the same
        and refused if it is another; running nodes keep the one they started with.
        """,
        (
            ("init --network 10.5.0.0/16", "IPv4, a /24 for each node, VXLAN"),
            ("init --network 10.5.0.0/16 --ipv6-network fd00:5::/48", "both families"),
            ("init --network 10.5.0.0/16 --backend host-gw", "plain routes, all nodes on one link"),
        ),
        {64: "the values make no network, or another config is there"},
        ("overlayctl leases", "overlayctl status", "docs/flannel.md"),
    ),
    "etcd": Manual(
        """
        Asks every endpoint of etcd_endpoints, by itself: does it answer, how fast, is it the leader, is it full, is an
        alarm raised; then how this node's agent stands with it: its lease, the time left of it, and when its watch last
        heard something. What is wrong comes with the command that mends it.
        """,
        (
            ("etcd", "a table, then what is wrong"),
            ("etcd --output json", "for a program"),
        ),
        {0: "all well", 1: "degraded", 2: "no endpoint answers, or none has a leader"},
        ("overlayctl status", "etcdctl endpoint status", "docs/etcd.md"),
    ),
    "leases": Manual(
        """
        Every record below the prefix, also those of flannel's nodes and those that cannot be read: whose it is, when it
        ends unless it is renewed, and which contradict each other. With --stale only those that nobody looks after.
        """,
        (
            ("leases", "all of them; the last line counts"),
            ("leases --stale", "candidates for overlayctl node remove"),
        ),
        see=("overlayctl peers", "overlayctl node", "overlayctl release"),
    ),
    "reserve": Manual(
        """
        Writes a record without expiry, so that no other node gets the subnet: for the node of a name, or with an
        underlay address, or for nobody. A node that holds another subnet takes its reservation at its next claim;
        it takes it whole, so in a network of both families it has to have both.
        """,
        (
            ("reserve 10.5.7.0/24 --node n7", "for a node by its name"),
            ("reserve 10.5.7.0/24 --address 192.0.2.7", "by its underlay address"),
            ("reserve 10.5.7.0/24", "for nobody"),
            ("reserve 10.5.7.0/24,fd00:5:0:7::/64 --node n7", "of both families"),
        ),
        {
            1: "somebody holds it",
            64: "not a subnet of the network, or none that the node could take",
        },
        ("overlayctl release", "overlayctl leases"),
    ),
    "release": Manual(
        """
        Takes a reservation away. With --force another node's lease as well: its pods keep their network only until
        somebody else is given the subnet.
        """,
        (
            ("release 10.5.7.0/24", "a reservation"),
            ("release 10.5.7.0/24 --force", "whatever holds it"),
        ),
        {1: "refused: a node that may live holds it"},
        ("overlayctl reserve", "overlayctl node", "overlayctl leave"),
    ),
}
