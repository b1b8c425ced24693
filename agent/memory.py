"""What outlives a reboot, in the state directory: the MACs of VTEP and bridge, the last subnets, and on which machine.

A MAC that changes makes every peer rewrite its entries and flannel peers keep a stale one, so it is
made once. A disk that was cloned brings this file to another machine, which has other network cards. A file that
cannot be read is set aside, said, and made anew: it is a convenience, not truth.
"""

import logging
import re
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path

import msgspec

from agent.machine import new_mac
from overlay.model import Family, Network, Subnet
from overlay.nodefile import write_atomic

log = logging.getLogger(__name__)


_UNICAST = re.compile(r"(?!00:00:00:00:00:00)[0-9a-f][02468ace](:[0-9a-f]{2}){5}")


class _State(msgspec.Struct, frozen=True):
    macs: dict[str, str] = {}
    subnets: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    home: tuple[str, ...] = ()


class Memory:
    """The file ``<state-dir>/state.json``."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "state.json"
        self._complained = False
        self._state = self._load()

    def mac(self, what: Family | str, *, device_mac: str | None, keep: bool = False) -> str:
        """The MAC of our VTEP (by family) or bridge (by name).

        The remembered one, else that of the living device, else a new one. ``keep`` says that another
        program made the device and peers or pods know it as it is: then the device is right.
        """
        name = _name(what)
        known = (keep and device_mac) or self._state.macs.get(name) or device_mac or new_mac()
        if self._state.macs.get(name) != known:
            macs = {**self._state.macs, name: known}
            self._save(msgspec.structs.replace(self._state, macs=macs))
        return known

    def known(self, bridge: str) -> str:
        """A bridge's remembered MAC, or nothing."""
        return self._state.macs.get(_name(bridge), "")

    @property
    def subnets(self) -> tuple[Subnet, ...]:
        """The subnets this node held last, or nothing."""
        return _parsed(self._state.subnets)

    def former(self, network: Network) -> tuple[Subnet, ...]:
        """What it held of families that it does not hold now and the network has: pods may have addresses there."""
        present = {Family.of(subnet) for subnet in self.subnets}
        found = ((Family.of(subnet), subnet) for subnet in _parsed(self._state.former))
        return tuple(it for family, it in found if family not in present and network.pool(family))

    def is_at_home(self, macs: Collection[str]) -> bool:
        """True if the machine that wrote this had one of these network cards: the copy of its disk has none of them."""
        return not set(self._state.home).isdisjoint(macs)

    def remember(self, subnets: tuple[Subnet, ...], *, home: Collection[str] = ()) -> None:
        """Keep the subnets for the next boot; of a family that the network has no more, for its coming back.

        ``home`` are the MACs of the interfaces under the tunnel; to be told only once the subnets are this machine's.
        """
        state = msgspec.structs.replace(self._state, home=tuple(sorted(home)) or self._state.home)
        texts = tuple(str(subnet) for subnet in subnets)
        if texts != state.subnets:
            present = {Family.of(subnet) for subnet in subnets}
            before = {Family.of(it): it for it in (*_parsed(state.former), *self.subnets)}
            former = tuple(str(it) for family, it in before.items() if family not in present)
            state = msgspec.structs.replace(state, subnets=texts, former=former)
        if state != self._state:
            self._save(state)

    def _load(self) -> _State:
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=_State)
            if bad := [mac for mac in found.macs.values() if not _UNICAST.fullmatch(mac)]:
                raise ValueError(f"{bad[0][:40]!r} is not a unicast MAC address")
            return found
        except FileNotFoundError:
            return _State()
        except (OSError, ValueError, msgspec.DecodeError) as error:
            aside = self._path.with_suffix(".unreadable")
            log.warning(
                "state file unreadable, starting a new one file=%s kept_as=%s why=%s",
                self._path,
                aside,
                error,
            )
            with suppress(OSError):
                self._path.replace(aside)
            return _State()

    def _save(self, state: _State) -> None:
        self._state = state
        try:
            write_atomic(self._path, msgspec.json.encode(self._state), mode=0o600)
        except OSError as error:
            if not self._complained:
                log.warning(
                    "state file cannot be written, a reboot would make a new MAC and may change the subnet; "
                    "file=%s why=%s next: df -h %s",
                    self._path,
                    error.strerror,
                    self._path.parent,
                )
            self._complained = True


def _parsed(texts: tuple[str, ...]) -> tuple[Subnet, ...]:
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError:
        return ()


def _name(what: Family | str) -> str:
    """A bridge may have any name, so it gets a colon, which no family has."""
    return what.name if isinstance(what, Family) else f"bridge:{what}"
