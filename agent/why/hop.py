"""One step of a packet's way, and what a judgement of it says. Pure."""

from dataclasses import dataclass

OK, BROKEN, UNKNOWN = "ok", "broken", "unknown"


@dataclass(frozen=True, slots=True)
class Hop:
    """``where`` is the node (or "etcd"), ``seen`` the value found, ``why`` a sentence, ``mend`` the next command.

    ``at``: the node where that is to be run, if it is another place. ``maybe``: what was found may stop the packet or
    not; a test that comes through decides.
    """

    where: str
    name: str
    state: str
    seen: str = ""
    why: str = ""
    mend: str = ""
    maybe: bool = False
    at: str = ""

    @property
    def mend_at(self) -> str:
        """Where the command is to be run."""
        return self.at or self.where


@dataclass(frozen=True, slots=True)
class Place:
    """Makes the hops of one node; ``back``: of the way back; ``at``: where its commands are run, if elsewhere."""

    where: str
    back: bool = False
    at: str = ""

    def ok(self, name: str, seen: str = "") -> Hop:
        """As it should be."""
        return Hop(self.where, self._name(name), OK, seen)

    def broken(self, name: str, seen: str, why: str, mend: str) -> Hop:
        """Nothing gets through here, or not everything."""
        return Hop(self.where, self._name(name), BROKEN, seen, why, mend, at=self.at)

    def unknown(self, name: str, why: str, look: str = "", *, seen: str = "") -> Hop:
        """It cannot be told."""
        return Hop(self.where, self._name(name), UNKNOWN, seen, why, look)

    def maybe(self, name: str, seen: str, why: str, mend: str) -> Hop:
        """It cannot be told from here; the test may."""
        return Hop(self.where, self._name(name), UNKNOWN, seen, why, mend, maybe=True, at=self.at)

    def _name(self, name: str) -> str:
        return f"back: {name}" if self.back else name
