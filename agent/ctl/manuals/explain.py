"""why, probe, trace, history, doctor."""

from agent.ctl.manual import Manual

MANUAL = {
    "why": Manual(
        """
        Walks the whole way from one pod to the other, on both nodes: attachment, veth, bridge, route, neighbour, FDB
        entry, underlay, MTU, rules that drop, the far end's record, its bridge and veth, the address in the pod. Each
        hop is right or broken; the first broken one is named, with the command that mends it.

        A pod is a name, namespace/name, an address, or the beginning of a container's id. The far side is asked through
        its agent; where it does not answer, what can be known from here is still said.
        """,
        (
            ("why web-1 db-0", "do they reach each other, and if not, why?"),
            ("why web-1 10.5.9.3 --port tcp/5432", "judge the rules for a port, and try it"),
            ("why web-1 db-0 --no-test", "only look, send nothing"),
        ),
        {0: "the whole way is right", 1: "a hop is broken, or not known", 2: "nobody can be asked"},
        ("overlayctl trace", "overlayctl probe", "overlayctl doctor"),
    ),
    "trace": Manual(
        """
        Shows a pod's packets while they pass, at its veth and at the underlay, where they are inside the tunnel: the
        same packet is told once, with both times, and one that is seen at one point only is told as lost between the
        two. It listens and changes nothing. Ctrl-C ends it and says what was seen.
        """,
        (
            ("trace web-1", "everything of the pod"),
            ("trace web-1 --port 5432 --seconds 10", "one port, for ten seconds"),
            ("trace web-1 -w web-1.pcapng", "also into a file, for wireshark"),
        ),
        {1: "packets vanished, or were too large"},
        ("overlayctl why", "overlayctl probe"),
    ),
    "history": Manual(
        """
        Who had an address, or which address a pod had: since when, until when, on which node, by the journals of the
        nodes and etcd's records. Both are bounded: what is older than they reach is said to be unknown, not to be
        nobody's.
        """,
        (
            ("history 10.5.3.7", "all that is known of an address"),
            ('history 10.5.3.7 --at "14:02"', "who had it then?"),
            ("history web-1 --all", "a pod, on every node"),
        ),
        {
            0: "somebody had it",
            1: "nobody that is known of",
            2: "nobody here, and others did not answer",
        },
        ("overlayctl ipam", "overlayctl leases"),
    ),
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
