"""install."""

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
}
