"""The last-good copy: what a node needs to come up while etcd is down, in ``<state-dir>/last-good.json``.

Written behind the back of the reconcile loop: its thread only says *changed*, a thread of our own asks for a
copy of the table some seconds later and encodes it, a row at a time and each row once per value: the rows of
before are on the disk, where they cost no memory. Records are kept as etcd holds them, so that reading them
back is the same path as reading etcd: bounded, and mistrusted. The file is a convenience, never truth: what
cannot be read is set aside, what cannot be written is said once.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.config import Config
from agent.following import Seen
from agent.moment import Moment
from agent.recalled import FILE_NAME, MOST_BYTES, Page, row_of
from agent.roll import Past
from overlay.errors import OverlayError
from overlay.model import Lease
from overlay.nodefile import write_atomic

log = logging.getLogger(__name__)

GATHER_S = 5.0
"""So long after the first change it is written: under steady change, so often."""
ROWS_A_BREATH = 64
"""Rows encoded before other threads are let in."""

Source = Callable[[], tuple[Past, Seen] | None]
"""A copy of the roll and the history it comes from; None while no complete list was seen."""


class LastGood:
    """Keeps the file. ``header`` names whose copy it is; ``now`` is agent.moment's."""

    def __init__(
        self,
        state_dir: Path,
        header: Page,
        *,
        source: Source,
        now: Callable[[], Moment],
        gather_s: float = GATHER_S,
    ) -> None:
        self._path = state_dir / FILE_NAME
        self._page = header
        self._source, self._now, self._gather_s = source, now, gather_s
        self._written: tuple[Lease, ...] = ()
        """Whose rows the file has, in its order; ``_sign`` tells whether it is still that file."""
        self._sign = (0, 0)
        self._lock = threading.Lock()
        self._dirty = False
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="last-good", daemon=True)

    @property
    def trouble(self) -> str:
        """Why the copy on disk is not what it should be; empty if it is."""
        why = self._complaint
        return f"the last-good copy cannot be written: {why}" if why else ""

    def follow(self, config: Config) -> None:
        """Other settings: whose copy it is, its next start asks by the endpoints."""
        if config.etcd_endpoints != self._page.endpoints:
            self._set(endpoints=config.etcd_endpoints)

    # --- what is told; all of it quick ---------------------------------------------------------------

    def changed(self) -> None:
        """The leases are others than before."""
        self._dirty = True
        self._wake.set()

    def held(self, network: bytes, lease: Lease) -> None:
        """This node holds that lease, under that config; `renewed` follows."""
        self._set(network=network.decode(errors="replace"), own=row_of(lease), doubt="")

    def renewed(self, ttl_s: float, *, age_s: float) -> None:
        """A renewal was granted that was asked for ``age_s`` ago."""
        moment = self._now().earlier(age_s)
        self._set(ttl_s=ttl_s, renewed=(moment.wall, moment.boot, moment.boot_id))

    def lost(self, why: str) -> None:
        """The lease is gone: whoever comes up from this file gives no address away."""
        self._set(doubt=why)

    def left(self) -> None:
        """The subnet was given back: nobody comes up from this file."""
        self._set(own=None)
        with suppress(OSError):  # at once: after a crash the writer would come too late
            self._path.unlink()

    def _set(self, **fields: object) -> None:
        with self._lock:
            self._page = msgspec.structs.replace(self._page, **fields)
        self.changed()

    # --- the thread ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, *, wait_s: float = 0.5) -> None:
        """Write what is not yet written, if that takes no longer than ``wait_s``."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(wait_s)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._stopping.wait(self._gather_s)
            self._wake.clear()
            if self._dirty:
                self._dirty = False
                self._write()
            if self._stopping.is_set():
                return

    def _write(self) -> None:
        try:
            found = self._source()
            if found is None or not self._page.network:
                return  # an earlier life's copy is better than none
            past, seen = found
            data = self._encoded(past, seen)
            if len(data) > MOST_BYTES:
                raise OSError(f"{len(data)} bytes, more than {MOST_BYTES}")
            write_atomic(self._path, data, mode=0o600)
            self._written, self._sign = tuple(past.leases.values()), _sign(data)
        except (OSError, OverlayError) as error:
            self._complain(str(error))
            return
        if self._complaint:
            log.info("the last-good copy is written again file=%s", self._path)
        self._complaint = ""

    def _complain(self, why: str) -> None:
        if why != self._complaint:
            log.warning(
                "the last-good copy cannot be written: a start while etcd is down would find an old one or "
                "none; file=%s why=%s next: df -h %s",
                self._path,
                why,
                self._path.parent,
            )
        self._complaint = why

    def _encoded(self, past: Past, seen: Seen) -> bytes:
        rows = self._joined(past.leases.values())
        with self._lock:
            page = self._page
        moment = self._now()
        whole = msgspec.structs.asdict(page)
        whole |= {"cluster": seen.cluster, "revision": seen.revision, "kept": past.kept}
        whole |= {"saved": (moment.wall, moment.boot, moment.boot_id)}
        return msgspec.json.encode({**whole, "leases": rows})

    def _joined(self, leases: Iterable[Lease]) -> msgspec.Raw:
        """One text, grown row by row: thousands of small ones would leave holes in the memory of the process."""
        known, text = self._known(), bytearray(b"[")
        for number, lease in enumerate(leases):
            row = known.get(id(lease))
            text += msgspec.json.encode(row_of(lease)) if row is None else row
            text += b","
            if number % ROWS_A_BREATH == 0:
                time.sleep(0)  # lets go of the interpreter: a peer's change must not wait for us
        text[1 if len(text) == 1 else -1 :] = b"]"
        return msgspec.Raw(text)

    def _known(self) -> Mapping[int, msgspec.Raw]:
        """The rows in the file by their lease's identity, if nobody has touched it: written again as they are."""
        try:
            same = self._path.is_file() and self._path.stat().st_size == self._sign[0]
            data = self._path.read_bytes() if same else b""
        except OSError:
            return {}
        if not data or _sign(data) != self._sign:
            return {}
        return dict(
            zip(map(id, self._written), msgspec.json.decode(data, type=_Rows).leases, strict=True)
        )


class _Rows(msgspec.Struct):
    leases: tuple[msgspec.Raw, ...]


def _sign(data: bytes) -> tuple[int, int]:
    return len(data), hash(data)
