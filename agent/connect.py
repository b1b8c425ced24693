"""From the settings to a registry: the agent's and overlayctl's way to etcd is one."""

from agent.config import Config
from agent.etcd import Credentials, Etcd
from agent.etcd.client import Observed
from agent.registry import Registry
from agent.reload import ETCD


def registry(config: Config, *, observed: Observed | None = None) -> Registry:
    """A registry of its own client; close it after use. Nothing is sent yet. ``observed`` is told of each call."""
    client = store(config)
    if observed is not None:
        client.observed = observed
    return Registry(client, config.etcd_prefix)


def store(config: Config) -> Etcd:
    """The client alone."""
    return Etcd(
        config.etcd_endpoints,
        credentials=credentials(config),
        timeout_s=config.etcd_timeout,
        scope=config.etcd_prefix,
    )


def check(config: Config) -> None:
    """Can these settings lead to an etcd at all? Nothing is sent.

    Raises:
        BadConfig: they contradict each other, or a certificate cannot be read or used.
    """
    made = store(config)
    try:
        made.certificates()
    finally:
        made.close()


class Dialled:
    """An agent.reload.Door: a registry, and the settings it was connected by."""

    def __init__(self, config: Config, made: Registry) -> None:
        self._config, self._registry = config, made

    def redial(self, config: Config) -> str:
        """See the protocol; where nothing of it has changed, the connections stay."""
        if any(getattr(config, name) != getattr(self._config, name) for name in ETCD):
            self._registry.redial(
                config.etcd_endpoints, credentials(config), timeout_s=config.etcd_timeout
            )
            self._config = config
            return ""
        if not self._registry.certificates():
            return ""
        self._registry.reconnect()
        return "new certificates"


def credentials(config: Config) -> Credentials:
    """Who we are to etcd, and whom we believe."""
    return Credentials(
        cafile=config.etcd_cafile,
        certfile=config.etcd_certfile,
        keyfile=config.etcd_keyfile,
        username=config.etcd_username,
        password=config.etcd_password,
    )
