"""When the node's pages are written and when they go: only a node that is ready has them.

Order: node page, subnet.env, conflist last, because a conflist is what makes the runtime start pods.
"""

import logging
from pathlib import Path

from agent.config import Config
from overlay import nodefile
from overlay.desired import Me, gateway
from overlay.model import Network
from overlay.nodefile import NodeFamily, NodePage

log = logging.getLogger(__name__)

CHAINED = ("portmap", "bandwidth")


def attachments(config: Config) -> int:
    """How many pod interfaces are recorded on this node."""
    return sum(1 for _ in (config.run_dir / "attachments").glob("*/*.json"))


class Pages:
    """Publishes and withdraws; remembers what it published, so that a steady state writes nothing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._published: NodePage | None = None

    def publish(self, network: Network, me: Me) -> bool:
        """Write all pages that differ; True if this is news."""
        page = self._page(network, me)
        if page == self._published:
            return False
        nodefile.write_pages(page, self._config.run_dir)
        present = [name for name in CHAINED if (self._config.cni_bin_dir / name).exists()]
        path = nodefile.write_conflist(page, self._config.cni_conf_dir, plugins=present)
        self._published = page
        log.info("pods may be attached mtu=%d conflist=%s", page.mtu, path)
        self._report_rivals(path)
        return True

    def withdraw(self) -> None:
        """Conflist first: no new pods; the pods that run are not touched."""
        nodefile.remove_conflist(self._config.cni_conf_dir)
        nodefile.remove_pages(self._config.run_dir)
        self._published = None

    def _page(self, network: Network, me: Me) -> NodePage:
        families = tuple(
            NodeFamily(gateway=gateway(vtep.subnet), cluster=pool.network)
            for vtep in me.vteps
            if (pool := network.pool(vtep.family))
        )
        return NodePage(
            families=families,
            mtu=me.pod_mtu,
            bridge=me.bridge,
            node=self._config.node_name,
            ip_masq=me.masquerade,
            run_dir=str(self._config.run_dir),
        )

    def _report_rivals(self, ours: Path) -> None:
        """Runtimes take the lexicographically first configuration: say so if that is not ours."""
        suffixes = (".conf", ".conflist", ".json")
        first = min(
            (path.name for path in ours.parent.iterdir() if path.suffix in suffixes),
            default=ours.name,
        )
        if first != ours.name:
            log.warning(
                "another CNI configuration sorts before ours, runtimes will use it file=%s",
                ours.parent / first,
            )
