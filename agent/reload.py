"""SIGHUP: the settings are read again. What can change while the agent runs is taken; what cannot is named.

All or nothing: a file that cannot be read, a value that is refused or certificates that do not fit leave everything
as it was, in one error. Which settings are taken is a table (LIVE) and a pure function (`compared`).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

from agent.config import Config
from overlay.errors import OverlayError

log = logging.getLogger(__name__)

ETCD = frozenset(
    f"etcd_{name}"
    for name in ("endpoints", "cafile", "certfile", "keyfile", "username", "password", "timeout")
)
"""They make a new connection."""
LIVE = ETCD | {"log_level", "metrics_listen", "probe_interval", "resync_interval", "sweep_interval"}
SECRET = frozenset({"etcd_password"})


@dataclass(frozen=True, slots=True)
class Difference:
    """Between the settings in force and those just read: ``now`` is what is in force once ``taken`` are."""

    now: Config
    taken: tuple[str, ...]
    waiting: tuple[str, ...]


def compared(before: Config, read: Config) -> Difference:
    """Which changes can be taken, and which wait for a restart."""
    names = [
        field.name
        for field in fields(Config)
        if getattr(before, field.name) != getattr(read, field.name)
    ]
    taken = tuple(name for name in names if name in LIVE)
    changes: dict[str, Any] = {name: getattr(read, name) for name in taken}
    return Difference(
        replace(before, **changes), taken, tuple(name for name in names if name not in LIVE)
    )


def worded(name: str, config: Config) -> str:
    """A setting as it stands in the file, without secrets."""
    value = getattr(config, name)
    if name in SECRET:
        return f"{name} (not shown)"
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"{name}={value:g}s" if isinstance(value, float) else f"{name}={value}"


class Door(Protocol):
    """The way to etcd, as far as it can be made anew."""

    def redial(self, config: Config) -> str:
        """Connect by these settings and the certificates of now; says what is new about the certificates.

        Raises:
            BadConfig: they cannot be used, and nothing has changed.
        """


Follower = Callable[[Config], None]


class Reload:
    """Used in the main thread. ``read`` reads the settings anew; ``followers`` are told of those in force."""

    def __init__(
        self, config: Config, read: Callable[[], Config], door: Door, followers: Sequence[Follower]
    ) -> None:
        self.config = config
        """In force."""
        self._read, self._door, self._followers = read, door, followers

    def now(self) -> None:
        """Read, compare, take; says what was done in one line."""
        try:
            read = self._read()
            found = compared(self.config, read)
            certificates = self._door.redial(found.now)
        except OverlayError as error:
            hint = f"; next: {error.hint}" if error.hint else ""
            log.error("new settings refused, those of before stay in force: %s%s", error, hint)
            return
        self.config = found.now
        said = [worded(name, found.now) for name in found.taken]
        said += [certificates] if certificates else []
        text = ", ".join(said) or "nothing to take"
        talkative = log.isEnabledFor(logging.INFO)  # by the old level or the new one: it is said
        if talkative:
            log.info("settings read again: %s", text)
        for follow in self._followers:
            follow(found.now)
        if not talkative:
            log.info("settings read again: %s", text)
        for name in found.waiting:
            log.warning(
                "needs a restart of overlay-agent (pods keep running): %s, in force is %s",
                worded(name, read),
                worded(name, self.config),
            )
