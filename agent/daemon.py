"""overlay-agent: builds the parts, joins them, and ends them in order.

Start: settings, one agent per run directory, kernel doors, socket (so that CNI gets an answer with the
cause at once), then the node's life with etcd. Stop (SIGTERM, SIGINT): within a second, leaving the
kernel, the lease and the pages as they are, so that traffic flows and the next start changes nothing.
A failure of the reconcile loop, or of another thread that all hangs on, ends the process with code 70 for
systemd to start it anew. SIGHUP has the settings read again (agent.reload).
"""

import faulthandler
import gc
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from agent import arena, connect, drifthistory, logs, mailbox, moment, recalled, report, usage
from agent import config as settings
from agent.config import Config
from agent.control import ASK_TIMEOUT_S, Control
from agent.drift import Drift, suspects
from agent.etcd.idling import sleep_on
from agent.events import Event
from agent.ground import Ground
from agent.hearing import Hearing, patience
from agent.housekeeping import Housekeeping, Rooms
from agent.join import Join
from agent.kernelwatch import KernelWatch
from agent.lastgood import LastGood
from agent.life import Life
from agent.loop import Loop
from agent.memory import Memory
from agent.metrics.meteredkernel import MeteredKernel
from agent.metrics.meters import Meters
from agent.notify import Notifier
from agent.pages import Pages
from agent.promise import Promise
from agent.reconcile import Reconciler
from agent.registry import Claimed, Registry, Seen
from agent.reload import Reload
from agent.roll import Past
from agent.server import Server
from agent.signals import Signals
from agent.sole import Sole
from agent.standing import NodeStanding
from agent.upkeep import Upkeep
from agent.vital import Vital, show_names
from agent.window import Sources, Window
from cni import main as cni
from cni.steps import Steps
from overlay import __version__
from overlay.dataplane import Dataplane
from overlay.desired import Me
from overlay.errors import BadConfig, OverlayError
from overlay.model import Network
from overlay.netlink import Netlink

log = logging.getLogger(__name__)

EXIT_CONFIG, EXIT_FAILED = 64, 70
"""EX_USAGE and EX_SOFTWARE of sysexits.h."""
ROUND_S = 5.0
VITAL = ("life", "watch", "kernelwatch", "footing", "podlinks", "last-good", "in-way")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until a signal; returns the exit code."""
    flags = usage.parser().parse_args(argv)
    faulthandler.enable()  # the watchdog's SIGABRT: where each thread stands goes to the journal
    try:
        config = settings.load(flags, os.environ)
        if flags.check:
            connect.check(config)
            print("overlay-agent: the settings are in order")
            return 0
        logs.configure(config.log_level)
        arena.share()
        sleep_on()
        agent = Agent(config, partial(settings.load, flags, os.environ))
    except OverlayError as error:
        logs.refused(error)
        if not flags.check:
            Notifier().refused(str(error))
        return EXIT_CONFIG if isinstance(error, BadConfig) else EXIT_FAILED
    return agent.run()


class Agent:
    """All parts of one node, joined. Implements agent.life.Sink. ``read`` reads the settings again."""

    def __init__(self, config: Config, read: Callable[[], Config]) -> None:
        self._config = config
        self._sole = Sole(config.marks)
        self._sole.hold(run_dir=config.run_dir, state_dir=config.state_dir, bridge=config.bridge)
        self._notifier = Notifier()
        self._signals = Signals()
        self._vital = Vital(VITAL, self._signals.stop)
        self._pages, self._told_version = Pages(config), -1
        self._promise = Promise(config, self._pages, ready=self._notifier.ready)
        self._dataplane = Dataplane(config.run_dir, marks=config.marks)
        self._meters = Meters()
        registry = self._registry = connect.registry(config, observed=self._meters.etcd)
        self._ground = Ground(config, Netlink())
        memory, ground = Memory(config.state_dir), Ground(config, Netlink())
        self._kept = drifthistory.Keeper(config.state_dir)
        self._loop = self._new_loop()
        header = recalled.header(config.machine_id, config.etcd_prefix, config.etcd_endpoints)
        self._last_good = LastGood(config.state_dir, header, source=self._past, now=moment.now)
        self._life = Life(
            registry,
            self,
            Join(config, memory, ground, registry, self._sole),
            last_good=self._last_good,
            recalled=recalled.read(config.state_dir, header, moment.now()),
            ttl_s=config.lease_ttl,
        )
        self._upkeep = Upkeep(
            config, self._loop, self._ground, history=self._kept.history, moved=self._life.look
        )
        self._watch = KernelWatch(
            self._loop, self._dataplane, self._upkeep, beside=lambda: self._server.look()
        )
        self._standing = NodeStanding(time.monotonic)
        self._house = Housekeeping(
            config,
            Rooms(self._life, self._upkeep, self._pages, self._promise, self._last_good),
            keep_pages=lambda: self._loop.ask(self._keep_pages, timeout_s=ASK_TIMEOUT_S),
            unreachable=lambda: self._server.trouble,
        )
        self._control = Control(
            config,
            life=self._life,
            loop=self._loop,
            pages=self._pages,
            standing=self._standing,
            underlay=lambda: self._ground.chosen,
            upkeep=self._upkeep,
            house=self._house,
        )
        sources = Sources(self._life, self._loop, self._upkeep, self._control, self._house, VITAL)
        self._window = Window(config, self._meters, sources)
        mailbox.attend(
            registry,
            config,
            answer=self._control.answer_from_afar,
            holds=lambda: self._life.claimed is not None,
        )
        self._server = self._new_server()
        self._hearing = Hearing(time.monotonic, patience_s=patience(config))
        self._reload = self._new_reload(read, registry)

    def _new_reload(self, read: Callable[[], Config], registry: Registry) -> Reload:
        followers = (self._pages, self._last_good, self._upkeep, self._house, self._control)
        return Reload(
            self._config,
            read,
            connect.Dialled(self._config, registry),
            [self._follow, self._window.follow, *(part.follow for part in followers)],
        )

    def _new_loop(self) -> Loop:
        reconciler = Reconciler(
            MeteredKernel(self._dataplane, self._meters),
            clock=time.monotonic,
            resync_s=self._config.resync_interval,
            ttl_s=self._config.lease_ttl,
            drift=Drift(self._kept.history, running=suspects),
        )
        round_s = min(ROUND_S, self._notifier.watchdog_s / 3 or ROUND_S)
        loop = Loop(reconciler, round_s=round_s, after_round=self._after_round)
        loop.failed = self._signals.stop
        return loop

    def _new_server(self) -> Server:
        return Server(
            self._config.run_dir / "cni.sock",
            cni=self._serve_cni,
            ctl=self._control.answer,
            late=cni.too_late,
            told=self._window.cni_answered,
        )

    def run(self) -> int:
        """Until a signal asks to stop, or the loop fails."""
        self._signals.hear()
        threading.excepthook = self._vital.ended
        log.info(
            "overlay-agent %s starts node=%s etcd=%s prefix=%s",
            __version__,
            self._config.node_name,
            ",".join(self._config.etcd_endpoints),
            self._config.etcd_prefix,
        )
        gc.freeze()  # what was imported stays; to look through it again and again costs an ADD its p99
        parts = (self._loop, self._last_good, self._watch, self._upkeep, self._life, self._house)
        for part in (*parts, self._window):
            part.start()
        show_names()
        while self._signals.reload():
            self._notifier.reloading()
            self._reload.now()
            self._notifier.reloaded()
        self._notifier.stopping()
        self._server.close()
        for part in reversed((*parts, self._window)):
            part.stop()
        self._kept.stop()
        self._loop.join(0.5)
        if self._vital.lost or self._loop.failure is not None:
            return EXIT_FAILED
        log.info("stopped; traffic, lease and pods stay as they are")
        return 0

    def _follow(self, config: Config) -> None:
        """Called in the main thread, before all others are told."""
        logs.set_level(config.log_level)
        self._loop.post(lambda reconciler: setattr(reconciler, "resync_s", config.resync_interval))
        self._life.look()

    # --- agent.life.Sink ---------------------------------------------------------------------------

    def held(self, network: Network, me: Me, claimed: Claimed) -> None:
        """Called in the life's thread."""
        log.info(
            "subnet %s mtu=%d devices=%s",
            claimed.lease.key,
            me.pod_mtu,
            ",".join(v.link or f"none, routes by {v.underlay}" for v in me.vteps),
        )
        self._loop.post(lambda reconciler: reconciler.set_node(network, me))
        self._upkeep.held()

    def lost(self, why: str) -> None:
        """Called in the life's thread: pods run on, the runtime starts no new ones here."""
        self._notifier.status(f"not accepting pods: {why}")
        remove = self._config.conflist_when_unready == "remove"
        self._loop.post(lambda _: self._pages.withdraw(conflist=remove))

    def remember(self, past: Past) -> None:
        """Called in either thread, before the first real list."""
        self._loop.post(lambda reconciler: reconciler.remember(past))

    def event(self, event: Event) -> None:
        """Called in the watch's thread."""
        self._loop.post(lambda reconciler: reconciler.on_event(event))

    # --- the reconcile loop's thread -----------------------------------------------------------------

    def _after_round(self, reconciler: Reconciler) -> None:
        self._promise.keep(reconciler, self._life)
        if reconciler.demand.roll.version != self._told_version:
            self._told_version = reconciler.demand.roll.version
            self._last_good.changed()
        self._upkeep.turned(reconciler)
        self._house.turned(reconciler)
        self._standing.turned(in_sync=reconciler.serving, trouble=reconciler.first_trouble())
        life = self._life
        if self._hearing.deaf(life.heard_s_ago, etcd_answers=life.health.fine):
            self._vital.give_up("watch", f"has heard nothing for {life.heard_s_ago:.0f} s")
        self._notifier.watchdog()
        self._notifier.status(
            self._promise.trouble or report.sentence(life, reconciler, self._house.ailments.summary)
        )

    def _past(self) -> tuple[Past, Seen] | None:
        """Called in the last-good copy's thread."""
        seen = self._registry.seen

        def copied(reconciler: Reconciler) -> tuple[Past, Seen] | None:
            roll = reconciler.demand.roll
            return (roll.past(), seen) if roll.complete and seen is not None else None

        return self._loop.ask(copied, timeout_s=ASK_TIMEOUT_S)

    # --- the socket's threads ------------------------------------------------------------------------

    def _keep_pages(self, reconciler: Reconciler) -> str:
        """In the loop's thread: only a node that is ready has pages."""
        ready = reconciler.serving and not self._life.refusal
        return self._pages.keep() if ready else ""

    def _serve_cni(
        self, environ: Mapping[str, str], stdin: bytes, steps: Steps
    ) -> tuple[int, bytes]:
        return cni.run(
            environ,
            stdin,
            self._config.run_dir,
            standing=self._control.standing(),
            steps=steps,
            alone=False,
        )


if __name__ == "__main__":
    sys.exit(main())
