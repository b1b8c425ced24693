"""What of this node is looked after beside kernel and etcd: attachments (`agent.sweep`), the history of addresses
(`agent.chronicle`), files and disks (`agent.outlook`); and all that is wrong, put together (`agent.ailments`).
Joined here for the daemon."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.ailments import Ailments
from agent.chronicle import Chronicle
from agent.config import Config
from agent.lastgood import LastGood
from agent.life import Life
from agent.outlook import Outlook
from agent.pages import Pages
from agent.promise import Promise
from agent.reconcile import Reconciler
from agent.sweep import Sweep
from agent.upkeep import Upkeep


@dataclass(frozen=True, slots=True)
class Rooms:
    """Whose troubles are told with the others'."""

    life: Life
    upkeep: Upkeep
    pages: Pages
    promise: Promise
    last_good: LastGood


class Housekeeping:
    """``keep_pages`` is the sweep's; ``unreachable`` says why nobody finds our socket."""

    def __init__(
        self,
        config: Config,
        rooms: Rooms,
        *,
        keep_pages: Callable[[], str],
        unreachable: Callable[[], str],
    ) -> None:
        self.sweep = Sweep(config, keep_pages, rooms.upkeep.links)
        self.chronicle = Chronicle(config.run_dir, config.state_dir)
        self._outlook = Outlook(
            config,
            promised=lambda: rooms.pages.published,
            mend=self.sweep.keep_pages,
            swept_s_ago=lambda: self.sweep.swept_s_ago,
            said={
                "new pods": lambda: rooms.promise.trouble,
                "last-good copy": lambda: rooms.last_good.trouble,
                "attachments": lambda: self.sweep.failure,
                "history": lambda: self.chronicle.trouble,
                "socket": unreachable,
            },
        )
        self.ailments = Ailments(
            config,
            rooms.life,
            pods=self.sweep.report,
            complainers=(rooms.upkeep, self._outlook),
        )
        self._parts = (self.sweep, self.chronicle, self._outlook)

    @property
    def barred(self) -> str:
        """Why no pod can start here although the network is ready."""
        return self._outlook.barred

    def start(self) -> None:
        """Begin; returns at once."""
        for part in self._parts:
            part.start()

    def stop(self) -> None:
        """End the threads."""
        for part in reversed(self._parts):
            part.stop()

    def follow(self, config: Config) -> None:
        """Other settings."""
        self.sweep.follow(config)
        self._outlook.follow(config)

    def turned(self, reconciler: Reconciler) -> None:
        """In the loop's thread after each round."""
        self.ailments.turned(reconciler)
