"""Where etcd is: URLs, names expanded to one endpoint per address, and which one is used next.

The order is drawn anew in every process, so that the nodes of a cluster spread over its members, and those
of a member that is gone over all others. The last good one is kept; one that failed is tried after the others for
a while, because a member that hangs costs a whole deadline.
"""

import logging
import random
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from overlay.errors import StoreUnavailable

log = logging.getLogger(__name__)

RESOLVE_EVERY_S = 30.0
SHUN_S = 15.0
Resolver = Callable[[str, int], Sequence[str]]
"""(name, port) -> addresses; raises OSError."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of etcd. ``name`` is what its certificate must be for: a DNS name, or the address."""

    url: str
    name: str
    address: str
    port: int
    secure: bool

    @property
    def target(self) -> str:
        """As grpc wants it; a literal address, so that grpc resolves nothing."""
        if ":" in self.address:
            return f"ipv6:[{self.address}]:{self.port}"
        return f"ipv4:{self.address}:{self.port}"

    @property
    def authority(self) -> str:
        """HOST:PORT of the URL."""
        return f"[{self.name}]:{self.port}" if ":" in self.name else f"{self.name}:{self.port}"

    def __str__(self) -> str:
        """The URL; with the address where that is not the same."""
        return self.url if self.name == self.address else f"{self.url} ({self.address})"


def system_resolver(name: str, port: int) -> Sequence[str]:
    """What the machine knows: /etc/hosts, DNS."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(one[4][0]) for one in found]


class Endpoints:
    """Thread-safe. ``order`` is asked before each call, ``good`` and ``bad`` told after it."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        secure: bool,
        timeout_s: float,
        resolver: Resolver = system_resolver,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.urls = tuple(dict.fromkeys(urls))
        self._secure, self._timeout_s = secure, timeout_s
        self._resolver, self._clock = resolver, clock
        self._rng = rng or random.Random()
        self._lock = threading.Lock()
        self._resolving = threading.Lock()
        self._known: list[Endpoint] = []
        self._shunned: dict[Endpoint, float] = {}
        self._failed: set[Endpoint] = set()
        """Since one of them answered last."""
        self._asked: dict[tuple[str, int], _Answer] = {}
        self._resolved_at = 0.0
        self._said = ""

    def order(self) -> list[Endpoint]:
        """All, best first; names are resolved if they have to be, for at most ``timeout_s``.

        Raises:
            StoreUnavailable: no name has an address.
        """
        if self._is_stale():
            with self._resolving:
                if self._is_stale():
                    self._resolve()
        with self._lock:
            now = self._clock()
            return sorted(self._known, key=lambda one: self._shunned.get(one, 0.0) > now)

    def at(self, url: str) -> Endpoint:
        """The endpoint of a URL, the first address if its name has several; raises StoreUnavailable."""
        found = [one for one in self.order() if url in (one.url, str(one))]
        if not found:
            raise StoreUnavailable(
                f"{url} has no address",
                hint="getent ahosts HOST; the setting is etcd_endpoints",
            )
        return found[0]

    def good(self, endpoint: Endpoint) -> None:
        """It answered: it is the first now."""
        with self._lock:
            self._shunned.pop(endpoint, None)
            self._failed.clear()
            if endpoint in self._known[1:]:
                self._known.remove(endpoint)
                self._known.insert(0, endpoint)

    def bad(self, endpoint: Endpoint) -> None:
        """It did not: the last of all for a while. When all have failed, names are resolved anew."""
        with self._lock:
            self._shunned[endpoint] = self._clock() + SHUN_S
            self._failed.add(endpoint)
            if endpoint in self._known:
                self._known.remove(endpoint)
                self._known.append(endpoint)

    # --- inside --------------------------------------------------------------------------------------

    def _is_stale(self) -> bool:
        with self._lock:
            if not self._known:
                return True
            stale = self._failed.issuperset(self._known)
            return stale and self._clock() - self._resolved_at >= RESOLVE_EVERY_S

    def _resolve(self) -> None:
        parts = [_split(url, secure=self._secure) for url in self.urls]
        names = {(name, port) for _, name, port, _ in parts if not _is_literal(name)}
        found, reasons = self._look_up(names)
        fresh: dict[tuple[str, int], Endpoint] = {}
        for url, name, port, secure in parts:
            literal = [name] if _is_literal(name) else []
            kept = [one.address for one in self._known if (one.name, one.port) == (name, port)]
            for address in literal or found.get((name, port)) or kept:
                fresh.setdefault((address, port), Endpoint(url, name, address, port, secure))
        with self._lock:
            self._resolved_at = self._clock()
            known = set(self._known)
            added = [one for one in fresh.values() if one not in known]
            self._rng.shuffle(added)
            wanted = set(fresh.values())
            # What is new goes to the front: this is only done when all of the old ones have failed.
            self._known = added + [one for one in self._known if one in wanted]
            self._failed.clear()
            self._shunned = {one: until for one, until in self._shunned.items() if one in wanted}
            nothing = not self._known
        if reasons != self._said:
            self._said = reasons
            if reasons and not nothing:
                log.warning("etcd_endpoints: %s", reasons)
        if nothing:
            raise StoreUnavailable(
                f"etcd_endpoints: {reasons}", hint="getent hosts NAME; /etc/resolv.conf"
            )

    def _look_up(self, names: set[tuple[str, int]]) -> tuple[dict[tuple[str, int], list[str]], str]:
        """All names at once, each in a thread of its own: the system's resolver knows no deadline.

        One that is late is waited for again by the next call: a dead first name server may cost more than a
        deadline each time, and a resolver that hangs for ever costs one thread.
        """
        for one in names:
            if one not in self._asked or self._asked[one].age_s > RESOLVE_EVERY_S:
                self._asked[one] = _Answer(self._resolver, *one)
        found: dict[tuple[str, int], list[str]] = {}
        reasons = {}
        deadline = time.monotonic() + self._timeout_s
        for one in names:
            if self._asked[one].done.wait(max(0.0, deadline - time.monotonic())):
                answer = self._asked.pop(one)
                found[one], reasons[one[0]] = answer.addresses, answer.why
            else:
                reasons[one[0]] = "no answer from the resolver"
        return found, "; ".join(f"{name}: {why}" for name, why in sorted(reasons.items()) if why)


class _Answer:
    """What a resolver says of one name, as soon as it does."""

    def __init__(self, resolver: Resolver, name: str, port: int) -> None:
        self.done = threading.Event()
        self.addresses: list[str] = []
        self.why = ""
        self._at = time.monotonic()
        threading.Thread(
            target=self._look, args=(resolver, name, port), name="resolve", daemon=True
        ).start()

    @property
    def age_s(self) -> float:
        """Since it came; 0 while it has not."""
        return time.monotonic() - self._at if self.done.is_set() else 0.0

    def _look(self, resolver: Resolver, name: str, port: int) -> None:
        try:
            self.addresses = list(dict.fromkeys(resolver(name, port)))
            self.why = "" if self.addresses else "has no address"
        except (OSError, UnicodeError) as error:
            self.why = str(getattr(error, "strerror", "") or error)
        finally:
            self._at = time.monotonic()
            self.done.set()


def _split(url: str, *, secure: bool) -> tuple[str, str, int, bool]:
    match = re.fullmatch(r"(?:(https?)://)?(?:\[(.+)\]|([^\[\]]+)):(\d+)/?", url)
    if not match:
        raise ValueError(f"{url!r} is not http://HOST:PORT or https://HOST:PORT")
    scheme, v6, name, port = match.groups()
    return url, v6 or name, int(port), scheme == "https" or (not scheme and secure)


def _is_literal(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
