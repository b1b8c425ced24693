"""Addresses of this node: which pod holds which, on tmpfs, without locks.

``<run>/ipam/<address>`` is a symbolic link whose target is the owner's place, ``<network>/<container>@<if>``.
symlink(2) makes name and content in one atomic step that fails if the name exists: it is the lock and the
record, it can be neither torn nor taken twice, and ``ls -l`` shows it. All CNI networks of a node
draw from the one subnet, so the directory is one as well. A reboot ends every namespace and, /run
being a tmpfs, every allocation.

Beside it ``<run>/attachments/<network>/<owner>.json`` is the journal (`cni.record`). Taking and freeing for
one owner are serialised by ``cni.lock``; between owners nothing has to be.
"""

import contextlib
import errno
import ipaddress
import os
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

from cni import record
from cni.owner import Owner, bounded
from cni.record import Attachment
from cni.writing import fresh as fresh_name
from cni.writing import make_directory, replace, unlink, writable
from overlay.errors import AddressTaken, KernelRefused, OutOfAddresses
from overlay.model import Address, Family, HostAddress
from overlay.nodefile import NodeFamily

HINT_NAME = ".last-"
LINKLESS = ":address-only"
"""Ends the target of an allocation to another plugin's interface; no place has a colon."""
MOST_CANDIDATES = 1 << 16
"""An IPv6 subnet is never walked whole."""
_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.EINVAL, errno.ENAMETOOLONG, errno.ENOTDIR)
"""What readlink(2) says of a name that is no allocation: absent, no link, or a corrupt record's."""


class Ipam:
    """The allocations below a run directory."""

    def __init__(self, run_dir: Path) -> None:
        self.addresses = run_dir / "ipam"
        self.records = run_dir / "attachments"
        self._base = str(self.addresses)  # pathlib would be half of what an ADD costs here

    # --- the journal --------------------------------------------------------------------------------

    def record(self, owner: Owner) -> Attachment | None:
        """The journal of an attachment, or None if there is none that can be read."""
        return self.record_at(owner.place)

    def record_at(self, place: str) -> Attachment | None:
        """The same by place."""
        try:
            descriptor = os.open(self._record(place), _LOOK)  # a pipe of that name must not hold us
            with open(descriptor, "rb", buffering=0) as file:
                found = record.decode(file.read(record.MOST_BYTES) or b"")
        except OSError:
            return None
        return found if found is None or found.owner.place == place else None

    def places(self) -> list[str]:
        """The place of every journal, readable or not."""
        found = []
        with contextlib.suppress(OSError):
            for network in sorted(os.listdir(self.records)):
                with contextlib.suppress(OSError):
                    if (self.records / network).is_symlink():
                        continue  # what is behind it is not ours
                    names = sorted(os.listdir(self.records / network))
                    found += [
                        f"{network}/{name.removesuffix('.json')}"
                        for name in names
                        if name.endswith(".json") and not name.startswith(".")
                    ]
        return found

    def begin(self, owner: Owner) -> None:
        """See that an ADD may begin.

        Raises:
            KernelRefused: there is a journal; a second ADD would lose the first one's address.
        """
        if os.path.lexists(self._record(owner.place)):
            raise KernelRefused(
                f"{owner} is attached already",
                errno=errno.EEXIST,
                hint="the runtime must DEL it before a second ADD",
            )

    def write(self, attachment: Attachment) -> None:
        """Write or replace the journal, by rename. Not synced: it need not outlive the machine's memory."""
        path = self._record(attachment.owner.place)
        with writable(self.records):
            replace(path, record.encode(attachment))

    # --- addresses ----------------------------------------------------------------------------------

    def take(
        self,
        owner: Owner,
        family: NodeFamily,
        *,
        wanted: Address | None = None,
        linkless: bool = False,
    ) -> HostAddress:
        """A free address of the node's subnet, or the very one that is wanted; held from now on.

        ``linkless`` says that another plugin makes the interface, so that no link of ours speaks for the pod.

        Raises:
            OutOfAddresses: none is free.
            AddressTaken: the one that is wanted is held, or is not a pod's.
        """
        prefix, target = family.subnet.prefixlen, owner.place + (LINKLESS if linkless else "")
        with writable(self.addresses):
            make_directory(self._base)
            if wanted is not None:
                self._take_this(target, family, wanted)
                return ip_interface(f"{wanted}/{prefix}")
            for address in self._candidates(family):
                with contextlib.suppress(FileExistsError):
                    os.symlink(target, f"{self._base}/{address}")
                    self._remember(address)
                    return ip_interface(f"{address}/{prefix}")
        raise OutOfAddresses(
            f"no free address in {family.subnet}: {self.count(family)} are held",
            hint="who holds them: overlayctl ipam show; what is left over: overlayctl gc --dry-run",
        )

    def _take_this(self, target: str, family: NodeFamily, wanted: Address) -> None:
        low, high = usable(family)
        if not low <= int(wanted) <= high or wanted == family.gateway.ip:
            raise AddressTaken(
                f"{wanted} cannot be a pod's: in {family.subnet} the network's own address, "
                f"the bridge's ({family.gateway.ip}) and the last one are not given out"
            )
        try:
            os.symlink(target, f"{self._base}/{wanted}")
        except FileExistsError as error:
            holder = self.held().get(str(wanted), "a file that is no allocation")
            raise AddressTaken(
                f"{wanted} is held by {holder}",
                hint=f"overlayctl ipam show; if that pod is gone: overlayctl ipam release {wanted}",
            ) from error

    def held(self) -> Mapping[str, str]:
        """Address → the place of its owner."""
        return {name: text.removesuffix(LINKLESS) for name, text in self._targets().items()}

    def linkless(self) -> frozenset[str]:
        """The places whose interface another plugin made."""
        targets = self._targets().values()
        return frozenset(text.removesuffix(LINKLESS) for text in targets if text.endswith(LINKLESS))

    def _targets(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        try:
            names = os.listdir(self._base)
        except OSError:
            return {}
        for name in names:
            if is_address(name):
                with contextlib.suppress(OSError):
                    found[name] = os.readlink(f"{self._base}/{name}")
        return found

    def count(self, family: NodeFamily) -> int:
        """How many names stand where an address of this family would; a foreign file is in the way, too."""
        try:
            names = os.listdir(self.addresses)
        except OSError:
            return 0
        return sum(1 for name in names if _belongs(name, family))

    def free(self, family: NodeFamily) -> int:
        """How many addresses are left."""
        low, high = usable(family)
        gateway = low <= int(family.gateway.ip) <= high
        return max(0, high - low + 1 - gateway - self.count(family))

    def release(self, owner: Owner, known: Attachment | None = None) -> None:
        """Free every address of the owner and forget its journal, read here unless ``known``.

        Nothing there is success.
        """
        known = known or self.record(owner)
        if known and known.version == record.BEFORE_FLAT and known.network == owner.network:
            old = f"{self._base}/{bounded(owner.network)}"
            for name in known.addresses:
                with writable(self.addresses):
                    _free(old, name.partition("/")[0], owner.name)
        self.release_at(owner.place, known)

    def release_at(self, place: str, known: Attachment | None = None) -> None:
        """The same by place."""
        with writable(self.addresses):
            names = known.addresses if known and known.addresses else self._all_names()
            for name in names:
                _free(self._base, name.partition("/")[0], place)
            unlink(self._record(place))

    def _all_names(self) -> list[str]:
        try:
            return os.listdir(self.addresses)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _record(self, place: str) -> str:
        return f"{self.records}/{place}.json"

    def _candidates(self, family: NodeFamily) -> Iterator[Address]:
        """Every usable address once, from after the one given last: none is reused at once."""
        gateway = family.gateway.ip
        low, high = usable(family)
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
            return (int(os.readlink(f"{self._base}/{HINT_NAME}{family.name}")) - low + 1) % count
        except (OSError, ValueError, ZeroDivisionError):
            return 0

    def _remember(self, address: Address) -> None:
        hint = f"{self._base}/{HINT_NAME}{Family.of(address).name}"
        fresh = fresh_name(hint)
        with contextlib.suppress(OSError):
            os.symlink(str(int(address)), fresh)
            try:
                os.rename(fresh, hint)
            except OSError:
                unlink(fresh)


def usable(family: NodeFamily) -> tuple[int, int]:
    """The first and the last address, as numbers, that a pod can have; the gateway lies among them."""
    subnet = family.subnet
    low = int(subnet.network_address) + 1
    return low, int(subnet.broadcast_address) - (1 if family.family is Family.V4 else 0)


def is_address(name: str) -> bool:
    """Whether a file name is an address in its one canonical spelling."""
    try:
        return str(ipaddress.ip_address(name)) == name
    except ValueError:
        return False


def _belongs(name: str, family: NodeFamily) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    return address.version == family.subnet.version and address in family.subnet


def _free(directory: str, name: str, target: str) -> None:
    path = f"{directory}/{name}"
    try:
        if (
            "/" not in name and os.readlink(path).removesuffix(LINKLESS) == target
        ):  # never another owner's
            unlink(path)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
    except ValueError:  # a NUL in a corrupt record
        return
