"""The files of CNI's host-local plugin: read at a take-over, mended at a DEL, written for a hand-back.

``<directory>/<network>/<address>`` holds the container's id and, on a second line, the interface's name
(containernetworking/plugins, plugins/ipam/host-local/backend/disk). The directory outlives a reboot, so a
file alone does not say that its pod lives.
"""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cni.ipam import is_address
from cni.netconf import IFNAME, NAME
from cni.owner import Owner
from cni.writing import fresh, unlink
from overlay.errors import AddressTaken

DIRECTORY = "/var/lib/cni/networks"
"""Where host-local keeps them unless its configuration says dataDir."""
USUAL_IFNAME = "eth0"
"""Of files that old versions wrote, without a second line."""
_MOST_BYTES = 4096
_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def allocations(directory: Path) -> Mapping[str, Owner]:
    """Address → who has it, of all networks; what makes no sense is left out."""
    found: dict[str, Owner] = {}
    for network in _names(directory):
        for name in _names(directory / network):
            owner = _owner(directory / network / name, network) if is_address(name) else None
            if owner is not None:
                found[name] = owner
    return found


def forget(network: Path, address: str, container: str) -> None:
    """Free an address, if the container still has it; nothing there is success."""
    path = network / address
    if is_address(address) and _content(path).split()[:1] == [container]:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def reserve(network: Path, address: str, owner: Owner) -> bool:
    """Write an allocation; False if it was there already.

    Raises:
        AddressTaken: somebody else's is.
        OSError: the directory cannot be written.
    """
    network.mkdir(parents=True, exist_ok=True, mode=0o755)
    path = network / address
    beside = Path(fresh(str(path)))
    try:
        beside.write_text(f"{owner.container}\r\n{owner.ifname}", newline="")
        os.link(beside, path)  # the whole file or none; host-local itself counts on O_EXCL, which this is as well
    except FileExistsError as error:
        if _content(path).split() == [owner.container, owner.ifname]:
            return False
        raise AddressTaken(
            f"{address} of {owner} is somebody else's in {network}",
            hint=f"look: cat {path}; delete that pod, or this one",
        ) from error
    finally:
        unlink(str(beside))
    return True


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def _owner(path: Path, network: str) -> Owner | None:
    container, ifname = (*_content(path).split(), "", "")[:2]
    found = Owner(network, container, ifname or USUAL_IFNAME)
    sound = NAME.fullmatch(network) and NAME.fullmatch(container) and IFNAME.fullmatch(found.ifname)
    return found if sound else None


def _content(path: Path) -> str:
    """Bounded, and of a regular file only: the directory is another program's."""
    try:
        with open(os.open(path, _LOOK), "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return ""
            return (file.read(_MOST_BYTES) or b"").decode(errors="replace")
    except OSError:
        return ""
