"""What of the agent is shown over HTTP: /metrics, /healthz, /readyz. Joined here for the daemon.

Nobody who asks can hold up the reconcile loop: it is asked one question at a time, and not waited for long.
"""

import platform
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent import health, logs, report
from agent.config import Config
from agent.control import Control
from agent.health import Pulse
from agent.housekeeping import Housekeeping
from agent.http import Door, Path
from agent.httptext import Reply
from agent.life import Life
from agent.loop import Loop
from agent.metrics import facts, samples
from agent.metrics.latest import Latest
from agent.metrics.meters import Meters
from agent.metrics.page import Page
from agent.metrics.samples import Row, View
from agent.pages import attachments
from agent.reconcile import Reconciler
from agent.upkeep import Upkeep
from cni.ipam import Ipam
from cni.steps import Steps
from overlay import __version__
from overlay.errors import NotReady
from overlay.nodefile import NodeFamily, read_page

WAIT_S = 0.4
"""So long a scrape waits for the reconcile loop; then what it said last has to do."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Whom to ask. ``vital`` are the threads that must live while the agent runs."""

    life: Life
    loop: Loop
    upkeep: Upkeep
    control: Control
    house: Housekeeping
    vital: Sequence[str]


class Window:
    """Made before the threads start; nothing listens where ``metrics_listen`` is empty."""

    def __init__(self, config: Config, meters: Meters, sources: Sources) -> None:
        self._config, self._meters, self._from = config, meters, sources
        self._latest = Latest(sources.loop.post, self._gather)
        self._page = Page(self._rows, meters)
        self._door: Door | None = None
        sources.loop.told = meters.rounds.add
        sources.upkeep.more_notices = self.notices

    def start(self) -> None:
        """Begin; returns at once."""
        if self._config.metrics_listen is not None:
            paths = {
                "/metrics": Path(self._metrics, slow=True),
                "/healthz": Path(self._healthz),
                "/readyz": Path(self._readyz),
            }
            self._door = Door(self._config.metrics_listen, paths, told=self._told)
            self._door.start()

    def follow(self, config: Config) -> None:
        """Other settings: perhaps another address, or none."""
        if config.metrics_listen != self._config.metrics_listen:
            self.stop()
            self._config = config
            self.start()
        self._config = config

    def stop(self) -> None:
        """End."""
        door, self._door = self._door, None
        if door is not None:
            door.stop()

    def cni_answered(
        self, environ: Mapping[str, str], steps: Steps, code: int, stdout: bytes
    ) -> None:
        """A CNI request was answered: it is counted, kept in the history, and logged."""
        self._meters.cni(environ, steps, code, stdout)
        self._from.house.chronicle.tell(steps.line)
        logs.cni_answered(environ, steps, code, stdout)

    def notices(self) -> Sequence[str]:
        """For the status: why nothing is shown, if so."""
        door = self._door
        if door is not None and door.has_ended:
            return [
                "metrics and health are not served any more, their thread ended; next: systemctl restart overlay-agent"
            ]
        return [door.notice] if door is not None and door.notice else []

    # --- the three pages, in the door's threads --------------------------------------------------

    def _metrics(self) -> Reply:
        text, kind = self._page.text()
        return Reply(200, text, kind)

    def _healthz(self) -> Reply:
        return _verdict(self._ailing())

    def _readyz(self) -> Reply:
        return _verdict(self._unready())

    def _told(self, path: str, code: int) -> None:
        if path:
            self._meters.http.add(path, str(code))
        else:
            self._meters.turned_away.add()

    # --- what they are made of -------------------------------------------------------------------

    def _ailing(self) -> str:
        loop = self._from.loop
        failed = "" if loop.failure is None else repr(loop.failure)
        return health.ailing(Pulse(self._silent_s(), failed, self._lost()))

    def _unready(self) -> str:
        families = self._families()
        ipam = Ipam(self._config.run_dir)
        return health.unready(
            self._from.control.standing(),
            paged=bool(families),
            full=[str(it.subnet) for it in families if not ipam.free(it)],
            ailing=self._ailing(),
            barred=self._from.house.barred,
        )

    def _silent_s(self) -> float:
        return time.monotonic() - self._from.loop.turned_at

    def _lost(self) -> set[str]:
        ended = {"life"} if self._from.life.left else set()  # its work is done
        running = {thread.name for thread in threading.enumerate()}
        return set(self._from.vital) - running - ended

    def _families(self) -> Sequence[NodeFamily]:
        try:
            return read_page(self._config.run_dir).families
        except NotReady:
            return ()

    def _gather(self, reconciler: Reconciler) -> facts.Facts:
        return facts.gather(
            reconciler, report.verdict(self._from.life, reconciler, self._from.house.ailments)
        )

    def _rows(self) -> Iterator[Row]:
        found, age = self._latest.get(wait_s=WAIT_S)
        return samples.samples(self._view(found, age))

    def _view(self, found: facts.Facts | None, age_s: float) -> View:
        life, config = self._from.life, self._config
        claimed, ipam = life.claimed, Ipam(config.run_dir)
        return View(
            node=config.node_name,
            instance=config.instance,
            version=__version__,
            python=platform.python_version(),
            facts=found,
            facts_age_s=age_s,
            silent_s=self._silent_s(),
            ailing=bool(self._ailing()),
            ready=not self._unready(),
            lease=samples.Lease(claimed.lease.key, life.keeper.ttl_s, life.tenure.age_s)
            if claimed
            else None,
            etcd_connected=life.health.fine,
            outages=life.health.outages,
            store_trouble=bool(life.keeper.store.trouble),
            watch_silent_s=life.heard_s_ago,
            watch_revision=life.store_revision,
            etcd_revision=self._meters.etcd_revision,
            pods=self._from.house.sweep.report(),
            attachments=attachments(config),
            addresses={
                f"ipv{it.subnet.version}": (ipam.count(it), ipam.free(it))
                for it in self._families()
            },
            probes=self._from.upkeep.probes.report(),
        )


def _verdict(why: str) -> Reply:
    return Reply(503, f"{why}\n".encode()) if why else Reply(200, b"ok\n")
