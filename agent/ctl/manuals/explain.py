"""probe, doctor."""

from agent.ctl.manual import Manual

MANUAL = {
    "probe": Manual(
        """
        Sends packets through the tunnel to the other nodes, small ones and such as just fit, and says for each peer
        what was lost, how long the round trip took, and how large a packet may be. "Small ones arrive,
        large ones do not" is an MTU black hole, and is told with the number that fits.

        Without a name it is a table of all peers, with few packets each; with names, or --all, each peer is asked
        thoroughly. With the setting probe_interval the agent does a light one all the time: its results are in
        overlayctl status and in the metrics.
        """,
        (
            ("probe", "a table of all peers"),
            ("probe n7", "one peer, thoroughly"),
            ("probe --all --output json", "all of them, for a program"),
        ),
        {0: "all packets came back", 1: "something is lost", 2: "nobody answers"},
        ("overlayctl peers", "overlayctl doctor", "docs/mtu.md"),
    ),
    "doctor": Manual(
        """
        Looks at everything that can keep this node from being part of the network, before the installation and after
        a failure: the kernel, forwarding, firewalls and the very rule that drops, overlaps with other networks,
        networkd and NetworkManager, runtimes and CNI configurations, etcd and its certificates, the clock, the tunnel.
        Each finding says what it is, why it matters, and the command that mends it.

        --fix does what is safe and can be taken back. --bundle writes what it saw, with logs and configuration and
        without secrets, into one archive for somebody else to look at.
        """,
        (
            ("doctor", "what is wrong, the worst first"),
            ("doctor --fix --dry-run", "what --fix would do"),
            ("doctor --bundle overlay.tar.gz", "an archive for a report"),
        ),
        {0: "nothing is wrong", 1: "something was found", 2: "the node cannot work so"},
        ("overlayctl status", "overlayctl etcd", "overlayctl probe"),
    ),
}
