"""install, uninstall."""

from agent.ctl.manual import Manual

MANUAL = {
    "install": Manual(
        """
        Lays this version down on the node: the CNI executable where the runtime looks for it, /etc/overlay/agent.toml
        with the settings given here where there is none, the unit, and the files by which networkd, NetworkManager and
        ip(8) know what is ours. Then it starts the agent, waits until it is ready, and runs the doctor.

        It can be run again at any time, and is the way to upgrade: pods stay attached, and no packet of theirs is
        lost. Files are written beside and renamed, so an interrupted one leaves nothing half done.
        """,
        (
            ("install --dry-run", "only say what would be done"),
            ("install --etcd-endpoints https://etcd1:2379", "with a setting for the agent"),
            ("install --root /mnt/image", "into an image; nothing is started"),
        ),
        {1: "refused, or the agent is not ready yet: it goes on trying"},
        ("overlayctl doctor", "overlayctl status", "overlayctl init"),
    ),
    "uninstall": Manual(
        """
        Takes this node's overlay away, in this order: the conflist, so that no pod comes; the attachments; rules,
        routes and devices; the lease; the files. It ends with a look at kernel, file system and etcd, and names
        whatever is left with the command that takes it away. It is refused while pods are attached.

        Files that were changed since they were laid down, such as the settings, stay unless --purge is given.
        """,
        (
            ("uninstall --dry-run", "only say what would be done"),
            ("uninstall", "on a node that is drained"),
            ("uninstall --force --purge", "pods lose their network, and nothing of ours is kept"),
        ),
        {0: "nothing is left", 1: "refused, or something is left: it is named"},
        ("overlayctl leave", "overlayctl install", "overlayctl doctor"),
    ),
}
