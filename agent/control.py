"""What the agent answers to overlayctl: one verb, one dictionary."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from agent import report
from agent.config import Config
from agent.housekeeping import Housekeeping
from agent.life import Life
from agent.loop import Loop
from agent.pages import Pages, refuse_with_pods
from agent.probes.answer import answer, asked
from agent.reconcile import Reconciler
from agent.standing import NodeStanding
from agent.upkeep import Upkeep
from agent.why import collect
from cni.standing import Standing
from overlay import nodefile
from overlay.errors import BadConfig, OverlayError

ASK_TIMEOUT_S = 10.0
REMOTE = frozenset({"status", "facts", "probes", "history"})
"""What may be asked from another node, through etcd: whoever can write there can ask. None changes anything."""
Answer = Mapping[str, Any]


class Control:
    """Called in the socket's threads. ``underlay`` says which was chosen."""

    def __init__(
        self,
        config: Config,
        *,
        life: Life,
        loop: Loop,
        pages: Pages,
        standing: NodeStanding,
        underlay: Callable[[], str],
        upkeep: Upkeep,
        house: Housekeeping,
    ) -> None:
        self._config, self._life, self._loop, self._pages = config, life, loop, pages
        self._standing, self._underlay = standing, underlay
        self._upkeep, self._house = upkeep, house

    def follow(self, config: Config) -> None:
        """Other settings."""
        self._config = config

    def answer(self, question: Answer) -> Answer:
        """Raises OverlayError where the answer is no."""
        match question.get("verb"):
            case "status":
                return {**self._ask(self._status), "addresses": report.addresses(self._config)}
            case "peers":
                return self._ask(report.peers)
            case "plan":
                return self._ask(report.plan)
            case "drift":
                return self._ask(report.drift)
            case "standing":
                return dataclasses.asdict(self.standing())
            case "facts":
                return collect.answer(self._config, question)
            case "etcd":
                return report.store(self._life)
            case "history":
                return self._house.chronicle.answer(question)
            case "probes":
                return answer(self._upkeep.probes, question)
            case "targets":
                return asked(self._upkeep.probes)
            case "leave":
                return self._leave(force=bool(question.get("force")))
            case other:
                raise BadConfig(
                    f"unknown verb {other!r}",
                    hint="overlayctl --version; the agent's: overlayctl status; then: systemctl restart overlay-agent",
                )

    def answer_from_afar(self, asker: str, question: Answer) -> Answer:
        """The same for another node, which gets only what changes nothing; raises OverlayError."""
        verb = question.get("verb")
        if verb not in REMOTE:
            raise BadConfig(
                f"verb {verb!r} cannot be asked from {asker or 'another node'}",
                hint="from afar: " + ", ".join(sorted(REMOTE)),
            )
        return self.answer(question)

    def standing(self) -> Standing:
        """Can this node take pods now? Waits for nothing."""
        return self._standing.now(lease_missing=self._life.refusal)

    def _status(self, reconciler: Reconciler) -> Answer:
        return report.status(
            self._config,
            self._life,
            reconciler,
            self._underlay(),
            self._house.sweep.report(),
            upkeep=self._upkeep,
            ailments=self._house.ailments,
        )

    def _ask(self, question: Callable[[Reconciler], Answer]) -> Answer:
        return self._loop.ask(question, timeout_s=ASK_TIMEOUT_S)

    def _leave(self, *, force: bool) -> Answer:
        if not force:
            refuse_with_pods(self._config)
        nodefile.remove_conflist(
            self._config.cni_conf_dir, self._config.marks.conflist
        )  # no new pod between here and the release
        try:
            key = self._life.leave()
        except OverlayError:
            with contextlib.suppress(OverlayError, OSError):  # else the next sweep does it
                self._ask(lambda _: {"kept": self._pages.keep()})
            raise
        self._loop.post(lambda _: self._pages.withdraw(conflist=True))
        return {
            "left": key,
            "text": f"gave back {key}; peers drop this node now. To join again: restart overlay-agent",
        }
