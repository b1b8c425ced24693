"""From the settings to a registry: the agent's and overlayctl's way to etcd is one."""

from agent.config import Config
from agent.etcd import Credentials, Etcd
from agent.etcd.client import Observed
from agent.registry import Registry


def registry(config: Config, *, observed: Observed | None = None) -> Registry:
    """A registry of its own client; close it after use. Nothing is sent yet. ``observed`` is told of each call."""
    client = store(config)
    if observed is not None:
        client.observed = observed
    return Registry(client, config.etcd_prefix)


def store(config: Config) -> Etcd:
    """The client alone."""
    credentials = Credentials(
        cafile=config.etcd_cafile,
        certfile=config.etcd_certfile,
        keyfile=config.etcd_keyfile,
        username=config.etcd_username,
        password=config.etcd_password,
    )
    return Etcd(
        config.etcd_endpoints,
        credentials=credentials,
        timeout_s=config.etcd_timeout,
        scope=config.etcd_prefix,
    )
