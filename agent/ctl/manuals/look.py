"""status, peers, mesh, drift, plan."""

from agent.ctl.manual import Manual

MANUAL = {
    "status": Manual(
        """
        Asks the agent of this node what it knows: subnet, lease, etcd, underlay, MTU and why it is that, peers, pods,
        and all that is wrong, the oldest first, each with what to do. Lines with ! are troubles, lines with i are
        worth knowing.

        "down" means that the agent does not answer or has not got a subnet yet; pods that run keep their network
        even then. "degraded" means that traffic goes on and something needs a look.
        """,
        (
            ("status", "one screen"),
            ("status --watch", "the same again and again, until Ctrl-C"),
            ("status --output json", "for a program"),
            ("status && echo well", "for a script: the exit code is the verdict"),
        ),
        {0: "healthy", 1: "degraded", 2: "down, or no agent answers"},
        ("overlayctl peers", "overlayctl etcd", "overlayctl doctor", "journalctl -u overlay-agent"),
    ),
    "peers": Manual(
        """
        One row per other node, as the agent knows it from etcd: its subnet, its underlay address, the MAC of its
        tunnel end, the way it is reached by (tunnel or direct) and its state. "ok" means that the kernel holds route,
        neighbour and FDB entry as they should be; it does not say that packets arrive (overlayctl probe does).
        """,
        (
            ("peers", "all of them"),
            ("peers --output json", "for a program"),
        ),
        see=("overlayctl probe", "overlayctl leases", "overlayctl mesh"),
    ),
    "mesh": Manual(
        """
        Asks every node's agent what its probes have shown, and puts it together: all nodes, and the paths between them
        that are not fine, with loss, round trip and the largest packet. --html writes it as one page that loads nothing
        from anywhere. Without probe_interval on the nodes there are no paths to tell about.
        """,
        (
            ("mesh", "nodes, and what is not fine between them"),
            ("mesh --html mesh.html", "the same as a page for a browser"),
            ("mesh --limit 50", "ask no more than 50 nodes"),
        ),
        {0: "all is well", 1: "something is not", 2: "nobody has answered"},
        ("overlayctl probe", "overlayctl peers"),
    ),
    "drift": Manual(
        """
        What others did to the kernel objects of this node and the agent put right: when first and last, how often,
        what became of it, and likely who it was, by evidence. The history is kept on disk and outlives the agent.

        A fight is an object that is undone again and again; it is put right ever more slowly, and shown until two
        minutes after it ended.
        """,
        (
            ("drift", "the history, the youngest first"),
            ("drift --output json", "for a program"),
        ),
        {0: "no fight", 1: "something fights the agent now"},
        ("overlayctl status", "overlayctl plan", "docs/repair.md"),
    ),
    "plan": Manual(
        """
        Reads the kernel anew, compares it with what the leases in etcd ask for, and prints the steps that would be
        taken. It changes nothing. On a node that is in sync there are none.
        """,
        (("plan", "one line a step"),),
        see=("overlayctl drift", "overlayctl status"),
    ),
}
