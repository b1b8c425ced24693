"""Does the CNI configuration agree with the agent's? What only an agent can do is never quietly dropped. Pure."""

from collections.abc import Mapping
from pathlib import Path

from cni.netconf import Config
from overlay.errors import BadConfig
from overlay.model import Family
from overlay.nodefile import NodePage

LEAST_MTU = {Family.V4: 68, Family.V6: 1280}
"""RFC 791 and RFC 8200: below it the kernel switches the family off on that link."""


def check(config: Config, page: NodePage, run_dir: Path) -> None:
    """The bridge, masquerading, etcd and the run directory are the agent's; a pod cannot have others.

    Raises:
        BadConfig: a key, its value and the agent's.
    """
    stated: Mapping[str, tuple[object, object]] = {
        "bridge": (config.bridge, page.bridge),
        "ipMasq": (config.ip_masq, page.ip_masq),
        "runDir": (config.run_dir and Path(config.run_dir), run_dir),
        **{key: (value, page.agent_wide.get(key, "")) for key, value in config.agent_wide.items()},
    }
    for key, (ours, agents) in stated.items():
        if ours is not None and _folded(key, ours) != _folded(key, agents):
            raise BadConfig(
                f"{key} is {ours} in the CNI configuration and {agents or 'not set'} in the agent's",
                hint=f"leave {key} out of the conflist, or change /etc/overlay/agent.toml",
            )


def mtu(config: Config, page: NodePage) -> int:
    """The pod's MTU: the configuration may ask for less than the node offers, never for more.

    Raises:
        BadConfig: it does not fit; both numbers are named.
    """
    asked = config.mtu
    if asked is None:
        return page.mtu
    if asked > page.mtu:
        raise BadConfig(
            f"mtu {asked} does not fit: {page.mtu} is what the encapsulation leaves on this node",
            hint=f"set mtu to {page.mtu} or less, or leave it out",
        )
    least = max(LEAST_MTU[item.family] for item in page.families)
    if asked < least:
        raise BadConfig(f"mtu {asked} is too small: the node's address families need {least}")
    return asked


def _folded(key: str, value: object) -> object:
    """Endpoints are a set, however they are ordered and spaced."""
    if key != "etcd_endpoints" or not isinstance(value, str):
        return value
    return frozenset(item.strip().rstrip("/") for item in value.split(",") if item.strip())
