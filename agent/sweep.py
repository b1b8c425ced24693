"""Looking after the attachments: what dead pods left is taken away, what others bent is put right.

One thread, every sweep interval. Nothing is taken away that was not found gone in two sweeps in a row, each
time with proof (`cni.pods`), never by age. A living pod whose record was lost is written down at first sight,
before its address can be given to another. What others bent is `agent.podlinks`' at once, and looked for here
in case it was missed; what cannot be put right from outside of the pod is counted and said once.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from agent import adoption
from agent.config import Config
from agent.pages import rivals
from agent.podlinks import PodLinks
from cni import collect, lock, strays, unfinished
from cni.adopted import TakeIn
from cni.collect import Leftover
from cni.ipam import Ipam
from cni.steps import Steps
from cni.strays import Stray
from cni.unfinished import Unfinished
from overlay.errors import NotReady, OverlayError
from overlay.model import Address
from overlay.nodefile import NodePage, read_page

log = logging.getLogger(__name__)

SOON_S = 2.0
"""After the start; then every sweep interval."""


class Sweep:
    """Counters and the present faults are read by the socket's threads."""

    def __init__(
        self, config: Config, keep_pages: Callable[[], str], links: PodLinks | None = None
    ) -> None:
        self.collected = self.taken_in = self._pages_mended = 0
        self._links = links or PodLinks(config.run_dir, config.bridge)
        self.rivals: list[str] = []
        self.beside: list[str] = []
        self._prefix, self._host_local = config.etcd_prefix, config.host_local_dir
        self._run_dir: Path = config.run_dir
        self._conf_dir: Path = config.cni_conf_dir
        self._conflist = config.marks.conflist
        self._interval_s = config.sweep_interval
        self._keep_pages = keep_pages
        self._before: set[Leftover | Stray | Unfinished] = set()
        self._stop = threading.Event()
        self.failure = ""
        """Why the last sweep was not made; empty if it was."""
        self._ended_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="sweep", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def follow(self, config: Config) -> None:
        """Other settings; from the next pause on."""
        self._interval_s = config.sweep_interval

    def stop(self) -> None:
        """End after the present sweep."""
        self._stop.set()

    @property
    def swept_s_ago(self) -> float:
        """Seconds since the last sweep ended, well or not."""
        return time.monotonic() - self._ended_at

    @property
    def mended(self) -> int:
        """How often something was put right after others."""
        return self._pages_mended + self._links.mended

    @property
    def faults(self) -> Mapping[str, tuple[str, ...]]:
        """What is wrong with pods, by their place."""
        return self._links.faults

    def report(self) -> Mapping[str, Any]:
        """For overlayctl."""
        return {
            "collected": self.collected,
            "mended": self.mended,
            "taken_in": self.taken_in,
            "faults": {place: list(found) for place, found in sorted(self.faults.items())},
            "rivals": list(self.rivals),
            "beside": list(self.beside),
        }

    def once(self) -> None:
        """One sweep."""
        try:
            page = read_page(self._run_dir)
        except NotReady:
            page = None  # no lease: the pods of before are still looked after
        self._watch_conf_dir()
        found: set[Leftover | Stray | Unfinished] = {
            *collect.survey(self._run_dir),
            *unfinished.survey(self._run_dir),
        }
        if page is not None:
            found |= set(strays.survey(self._run_dir, page.bridge))
            self._take_in(page)
        for item in found:
            if item in self._before or _lives(item):
                self._settle(item, page)
        self._before = found
        if page is not None:
            self._hold_again(page, {item.place for item in found if isinstance(item, Leftover)})
        self._links.tend_all(_gateways(page))

    def _run(self) -> None:
        pause = min(SOON_S, self._interval_s)  # the journals may have been lost with the agent
        while not self._stop.wait(pause):
            pause = self._interval_s * random.uniform(0.8, 1.2)
            try:
                self.once()
                self.failure = ""
            except (OverlayError, OSError) as error:
                self._failed(str(error))
            except (
                Exception
            ) as error:  # a thread that ended here would be missed by nobody for weeks
                log.exception("attachments could not be looked after, trying again")
                self.failure = f"{type(error).__name__}: {error}"
            self._ended_at = time.monotonic()

    def _failed(self, why: str) -> None:
        if why != self.failure:
            log.warning("attachments could not be looked after, trying again: %s", why)
        self.failure = why

    def keep_pages(self) -> str:
        """Write again what of the pages others changed or took away, and say which; by any thread."""
        if lost := self._keep_pages():
            self._pages_mended += 1
            log.warning("somebody changed or took away %s, written again", lost)
        return lost

    def _watch_conf_dir(self) -> None:
        self.keep_pages()
        now = rivals(self._conf_dir, self._conflist)
        for sentence in now:
            if sentence not in self.rivals:
                log.warning("%s", sentence)
        self.rivals = now
        now = adoption.beside(self._prefix)
        for sentence in now:
            if sentence not in self.beside:
                log.warning("%s; next: %s", sentence, adoption.HINT)
        self.beside = now

    def _take_in(self, page: NodePage) -> None:
        """Another plugin may go on attaching pods to our bridge until its conflist is gone."""
        taken = TakeIn(self._run_dir, page.bridge, page.families, self._host_local)
        if got := taken.run(doubtful=False).addresses:
            self.taken_in += len(got)
            log.warning("another plugin attached pods to %s, held: %s", page.bridge, ", ".join(got))
        for sentence in taken.said:
            log.warning("%s", sentence)

    def _hold_again(self, page: NodePage, gone: Collection[str]) -> None:
        """Living pods whose allocations were lost keep their addresses to themselves."""
        ipam = Ipam(self._run_dir)
        held = ipam.held()
        for place in ipam.places():
            record = None if place in gone else collect.record_of(ipam, place)
            if record is None or not strays.unheld(record, held):
                continue
            try:
                taken = strays.hold_again(self._run_dir, place, page.families)
            except OverlayError as error:
                log.warning("%s, and used by %s; %s", error, place, error.hint)
                continue
            if taken:
                self.taken_in += 1
                texts = ", ".join(map(str, taken))
                log.warning("the allocation of %s to %s was lost, made again", texts, place)

    # --- what is left over --------------------------------------------------------------------------

    def _settle(self, item: Leftover | Stray | Unfinished, page: NodePage | None) -> None:
        try:
            if isinstance(item, Stray):
                self._settle_stray(item, page)
            elif isinstance(item, Unfinished):
                unfinished.remove(item)
                log.info("taken away: %s", item)
            elif collect.take_away(self._run_dir, item, Steps()):
                self.collected += 1
                log.warning("taken away: %s", item)
        except (OverlayError, OSError) as error:
            log.warning(
                "%s could not be taken away, trying again: %s; look: overlayctl gc --dry-run",
                item,
                error,
            )

    def _settle_stray(self, item: Stray, page: NodePage | None) -> None:
        with lock.tried(self._run_dir, item.place) as free:
            if not free or page is None:
                return
            if not item.netns:
                strays.remove(item)
                self.collected += 1
                log.warning(
                    "taken away: host end %s of %s, whose pod is gone", item.link, item.place
                )
            elif item.owner is not None:
                got = strays.take_in(
                    self._run_dir, item, page.families, bridge=page.bridge, fits=page.mtu
                )
                self.taken_in += 1
                log.warning("the record of %s was lost, written again with %s", item.place, got)


def _lives(item: object) -> bool:
    return isinstance(item, Stray) and bool(item.netns)


def _gateways(page: NodePage | None) -> tuple[Address, ...]:
    return tuple(family.gateway.ip for family in page.families) if page else ()
