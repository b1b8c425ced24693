"""Addresses of one network on this node: which pod holds which, on tmpfs, without locks.

``<run>/ipam/<network>/<address>`` is a symbolic link whose target is the owner's name. symlink(2)
makes name and content in one atomic step that fails if the name exists: it is the lock and the record, it
can be neither torn nor taken twice, and ``ls -l`` shows it. A reboot ends every namespace and, /run
being a tmpfs, every allocation.

``<run>/attachments/<network>/<owner>.json`` is the journal: written by rename before the first kernel
step, so that a DEL finds whatever a killed ADD has left. Taking and freeing for one owner are serialised by
``cni.lock``; between owners nothing has to be.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

import msgspec

from cni.owner import Owner, bounded
from overlay.errors import KernelRefused, NotReady, OutOfAddresses
from overlay.model import Address, Family, HostAddress
from overlay.nodefile import NodeFamily, write_atomic

HINT_NAME = ".last-"
MOST_CANDIDATES = 1 << 16
"""An IPv6 subnet is never walked whole."""
RECORD_VERSION = 1
_ABSENT = (errno.ENOENT, errno.EINVAL, errno.ENAMETOOLONG)
"""What readlink(2) says of a name that is no allocation: absent, no link, or a corrupt record's."""


class Attachment(msgspec.Struct, frozen=True):
    """The journal of one attachment; ``netns`` is the runtime's path, ``created`` Unix seconds."""

    network: str
    container: str
    ifname: str
    netns: str
    host_link: str
    addresses: tuple[str, ...] = ()
    mac: str = ""
    pod: str = ""
    created: float = 0.0
    version: int = RECORD_VERSION


class Ipam:
    """The allocations of one network below a run directory."""

    def __init__(self, run_dir: Path, network: str) -> None:
        self._addresses = run_dir / "ipam" / bounded(network)
        self._records = run_dir / "attachments" / bounded(network)

    def record(self, owner: Owner) -> Attachment | None:
        """The journal of an attachment, or None if there is none that can be read."""
        try:
            return msgspec.json.decode(self._record(owner).read_bytes(), type=Attachment)
        except (OSError, msgspec.DecodeError, ValueError, RecursionError):
            return None

    def begin(self, owner: Owner, attachment: Attachment) -> None:
        """Write the journal.

        Raises:
            KernelRefused: there is one; a second ADD would lose the first one's address.
        """
        path = self._record(owner)
        if path.exists():
            raise KernelRefused(
                f"{owner} is attached already",
                errno=errno.EEXIST,
                hint="the runtime must DEL it before a second ADD",
            )
        self.update(owner, attachment)

    def update(self, owner: Owner, attachment: Attachment) -> None:
        """Replace the journal."""
        with _writable(self._records):
            write_atomic(self._record(owner), msgspec.json.encode(attachment), mode=0o600)

    def take(self, owner: Owner, family: NodeFamily) -> HostAddress:
        """A free address of the node's subnet, held from now on.

        Raises:
            OutOfAddresses: none is free.
        """
        with _writable(self._addresses):
            self._addresses.mkdir(parents=True, exist_ok=True)
            for address in self._candidates(family):
                with contextlib.suppress(FileExistsError):
                    os.symlink(owner.name, self._addresses / str(address))
                    self._remember(address)
                    return ip_interface(f"{address}/{family.subnet.prefixlen}")
        held = sum(1 for name in self._held() if (":" in name) == (family.family is Family.V6))
        raise OutOfAddresses(
            f"no free address in {family.subnet}: {held} are held",
            hint=f"see: overlayctl status; who holds them: ls -l {self._addresses}",
        )

    def release(self, owner: Owner) -> None:
        """Free every address of the owner and forget its journal; nothing there is success."""
        record = self.record(owner)
        names = record.addresses if record and record.addresses else self._held()
        with _writable(self._addresses):
            for name in names:
                self._free(name.partition("/")[0], owner)
            self._record(owner).unlink(missing_ok=True)

    def _free(self, name: str, owner: Owner) -> None:
        path = self._addresses / name
        try:
            if os.readlink(path) == owner.name:  # never another owner's
                path.unlink(missing_ok=True)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
        except ValueError:  # a NUL in a corrupt record
            return

    def _held(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._addresses) if not name.startswith(".")]
        except FileNotFoundError:
            return []

    def _record(self, owner: Owner) -> Path:
        return self._records / f"{owner.name}.json"

    def _candidates(self, family: NodeFamily) -> Iterator[Address]:
        """Every usable address once, from after the one given last: none is reused at once."""
        subnet, gateway = family.subnet, family.gateway.ip
        low = int(subnet.network_address) + 1
        high = int(subnet.broadcast_address) - (1 if family.family is Family.V4 else 0)
        count = min(high - low + 1, MOST_CANDIDATES)
        start = self._last(family.family, low, count)
        make = IPv4Address if family.family is Family.V4 else type(gateway)
        for step in range(count):
            address = make(low + (start + step) % count)
            if address != gateway:
                yield address

    def _last(self, family: Family, low: int, count: int) -> int:
        """The place after the last one given; any place will do, so a bad hint is no error."""
        try:
            return (
                int(os.readlink(self._addresses / f"{HINT_NAME}{family.name}")) - low + 1
            ) % count
        except (OSError, ValueError):
            return 0

    def _remember(self, address: Address) -> None:
        hint = self._addresses / f"{HINT_NAME}{Family.of(address).name}"
        fresh = hint.with_name(f"{hint.name}.{os.getpid()}.{os.urandom(4).hex()}")
        with contextlib.suppress(OSError):
            os.symlink(str(int(address)), fresh)
            fresh.replace(hint)


@contextlib.contextmanager
def _writable(directory: Path) -> Iterator[None]:
    """Turn a full or read-only run directory into a clear error that may be retried."""
    try:
        yield
    except OSError as error:
        raise NotReady(
            f"{directory} cannot be written: {error.strerror}", hint=f"df {directory}"
        ) from error
