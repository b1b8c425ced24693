"""What only one agent may have: its directories, and in a network namespace its marks, bridge and VXLAN network.

Two agents with one of them in common would undo each other's work, so the second one does not start, and says
who has it and what to set. Directories are held by flock(2). What belongs to the network namespace is held by an
abstract Unix socket of that name: it is the namespace's as well, and gone with its process, however that ends.
So is the work of who lays an agent down or takes it away: one at a time, whichever agent's.
"""

import fcntl
import logging
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import ip_network
from pathlib import Path

from agent.config import Config
from overlay.desired import device_name
from overlay.errors import BadConfig, Fatal
from overlay.marks import Marks, owner_of
from overlay.model import Family, Network, Subnet
from overlay.netlink import LinkInfo

log = logging.getLogger(__name__)

OTHERS = "docs/several-networks.md has what each agent of a node needs of its own"
LOCK_NAME = "agent.lock"
_AGENT, _PODS = "overlay-agent/", "pods/"
_WORK = "@overlayctl/files"
MOST_SHOWN = 300
"""Characters of a command line."""


class Sole:
    """All that this process holds, until it ends. ``marks`` are the agent's."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._directories: list[int] = []
        self._names: dict[str, socket.socket] = {}
        self._network = ""

    def hold(self, *, run_dir: Path, state_dir: Path, bridge: str) -> None:
        """What is known before etcd was asked.

        Raises:
            BadConfig: another agent has one of them.
        """
        try:
            self._hold(run_dir, state_dir, bridge)
        except BadConfig:
            self.close()
            raise

    def _hold(self, run_dir: Path, state_dir: Path, bridge: str) -> None:
        self._directory("run_dir", run_dir, LOCK_NAME)
        self._directory("state_dir", state_dir)
        marks = self._marks
        self._name(f"instance/{marks.instance}", _named(marks), "instance")
        self._name(
            f"route-protocol/{marks.route_protocol}",
            f"route protocol {marks.route_protocol}, which follows from {_named(marks)} too",
            "instance",
        )
        self._name(f"bridge/{bridge}", f"bridge = {bridge!r}", "bridge")

    def hold_network(self, vni: int, port: int, *, prefix: str) -> None:
        """The VXLAN network, once it is known; the one held before is let go.

        Raises:
            BadConfig: another agent serves it.
        """
        name = f"vxlan/{vni}/{port}"
        if name == self._network:
            return
        self._name(
            name,
            f"VNI {vni} on UDP port {port}",
            f"etcd_prefix to that of another network, or Backend.VNI in {prefix}/config",
        )
        if before := self._names.pop(self._network, None):
            before.close()
        self._network = name

    def hold_pods(self, networks: Iterable[Subnet], *, prefix: str) -> None:
        """The pod networks, once they are known; those held before are let go.

        Raises:
            BadConfig: another agent has one that overlaps: each would take the other's pods for its own.
        """
        change = f"Network in {prefix}/config, or etcd_prefix to that of another network"
        wanted = {f"{_PODS}{network}": network for network in networks}
        self._let_go([it for it in self._names if it.startswith(_PODS) and it not in wanted])
        fresh = {name: network for name, network in wanted.items() if name not in self._names}
        try:
            for name, network in fresh.items():
                self._name(name, f"the pod network {network}", change)
                for other in _pod_networks():
                    theirs = f"{_PODS}{other}" not in self._names
                    if theirs and other.version == network.version and other.overlaps(network):
                        what = f"the pod network {other}, which overlaps {network}"
                        self._refuse(f"@{_AGENT}{_PODS}{other}", what, change)
        except BadConfig:
            self._let_go(fresh)
            raise

    def _let_go(self, names: Iterable[str]) -> None:
        for name in names:
            if held := self._names.pop(name, None):
                held.close()

    def close(self) -> None:
        """Let all of it go; the end of the process does the same."""
        for held in self._names.values():
            held.close()
        for descriptor in self._directories:
            os.close(descriptor)
        self._names, self._directories, self._network = {}, [], ""

    def _directory(self, key: str, path: Path, lock: str = "") -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC | (os.O_CREAT if lock else os.O_DIRECTORY)
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o755)
            descriptor = os.open(path / lock, flags, 0o644)
        except OSError as error:
            raise BadConfig(
                f"{key} = {str(path)!r}: {error.strerror}", hint=f"ls -ld {path} {path.parent}"
            ) from error
        self._directories.append(descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise BadConfig(
                f"another overlay-agent already runs with {key} = {str(path)!r}",
                hint=f"give this one an instance name, or another {key}; {OTHERS}",
            ) from error

    def _name(self, name: str, what: str, change: str) -> None:
        held = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            held.bind(f"\0{_AGENT}{name}")
        except OSError:
            held.close()
            self._refuse(f"@{_AGENT}{name}", what, change)
            return
        self._names[name] = held

    @staticmethod
    def _refuse(address: str, what: str, change: str) -> None:
        """Who may not run an agent must not keep one from running."""
        pid = _holder(address)
        if _in_vain(pid):
            log.warning(
                "process %d, which is no agent, holds the name %s; going on without", pid, address
            )
            return
        who = f"pid {pid}: {_command(pid)}" if pid else "in a container, not to be seen from here"
        raise BadConfig(
            f"another overlay-agent on this node already has {what} ({who})",
            hint=f"for this one change {change}; {OTHERS}",
        )


@contextmanager
def alone(what: str) -> Iterator[None]:
    """Nobody else lays down or takes away an agent of this node meanwhile.

    Raises:
        Fatal: somebody does; nothing was changed.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as held:
        try:
            held.bind("\0" + _WORK[1:])
        except OSError:
            pid = _holder(_WORK)
            if not _in_vain(pid):
                who = (
                    f"pid {pid}: {_command(pid)}"
                    if pid
                    else "just ending, or not to be seen from here"
                )
                raise Fatal(
                    f"another overlayctl is at work on this node's files ({who}); nothing was changed by this one",
                    hint=f"when that one has ended: overlayctl {what}",
                ) from None
        yield


def refuse_marked(links: Iterable[LinkInfo], network: Network, config: Config) -> None:
    """See that what an agent that is stopped now has left in the kernel is not in our place.

    Raises:
        BadConfig: a link that we need, or our route protocol, is another instance's.
    """
    ours, backend = config.marks, network.backend
    for link in links:
        other = owner_of(link.alias)
        if other is None or other == ours:
            continue
        change = ""
        if link.name == config.bridge:
            change = "bridge"
        elif (
            backend.tunnels
            and link.vxlan is not None
            and (
                (link.vxlan.vni, link.vxlan.port) == (backend.vni, backend.port)
                or link.name in {device_name(family, backend.vni) for family in Family}
            )
        ):
            change = f"etcd_prefix to that of another network, or Backend.VNI in {config.etcd_prefix}/config"
        elif other.route_protocol == ours.route_protocol:
            change = "instance: its route protocol is the same"
        if change:
            raise BadConfig(
                f"{link.kind} {link.name} is that of {other}, and this agent is {ours}",
                hint=f"change {change}; or, if that agent is gone for good: ip link delete {link.name}; {OTHERS}",
            )


def running(marks: Marks, run_dir: Path) -> int:
    """The pid of the agent of these marks in our network namespace, or of the one with ``run_dir``; 0 if none runs."""
    holders = (_holder(f"@{_AGENT}instance/{marks.instance}"), _locker(run_dir / LOCK_NAME))
    return next((pid for pid in holders if pid and not _in_vain(pid)), 0)


def _locker(path: Path) -> int:
    """Who has a file by flock(2)."""
    try:
        found = path.stat()
    except OSError:
        return 0
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in _read("/proc/locks").splitlines():
        words = line.split()
        if words[1:2] == ["FLOCK"] and words[5:6] == [place]:
            return int(words[4])
    return 0


def _named(marks: Marks) -> str:
    return f"instance = {marks.instance!r}" if marks.instance else "the empty instance name"


def _pod_networks() -> list[Subnet]:
    """Of all agents in our network namespace. Anybody may hold a name, so what is none is passed over."""
    start, found = f"@{_AGENT}{_PODS}", list[Subnet]()
    for line in _read("/proc/thread-self/net/unix").splitlines():
        words = line.split()
        if words[7:] and words[7].startswith(start):
            with suppress(ValueError):
                found.append(ip_network(words[7].removeprefix(start)))
    return found


def _holder(address: str) -> int:
    """The pid of who holds an abstract name in our network namespace, or 0 if it is not to be seen."""
    lines = _read("/proc/thread-self/net/unix").splitlines()
    inodes = [words[6] for words in map(str.split, lines) if words[7:] == [address]]
    if not inodes:
        return 0
    wanted = f"socket:[{inodes[0]}]"
    for name in os.listdir("/proc"):
        if name.isdigit() and wanted in _descriptors(f"/proc/{name}/fd"):
            return int(name)
    return 0


def _descriptors(directory: str) -> Iterator[str]:
    with suppress(OSError):  # it ended meanwhile, or is none of our business
        for name in os.listdir(directory):
            with suppress(OSError):
                yield os.readlink(f"{directory}/{name}")


def _in_vain(pid: int) -> bool:
    """A process of another user holds a name or a lock in vain; 0, who is not to be seen, does not."""
    return bool(pid) and _user(pid) not in (0, os.geteuid())


def _user(pid: int) -> int:
    """The effective user id, -1 if the process is gone."""
    lines = _read(f"/proc/{pid}/status").splitlines()
    return next((int(line.split()[2]) for line in lines if line.startswith("Uid:")), -1)


def _command(pid: int) -> str:
    return _read(f"/proc/{pid}/cmdline").replace("\0", " ").strip()[:MOST_SHOWN] or "just ended"


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
