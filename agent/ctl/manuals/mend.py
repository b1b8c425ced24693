"""gc, ipam, leave, node."""

from agent.ctl.manual import Manual

MANUAL = {
    "gc": Manual(
        """
        Finds what dead pods left behind on this node: addresses that are held, records, links, files of writers that
        were killed. What is found gone in two looks, a second apart and each with proof, is taken away. The agent does
        the same every sweep_interval; this works without one.
        """,
        (
            ("gc --dry-run", "only say what would be taken away"),
            ("gc", "take it away"),
        ),
        {1: "something could not be taken away"},
        ("overlayctl ipam check", "overlayctl status"),
    ),
    "ipam": Manual(
        """
        Who has which address of this node's subnet, with or without an agent. "show" lists pods, containers and since
        when; "check" compares records, allocations and subnet; "release" frees one by hand, where its pod is gone;
        "export" writes the addresses to host-local's directory, before a node is handed back to flannel.
        """,
        (
            ("ipam show", "every address and its pod"),
            ("ipam check", "do records and addresses agree?"),
            ("ipam release 10.5.7.9", "free an address whose pod is gone"),
            ("ipam release 3f2a", "the same by the container's beginning"),
        ),
        {1: "check found a fault, or the pod is alive and --force was not given"},
        ("overlayctl gc", "overlayctl history"),
    ),
    "leave": Manual(
        """
        Gives this node's subnet back: the lease is revoked, peers drop the node at once, and the runtime is told to
        start no pods here. By the agent if one runs, else by itself. It is refused while pods are attached.

        To join again: systemctl restart overlay-agent. A machine that is gone already: overlayctl node remove NAME.
        """,
        (
            ("leave", "before the machine is taken away"),
            ("leave --force", "although pods are attached: they lose their network"),
        ),
        {1: "refused: pods are attached, or etcd said no"},
        ("overlayctl node", "overlayctl uninstall", "overlayctl leases"),
    ),
    "node": Manual(
        """
        "node remove NAME" takes away the records of a machine that will not come back, so that its peers drop it now
        and not only when its lease ends. NAME is a node's name, machine id or underlay address. A machine that answers
        is not removed; with --force it is, and claims a subnet again if it lives.
        """,
        (
            ("leases --stale", "who is silent?"),
            ("node remove n7", "forget it"),
        ),
        {1: "refused: it answers"},
        ("overlayctl leases", "overlayctl release", "overlayctl leave"),
    ),
}
