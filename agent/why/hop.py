"""One step of a packet's way, and what a judgement of it says. Pure."""

from dataclasses import dataclass

OK, BROKEN, UNKNOWN = "ok", "broken", "unknown"


@dataclass(frozen=True, slots=True)
class Hop:
    """``where`` is the node (or "etcd"), ``seen`` the value found, ``why`` a sentence, ``mend`` the next command.

    ``maybe``: what was found may stop the packet or not; a test that comes through decides.
    """

    where: str
    name: str
    state: str
    seen: str = ""
    why: str = ""
    mend: str = ""
    maybe: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Makes the hops of one node; ``back``: of the way back."""

    where: str
    back: bool = False

    def ok(self, name: str, seen: str = "") -> Hop:
        """As it should be."""
        return Hop(self.where, self._name(name), OK, seen)

    def broken(self, name: str, seen: str, why: str, mend: str) -> Hop:
        """Nothing gets through here, or not everything."""
        return Hop(self.where, self._name(name), BROKEN, seen, why, mend)

    def unknown(self, name: str, why: str, look: str = "", *, seen: str = "") -> Hop:
        """It cannot be told."""
        return Hop(self.where, self._name(name), UNKNOWN, seen, why, look)

    def maybe(self, name: str, seen: str, why: str, mend: str) -> Hop:
        """It cannot be told from here; the test may."""
        return Hop(self.where, self._name(name), UNKNOWN, seen, why, mend, maybe=True)

    def _name(self, name: str) -> str:
        return f"back: {name}" if self.back else name
