"""Where the life of the node is told to: implemented by agent.daemon, and by tests."""

from typing import Protocol

from agent.events import Event
from agent.registry import Claimed
from agent.roll import Past
from overlay.desired import Me
from overlay.model import Network


class Sink(Protocol):
    """Where the life of the node is told to."""

    def held(self, network: Network, me: Me, claimed: Claimed) -> None:
        """A lease is held; ``me`` follows from it."""

    def lost(self, why: str) -> None:
        """The lease is gone; pods keep running, new ones are refused."""

    def event(self, event: Event) -> None:
        """Something changed under P/subnets."""

    def remember(self, past: Past) -> None:
        """What an earlier life knew of the others."""
