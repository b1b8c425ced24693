"""What overlayctl asks etcd itself, so that it works while no agent runs: init, leave."""

import argparse
from contextlib import closing
from typing import Any

from agent import connect
from agent.config import Config
from agent.pages import refuse_with_pods
from overlay import netconfig
from overlay.errors import BadConfig, NotReady
from overlay.family import Family


def init(config: Config, flags: argparse.Namespace) -> tuple[str, bool]:
    """Write P/config unless the same is there; returns its text and whether it was written.

    Raises:
        BadConfig: the values make no network, or another config is there and --force was not given.
    """
    text = netconfig.format_network(
        *_families(flags),
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


def _families(flags: argparse.Namespace) -> tuple[dict[Family, str], dict[Family, int]]:
    """What the command line says per family: network and length of a node's share."""
    networks = {Family.V4: flags.network, Family.V6: flags.ipv6_network}
    lengths = {Family.V4: flags.subnet_len, Family.V6: flags.ipv6_subnet_len}
    if not any(networks.values()):
        raise BadConfig(
            "no network is given",
            hint="overlayctl init --network 10.5.0.0/16, or --ipv6-network fd00:5::/48, or both",
        )
    if astray := [family for family in Family if lengths[family] and not networks[family]]:
        raise BadConfig(
            f"a subnet length for IP{astray[0].name.lower()}, which has no network",
            hint="overlayctl init --help",
        )
    return (
        {family: network for family, network in networks.items() if network},
        {family: length for family, length in lengths.items() if length},
    )


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
                f"no lease of machine {config.machine_id} ({config.node_name}): nothing to give back",
                hint="overlayctl leases; another machine: overlayctl node remove NAME",
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
