"""When the node's pages are written and when they go: only a node that is ready has them.

Order: node page, subnet.env, conflist last, because a conflist is what makes the runtime start pods.
"""

import logging
from operator import is_
from pathlib import Path

import msgspec

from agent.config import Config
from agent.reading import beginning
from overlay import nodefile
from overlay.desired import Me, gateway
from overlay.errors import NotReady, OverlayError
from overlay.marks import is_conflist
from overlay.model import Network
from overlay.nodefile import NodeFamily, NodePage

log = logging.getLogger(__name__)

CHAINED = ("portmap", "bandwidth")


def attachments(config: Config) -> int:
    """How many pod interfaces are recorded on this node."""
    return sum(1 for _ in (config.run_dir / "attachments").glob("*/*.json"))


def refuse_with_pods(config: Config) -> None:
    """Before the subnet is given back.

    Raises:
        NotReady: pods have addresses of it.
    """
    if attached := attachments(config):
        raise NotReady(
            f"{attached} pods are attached to this node, they would lose their network",
            hint="drain the node first, or: overlayctl leave --force",
        )


class Pages:
    """Publishes and withdraws; remembers what it published, so that a steady state writes nothing."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._published: NodePage | None = None
        self._by: tuple[object, ...] = ()
        """What the published page was made of; values, so the very same ones give the same page."""

    def follow(self, config: Config) -> None:
        """Other settings; what is published says them after the next round."""
        self._config = config

    def publish(self, network: Network, me: Me) -> bool:
        """Write all pages that differ; True if this is news. Called after each round of the loop."""
        by = (network, me, self._config)
        if self._published is not None and all(map(is_, by, self._by)):
            return False
        page = self._page(network, me)
        if page == self._published:
            self._by = by
            return False
        nodefile.write_pages(page, self._config.run_dir)
        path = nodefile.write_conflist(page, self._config.cni_conf_dir, plugins=self._present())
        self._published, self._by = page, by
        log.info("pods may be attached mtu=%d conflist=%s", page.mtu, path)
        return True

    @property
    def published(self) -> bool:
        """Whether pods may be attached."""
        return self._published is not None

    def _present(self) -> list[str]:
        """Of the plugins chained after us, those that the runtime would find."""
        return [name for name in CHAINED if (self._config.cni_bin_dir / name).exists()]

    def withdraw(self, *, conflist: bool) -> None:
        """No new pods; the pods that run are not touched.

        ``conflist`` takes it away as well (first), which makes kubelet call the whole node NotReady. Without
        it every ADD is refused with the reason, and STATUS says it. What cannot be taken away keeps no other, and is no
        end of the agent: a lost subnet's page must go though the disk of the conflist is read-only.
        """
        self._published = None
        due = [*nodefile.pages(self._config.run_dir)]
        if conflist:
            due.insert(0, self._config.cni_conf_dir / self._config.marks.conflist)
        for path in due:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                log.error(
                    "%s cannot be taken away: %s; once it can: rm %s", path, error.strerror, path
                )

    def keep(self) -> str:
        """Write the published pages again if somebody took or changed them; says which."""
        page = self._published
        if page is None:
            return ""
        try:
            intact = nodefile.read_page(self._config.run_dir) == page
        except OverlayError:
            intact = False
        if not intact:
            nodefile.write_pages(page, self._config.run_dir)
        path = self._config.cni_conf_dir / self._config.marks.conflist
        before = _identity(path)
        nodefile.write_conflist(page, path.parent, plugins=self._present())
        lost = ([] if intact else ["node.json"]) + (
            [] if _identity(path) == before else [str(path)]
        )
        return ", ".join(lost)

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
            network=self._config.marks.name,
            run_dir=str(self._config.run_dir),
            agent_wide=agent_wide(self._config),
            instance=self._config.instance,
            state_dir=str(self._config.state_dir),
        )


def rivals(conf_dir: Path, ours: str = nodefile.CONFLIST_NAME) -> list[str]:
    """What keeps runtimes from using our conflist, in sentences; empty while it is theirs to find.

    Other agents of this node are none: their networks and ours are asked for by name.

    Runtimes take the lexicographically first configuration; containerd fails altogether if that one cannot
    be read, CRI-O goes on to the next.
    """
    suffixes = (".conf", ".conflist", ".json")
    try:
        names = sorted(path.name for path in conf_dir.iterdir() if path.suffix in suffixes)
    except OSError:
        return []
    first = [name for name in names if name < ours and not is_conflist(name)]
    return [
        f"{conf_dir / name} sorts before our {ours}, runtimes use it instead"
        + ("" if _is_json(conf_dir / name) else ", and it is no JSON: containerd takes none at all")
        + f"; look: cat {conf_dir / name}"
        for name in first
    ]


def _is_json(path: Path) -> bool:
    try:
        msgspec.json.decode(beginning(path), type=dict[str, object])
    except (OSError, msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True


def _identity(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)


def agent_wide(config: Config) -> dict[str, str]:
    """Our settings under the names that a Calico-style conflist has for them."""
    stated = {
        "nodename": config.node_name,
        "etcd_endpoints": ",".join(config.etcd_endpoints),
        "etcd_key_file": config.etcd_keyfile,
        "etcd_cert_file": config.etcd_certfile,
        "etcd_ca_cert_file": config.etcd_cafile,
    }
    return {key: value for key, value in stated.items() if value}
