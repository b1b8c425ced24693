"""Asking the agents of other nodes, through etcd: no port is opened for it, and no node has to reach another.

The questions go out together, under one etcd lease that is revoked at the end, whatever the end is; the answers
are heard by one watch. What has not been answered after a while is asked once more: the asked agent may have been
on its way from one etcd member to another. This node's own agent is asked over its socket.
"""

import contextlib
import queue
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

from agent import connect, etcd, letters
from agent.config import Config
from agent.ctl import client
from agent.ctl.nodepage import page
from agent.etcd import Etcd, Record, Span
from agent.printable import printable
from agent.records import Keys, parse_record
from overlay import __version__, schema
from overlay.errors import BadRecord, NotReady, OverlayError
from overlay.model import Lease

FIRST_VERSION = "0.1.0"
"""The first agent that has a mailbox."""
LEASE_S = 30
AGAIN_S = 2.0
BATCH = 100
"""Operations of one transaction: etcd takes 128."""
_PAUSE_S = 0.2

Answer = dict[str, Any]


def ask(
    settings: Config, lease_key: str, verb: str, *, timeout_s: float = 5.0, **more: object
) -> Answer:
    """What the agent that holds ``lease_key`` (such as 10.5.7.0-24) answers; only agent.control.REMOTE is answered.

    Raises:
        NotReady: nobody holds it, it is not an agent of ours, or it did not answer; the text says which.
        StoreUnavailable: etcd does not answer.
        OverlayError: the agent refused; its own words.
    """
    found = ask_many(settings, [lease_key], verb, timeout_s=timeout_s, **more)[lease_key]
    if isinstance(found, OverlayError):
        raise found
    return found


def ask_many(
    settings: Config,
    lease_keys: Sequence[str],
    verb: str,
    *,
    timeout_s: float = 5.0,
    **more: object,
) -> dict[str, Answer | OverlayError]:
    """The same of many, at once; by lease key. Of thousands ask only what is answered in a few kB."""
    own = _own_key(settings)
    others = [key for key in dict.fromkeys(lease_keys) if key != own]
    with ThreadPoolExecutor(max_workers=1) as beside:
        here = beside.submit(_own, settings, verb, timeout_s, more) if own in lease_keys else None
        found: dict[str, Answer | OverlayError] = {}
        if others:
            try:
                found = _through_etcd(settings, others, verb, timeout_s, more)
            except OverlayError as error:
                found = dict.fromkeys(others, error)
        if here is not None:
            found[own] = here.result()
    return {key: found[key] for key in dict.fromkeys(lease_keys)}


def _own_key(settings: Config) -> str:
    here = page(settings.run_dir)
    return schema.format_key([one.subnet for one in here.families]) if here else ""


def _own(
    settings: Config, verb: str, timeout_s: float, more: Mapping[str, object]
) -> Answer | OverlayError:
    try:
        return client.ask(settings.run_dir, verb, timeout_s=timeout_s, **more)
    except OverlayError as error:
        return error


def _through_etcd(
    settings: Config,
    lease_keys: Sequence[str],
    verb: str,
    timeout_s: float,
    more: Mapping[str, object],
) -> dict[str, Answer | OverlayError]:
    body = letters.write(verb, more, asker=settings.node_name)
    with closing(connect.store(settings)) as store:
        found: dict[str, Answer | OverlayError] = {}
        leases: dict[str, Lease] = {}
        for key, what in _records(store, Keys(settings.etcd_prefix), lease_keys).items():
            if isinstance(what, OverlayError):
                found[key] = what
            else:
                leases[key] = what
        if leases:
            post = _Post(store, settings.etcd_prefix, leases, body, ttl_s=LEASE_S + int(timeout_s))
            try:
                found |= post.answers(timeout_s)
            finally:
                post.close()
        return found | {
            key: _silent(lease, timeout_s) for key, lease in leases.items() if key not in found
        }


def _records(store: Etcd, keys: Keys, lease_keys: Sequence[str]) -> dict[str, Lease | OverlayError]:
    """Who is to be asked, or why he cannot be."""
    there: dict[str, Record] = {}
    for part in _parts(lease_keys):
        listing = store.ranges(*((keys.start + key, "") for key in part))
        there |= {record.key.removeprefix(keys.start): record for record in listing.records}
    return {key: _whom(key, there.get(key), keys.start) for key in lease_keys}


def _whom(key: str, record: Record | None, start: str) -> Lease | OverlayError:
    if record is None:
        return NotReady(
            f"nobody holds {printable(key, 80)}, so there is nobody to ask",
            hint="overlayctl leases",
        )
    try:
        lease = parse_record(record, start)
    except BadRecord as error:
        return NotReady(f"the record {printable(key, 80)} cannot be read: {error}")
    if not lease.machine_id:
        flannel = "it is a reservation" if not lease.etcd_lease else "flanneld, or a like agent"
        return NotReady(
            f"{_name(lease)} cannot be asked: its record names no machine ({flannel})",
            hint="look on that node itself",
        )
    return lease


def _silent(lease: Lease, timeout_s: float) -> NotReady:
    other = lease.version not in ("", __version__)
    version = f" (its record says {printable(lease.version, 40)})" if other else ""
    return NotReady(
        f"{_name(lease)} did not answer within {timeout_s:g} s: its agent is down, older than "
        f"{FIRST_VERSION}{version}, cut off from etcd, or asked by too many (its log says so)",
        hint="there: systemctl status overlay-agent; overlayctl status",
    )


def _name(lease: Lease) -> str:
    where = next((str(end.underlay) for end in lease.endpoints if end.underlay), "")
    return printable(lease.node or where or lease.key, 80)


def _parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(keys), BATCH):
        yield keys[first : first + BATCH]


class _Post:
    """The questions of one call, and the thread that hears the answers."""

    def __init__(
        self, store: Etcd, prefix: str, leases: Mapping[str, Lease], body: bytes, *, ttl_s: int
    ) -> None:
        self._store, self._prefix, self._leases, self._body = store, prefix, leases, body
        self._batch = secrets.token_hex(16)
        numbered = list(leases)
        self._ids = {key: f"{self._batch}.{number}" for number, key in enumerate(numbered)}
        self._by_answer = {letters.answer_key(prefix, name): key for key, name in self._ids.items()}
        self._heard: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._closed, self._listening = threading.Event(), threading.Event()
        self._lease = store.grant(ttl_s)

    def close(self) -> None:
        """Questions and answers go with their lease."""
        self._closed.set()
        with contextlib.suppress(OverlayError):
            self._store.revoke(self._lease)

    def answers(self, timeout_s: float) -> dict[str, Answer | OverlayError]:
        """Those that came in time."""
        threading.Thread(target=self._listen, name="answers", daemon=True).start()
        self._listening.wait(timeout_s)
        found: dict[str, Answer | OverlayError] = {}
        deadline = time.monotonic() + timeout_s
        again = time.monotonic() + AGAIN_S
        self._put(list(self._ids))
        while len(found) < len(self._ids) and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                key, value = self._heard.get(timeout=min(left, max(0.01, again - time.monotonic())))
                found[key] = _opened(value)
            if time.monotonic() >= again:
                again = time.monotonic() + AGAIN_S
                self._put([key for key in self._ids if key not in found])
        return found

    def _put(self, lease_keys: Sequence[str]) -> None:
        for part in _parts(lease_keys):
            self._store.txn([], [self._question(key) for key in part])

    def _question(self, key: str) -> Any:  # noqa: ANN401 - generated messages are untyped
        place = letters.asked(self._prefix, self._leases[key].machine_id)
        return etcd.putting(place.start + self._ids[key], self._body, lease=self._lease)

    def _listen(self) -> None:
        """Until closed; over a stream that ends, whose answers are read instead."""
        place = letters.answered(self._prefix, self._batch)
        while not self._closed.is_set():
            span = Span(place.start, place.end, 0)
            with contextlib.suppress(OverlayError), closing(self._store.watch([span])) as stream:
                self._listening.set()
                self._told(*self._store.range(place.start, place.end).records)
                for heard in stream:
                    self._told(*(one.record for one in heard.changes if one.record))
            self._closed.wait(_PAUSE_S)

    def _told(self, *records: Record) -> None:
        for record in records:
            if key := self._by_answer.get(record.key):
                self._heard.put((key, record.value))


def _opened(value: bytes) -> Answer | OverlayError:
    try:
        return letters.opened(value)
    except OverlayError as error:
        return error
