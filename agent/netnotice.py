"""The network config in etcd beside the one this node runs with: what differs, said once. Pure but for the log.

A running node keeps the config it started with: its pods have addresses of it. What was changed
meanwhile is applied by the next start.
"""

import logging
from collections.abc import Iterator

from overlay.errors import BadConfig, NotReady
from overlay.model import Network
from overlay.netconfig import parse_network

log = logging.getLogger(__name__)

_NEXT = "applied at the next restart of overlay-agent"


def missing(prefix: str) -> NotReady:
    """There is no config to start with."""
    key = f"{prefix}/config"
    return NotReady(
        f"no network config at {key}; write it with: overlayctl init --network 10.5.0.0/16   or: "
        f'etcdctl put {key} \'{{"Network":"10.5.0.0/16","Backend":{{"Type":"vxlan"}}}}\''
    )


class NetworkNotice:
    """``text`` is empty while both agree, or while either is not known."""

    def __init__(self) -> None:
        self.text = ""
        self._running: Network | None = None
        self._raw: bytes | None = None
        self._heard = False

    def runs_with(self, network: Network) -> None:
        """This node was set up by that config."""
        self._running = network
        self._judge()

    def heard(self, raw: bytes | None) -> None:
        """P/config as it stands now; None if there is none."""
        self._raw, self._heard = raw, True
        self._judge()

    def _judge(self) -> None:
        before, self.text = self.text, self._sentence()
        if self.text and self.text != before:
            log.warning("%s", self.text)
        elif before and not self.text:
            log.info("the network config is again the one this node runs with")

    def _sentence(self) -> str:
        if self._running is None or not self._heard:
            return ""
        if self._raw is None:
            return (
                "the network config was deleted: this node keeps its own, but no new node can join; "
                "overlayctl init brings it back"
            )
        try:
            found = parse_network(self._raw)
        except BadConfig as error:
            return (
                "the network config cannot be used: this node keeps the one it runs with, but no new node can join; "
                f"overlayctl init --force writes another: {error}"
            )
        changes = ", ".join(differences(self._running, found))
        return f"the network config changed ({changes}): {_NEXT}" if changes else ""


def differences(old: Network, new: Network) -> Iterator[str]:
    """What differs, as ``Network 10.5.0.0/16 -> 10.6.0.0/16``."""
    before, after = _facts(old), _facts(new)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    for name in names:
        whole = name.removesuffix("Subnets") + "Network"
        if not name.endswith("Subnets") or whole not in names:  # else it only follows
            yield f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}"


def _facts(network: Network) -> dict[str, object]:
    facts: dict[str, object] = {}
    for pool in network.pools:
        six = "IPv6" if pool.family.bits == 128 else ""
        facts[f"{six}Network"] = pool.network
        facts[f"{six}SubnetLen"] = pool.subnet_len
        facts[f"{six}Subnets"] = f"{pool.first} to {pool.last}"
    backend = network.backend
    return facts | {
        "Backend.Type": backend.kind,
        "Backend.VNI": backend.vni,
        "Backend.Port": backend.port,
        "Backend.MTU": backend.mtu,
        "Backend.DirectRouting": backend.direct_routing,
        "Backend.Learning": backend.learning,
        "Backend.GBP": backend.gbp,
    }
