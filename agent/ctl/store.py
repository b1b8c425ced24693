"""What overlayctl asks etcd itself, so that it works while no agent runs: init, leave."""

import argparse
from contextlib import closing
from typing import Any

from agent import connect
from agent.config import Config
from agent.pages import refuse_with_pods
from overlay import netconfig
from overlay.errors import BadConfig, NotReady


def init(config: Config, flags: argparse.Namespace) -> tuple[str, bool]:
    """Write P/config unless the same is there; returns its text and whether it was written.

    Raises:
        BadConfig: the values make no network, or another config is there and --force was not given.
    """
    text = netconfig.format_network(
        network=flags.network,
        subnet_len=flags.subnet_len,
        vni=flags.vni,
        port=flags.port,
        kind=flags.backend,
        direct_routing=flags.direct_routing,
    )
    netconfig.parse_network(text.encode())  # refuse here what an agent would refuse
    with closing(connect.registry(config)) as store:
        present = store.raw_network()
        if present is not None and present.decode(errors="replace") == text:
            return text, False
        if present is not None and not flags.force:
            raise BadConfig(
                f"{store.prefix}/config already holds {present.decode(errors='replace')}",
                hint="running nodes keep the old one until restarted; to replace it: overlayctl init --force …",
            )
        store.write_network(text.encode())
    return text, True


def leave(config: Config, *, force: bool) -> dict[str, Any]:
    """Give this machine's subnet back while no agent runs.

    Who answers for it nevertheless is another machine with our machine id: it keeps its subnet.

    Raises:
        NotReady: this machine holds none, pods would lose their network, or another machine holds it.
    """
    if not force:
        refuse_with_pods(config)
    with closing(connect.registry(config)) as store:
        mine = [
            lease
            for lease in store.snapshot().leases.values()
            if lease.machine_id == config.machine_id
        ]
        if not mine:
            raise NotReady(
                f"no lease of machine {config.machine_id} ({config.node_name}): nothing to give back"
            )
        if not force:
            mine = [store.by_hand.surely_dead(lease) for lease in mine]
        for lease in mine:
            store.release(lease)
    keys = ", ".join(lease.key for lease in mine)
    return {
        "left": keys,
        "text": f"gave back {keys} (no agent was running; the kernel was not touched)",
    }
