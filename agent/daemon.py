"""overlay-agent: builds the parts, joins them, and ends them in order.

Start: settings, one agent per run directory, kernel doors, socket (so that CNI gets an answer with the
cause at once), then the node's life with etcd. Stop (SIGTERM, SIGINT): within a second, leaving the
kernel, the lease and the pages as they are, so that traffic flows and the next start changes nothing.
A failure of the reconcile loop itself ends the process with code 70 for systemd to start it anew.
"""

import argparse
import dataclasses
import fcntl
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from agent import config as settings
from agent import connect, logs, report
from agent.config import Config
from agent.events import Event
from agent.join import Join
from agent.kernelwatch import KernelWatch
from agent.life import Life
from agent.loop import Loop
from agent.memory import Memory
from agent.notify import Notifier
from agent.pages import Pages, attachments, rivals
from agent.reconcile import Reconciler
from agent.registry import Claimed
from agent.server import Server
from agent.standing import NodeStanding
from agent.sweep import Sweep
from cni import main as cni
from cni.standing import Standing
from cni.steps import Steps
from overlay import __version__, nodefile
from overlay.dataplane import Dataplane
from overlay.desired import Me
from overlay.errors import BadConfig, NotReady, OverlayError
from overlay.model import Network
from overlay.netlink import Netlink

log = logging.getLogger(__name__)

EXIT_CONFIG, EXIT_FAILED = 64, 70
"""EX_USAGE and EX_SOFTWARE of sysexits.h."""
ROUND_S = 5.0
ASK_TIMEOUT_S = 10.0

_EPILOG = """\
The agent leases a pod subnet from etcd, keeps one VXLAN device and, per peer, a route, a neighbour and
an FDB entry, and serves the CNI plugin on <run-dir>/cni.sock. Stopping it leaves all traffic flowing.

files:
  /etc/overlay/agent.toml      the settings above as KEY = value (TOML)
  <run-dir>/subnet.env         subnet and MTU in flannel's format, written once the node is ready
  <state-dir>/state.json       the VTEP's MAC and the last subnet, so that a reboot keeps both
signals:
  TERM, INT                    stop within a second; kernel, lease and pods stay as they are
see also: overlayctl status, overlayctl plan, etcdctl get --prefix /coreos.com/network/subnets
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until a signal; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="overlay-agent",
        description="The node agent of the overlay network.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"overlay-agent {__version__}")
    settings.add_arguments(parser)
    try:
        config = settings.load(parser.parse_args(argv), os.environ)
        logs.configure(config.log_level)
        agent = Agent(config)
    except OverlayError as error:
        print(f"overlay-agent: {error}", file=sys.stderr)
        if error.hint:
            print(f"  next: {error.hint}", file=sys.stderr)
        return EXIT_CONFIG if isinstance(error, BadConfig) else EXIT_FAILED
    return agent.run()


class Agent:
    """All parts of one node, joined. Implements agent.life.Sink."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._lock = _only_one(config.run_dir)
        self._notifier = Notifier()
        self._stop = threading.Event()
        self._ready = False
        self._pages = Pages(config)
        self._netlink = Netlink()
        self._dataplane = Dataplane(config.run_dir)
        self._join = Join(config, Memory(config.state_dir), self._netlink)
        self._loop = Loop(
            Reconciler(self._dataplane, clock=time.monotonic, resync_s=config.resync_interval),
            round_s=min(ROUND_S, self._notifier.watchdog_s / 3 or ROUND_S),
            after_round=self._after_round,
        )
        registry = connect.registry(config)
        self._life = Life(registry, self, lambda network: self._join(registry, network))
        self._watch = KernelWatch(self._loop, self._dataplane)
        self._standing = NodeStanding(time.monotonic)
        self._sweep = Sweep(
            config, lambda: self._loop.ask(self._keep_pages, timeout_s=ASK_TIMEOUT_S)
        )
        self._server = Server(
            config.run_dir / "cni.sock",
            cni=self._serve_cni,
            ctl=self._serve_ctl,
            late=cni.too_late,
            told=self._log_cni,
        )

    def run(self) -> int:
        """Until a signal asks to stop, or the loop fails."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        log.info(
            "overlay-agent %s starts node=%s etcd=%s prefix=%s",
            __version__,
            self._config.node_name,
            ",".join(self._config.etcd_endpoints),
            self._config.etcd_prefix,
        )
        gc.freeze()  # what was imported stays; to look through it again and again costs an ADD its p99
        self._loop.start()
        self._watch.start()
        self._life.start()
        self._sweep.start()
        while not self._stop.wait(0.5) and self._loop.failure is None:
            pass
        self._notifier.stopping()
        self._server.close()
        self._sweep.stop()
        self._watch.stop()
        self._life.stop()
        self._loop.stop()
        self._loop.join(0.5)
        if self._loop.failure is not None:
            return EXIT_FAILED
        log.info("stopped; traffic, lease and pods stay as they are")
        return 0

    # --- agent.life.Sink ---------------------------------------------------------------------------

    def held(self, network: Network, me: Me, claimed: Claimed) -> None:
        """Called in the life's thread."""
        log.info(
            "subnet %s mtu=%d devices=%s",
            claimed.lease.key,
            me.pod_mtu,
            ",".join(v.link for v in me.vteps),
        )
        self._loop.post(lambda reconciler: reconciler.set_node(network, me))

    def lost(self, why: str) -> None:
        """Called in the life's thread: pods run on, the runtime starts no new ones here."""
        self._notifier.status(f"not accepting pods: {why}")
        remove = self._config.conflist_when_unready == "remove"
        self._loop.post(lambda _: self._pages.withdraw(conflist=remove))

    def event(self, event: Event) -> None:
        """Called in the watch's thread."""
        self._loop.post(lambda reconciler: reconciler.on_event(event))

    # --- the reconcile loop's thread -----------------------------------------------------------------

    def _after_round(self, reconciler: Reconciler) -> None:
        if reconciler.in_sync and self._life.claimed is not None:
            self._publish(reconciler)
        self._standing.turned(in_sync=reconciler.in_sync, trouble=reconciler.trouble())
        self._notifier.watchdog()
        self._notifier.status(report.sentence(self._life, reconciler))

    def _publish(self, reconciler: Reconciler) -> None:
        if reconciler.network is None or reconciler.me is None:
            return
        try:
            if self._pages.publish(reconciler.network, reconciler.me):
                pools = reconciler.network.pools
                for sentence in rivals(self._config.cni_conf_dir):
                    log.warning("%s", sentence)
                for obstacle in self._dataplane.obstacles([pool.network for pool in pools]):
                    log.warning("in the way, and not ours: %s", obstacle)
        except (OSError, OverlayError) as error:
            log.error("not ready yet, trying again: %s", error)
            return
        if not self._ready:
            self._ready = True
            self._notifier.ready()

    # --- the socket's threads ------------------------------------------------------------------------

    def _keep_pages(self, reconciler: Reconciler) -> str:
        """In the loop's thread: only a node that is ready has pages."""
        ready = reconciler.in_sync and self._life.claimed is not None
        return self._pages.keep() if ready else ""

    def _serve_cni(
        self, environ: Mapping[str, str], stdin: bytes, steps: Steps
    ) -> tuple[int, bytes]:
        return cni.run(
            environ,
            stdin,
            self._config.run_dir,
            standing=self._standing_now(),
            steps=steps,
            alone=False,
        )

    @staticmethod
    def _log_cni(environ: Mapping[str, str], steps: Steps, code: int, stdout: bytes) -> None:
        verb = environ.get("CNI_COMMAND", "")[:8]
        verb = verb if verb.isalpha() else repr(verb)  # one line, whatever it holds
        if code > 0:
            log.warning("%s refused %s %s", verb, steps.sentence(), stdout.decode().strip())
        elif verb in ("ADD", "DEL", "GC"):
            log.info("%s %s", verb, steps.sentence())
        else:
            log.debug("%s %s", verb, steps.sentence())

    def _standing_now(self) -> Standing:
        missing = self._life.cause or "no lease is held"
        return self._standing.now(lease_missing=missing if self._life.claimed is None else "")

    def _serve_ctl(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        match question.get("verb"):
            case "status":
                return self._ask(
                    lambda loop: report.status(
                        self._config, self._life, loop, self._join.chosen, self._sweep.report()
                    )
                )
            case "peers":
                return self._ask(report.peers)
            case "plan":
                return self._ask(report.plan)
            case "standing":
                return dataclasses.asdict(self._standing_now())
            case "etcd":
                return report.store(self._life)
            case "leave":
                return self._leave(force=bool(question.get("force")))
            case other:
                raise BadConfig(f"unknown verb {other!r}")

    def _ask(self, question: Any) -> Mapping[str, Any]:  # noqa: ANN401 - Callable[[Reconciler], dict]
        return dict(self._loop.ask(question, timeout_s=ASK_TIMEOUT_S))

    def _leave(self, *, force: bool) -> Mapping[str, Any]:
        attached = attachments(self._config)
        if attached and not force:
            raise NotReady(
                f"{attached} pods are attached to this node, they would lose their network",
                hint="drain the node first, or: overlayctl leave --force",
            )
        nodefile.remove_conflist(
            self._config.cni_conf_dir
        )  # no new pod between here and the release
        key = self._life.leave()
        self._loop.post(lambda _: self._pages.withdraw(conflist=True))
        return {
            "left": key,
            "text": f"gave back {key}; peers drop this node now. To join again: restart overlay-agent",
        }


def _only_one(run_dir: Path) -> IO[str]:
    """Hold ``<run-dir>/agent.lock`` while we live: two agents on one kernel would fight.

    Raises:
        BadConfig: another agent holds it.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
        lock = (run_dir / "agent.lock").open("a+")
    except OSError as error:
        raise BadConfig(f"run_dir = {str(run_dir)!r}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise BadConfig(
            f"another overlay-agent already runs with run_dir = {str(run_dir)!r}"
        ) from error
    return lock


if __name__ == "__main__":
    sys.exit(main())
