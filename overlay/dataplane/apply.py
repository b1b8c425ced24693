"""Reading what is ours and carrying out steps, through the two kernel doors and /proc/sys.

Peers' entries of a run of steps go to the kernel in one batch; links, addresses, switches and tables one
by one, because each changes what the next may lean on. A step that is already true is success.
"""

from collections.abc import Hashable, Mapping
from itertools import groupby, islice
from pathlib import Path

from overlay.dataplane import former
from overlay.dataplane.batches import Batches
from overlay.dataplane.entries import Entries
from overlay.dataplane.links import GONE, LinkDoor
from overlay.dataplane.read import beside, concerned, convert
from overlay.dataplane.ruleset import Rulesets
from overlay.dataplane.switches import Switches
from overlay.errors import KernelRefused, OverlayError
from overlay.marks import ONLY, Marks
from overlay.model import (
    RTPROT_KERNEL,
    Action,
    Bridge,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Ruleset,
    Step,
    Subnet,
    Sysctl,
    Vxlan,
)
from overlay.netlink import Netlink, messages
from overlay.netlink.parse import Record

MOST_A_BATCH = 2048
"""Steps whose messages are held at a time: those of thousands of peers are megabytes."""
_BATCHED = (FdbEntry, Neighbour, Route)


class Dataplane:
    """The kernel of the network namespace it was made in. Not thread-safe."""

    def __init__(
        self, run_dir: Path, *, sysctls: Path = Path("/proc/sys"), marks: Marks = ONLY
    ) -> None:
        self._netlink = Netlink()
        self._rulesets = Rulesets(run_dir / "nft.json")
        self._switches = Switches(sysctls, run_dir / former.NAME)
        self.turned = self._switches.turned
        self._links = LinkDoor(self._netlink, marks)
        self._want: Mapping[Hashable, KernelObject] = {}
        self._link_locals: frozenset[KernelObject] = frozenset()
        self._own_subnets: frozenset[Subnet] = frozenset()
        self._entries = Entries(self._netlink)
        self._batches = Batches(self._netlink, self._links, self._entries)

    def close(self) -> None:
        """Close the doors; the kernel keeps everything."""
        self._netlink.close()
        self._rulesets.close()
        self._switches.close()

    @property
    def port(self) -> int:
        """The netlink port that our changes come from."""
        return self._netlink.port

    @property
    def changes(self) -> int:
        """State-changing operations accepted since this object was made."""
        return self._netlink.changes + self._rulesets.changes + self._switches.changes

    def read(self, want: Mapping[Hashable, KernelObject]) -> dict[Hashable, KernelObject]:
        """Everything that bears our mark; of switches and tables those that ``want`` names.

        Raises:
            KernelBusy: the kernel's lists changed while they were read.
        """
        self._want = want
        node = [item for item in want.values() if not isinstance(item, _BATCHED)]
        self._links.read({item.name: item for item in node if isinstance(item, Vxlan | Bridge)})
        self._link_locals = frozenset(item for item in node if _is_link_local(item))
        self._own_subnets = frozenset(
            item.address.network
            for item in node
            if isinstance(item, LinkAddress) and not _is_link_local(item)
        )
        found: dict[Hashable, KernelObject] = {}
        for key, item in self._entries.read(self._links.seen, want, self.observe):
            if key in found:  # the very object that is wanted may stand for two routes
                beside(item, found, want)
            else:
                found[key] = item
        self._switches.watch(item for item in node if isinstance(item, Sysctl))
        for wanted in node:
            seen = self.look(wanted)
            if seen is not None:
                found[seen.key] = seen
        return found

    def observe(self, record: Record) -> KernelObject | None:
        """What a record is about, if it is ours, by the links as last read.

        Of fe80 addresses, and of the routes that it makes for addresses, ours are only those that are wanted: the
        kernel makes some by itself.
        """
        item = convert(record, self._links.seen)
        if isinstance(item, Route):
            kernels = item.protocol == RTPROT_KERNEL and item.dst not in self._own_subnets
            return None if kernels else item
        foreign = item is not None and _is_link_local(item) and item not in self._link_locals
        return None if foreign else item

    def concerned(self, record: Record) -> Hashable | None:
        """The key of what an event may be about that is not, or no more, ours."""
        return concerned(record, self._links.seen)

    def look(self, wanted: KernelObject) -> KernelObject | None:
        """One table or switch as it is now; None if it is absent (or neither)."""
        if isinstance(wanted, Ruleset):
            return self._rulesets.read(wanted)
        return self._switches.look(wanted) if isinstance(wanted, Sysctl) else None

    def link_name(self, index: int) -> str:
        """A link's name by the links as last read; empty if it was not there then."""
        link = self._links.seen.by_index.get(index)
        return link.name if link else ""

    def apply(self, steps: list[Step]) -> list[OverlayError | None]:
        """Carry out steps in order; one result per step, failures stop nothing."""
        results: list[OverlayError | None] = []
        for batched, run in groupby(steps, key=lambda step: isinstance(step.object, _BATCHED)):
            while part := list(islice(run, MOST_A_BATCH)):
                if batched:
                    results += self._batches.carry_out(part, self._want)
                else:
                    results += [self._one(step) for step in part]
        return results

    # --- applying ----------------------------------------------------------------------------------------

    def _one(self, step: Step) -> OverlayError | None:
        try:
            match step.object:
                case Sysctl():
                    self._switches.set(step.object)
                case Ruleset():
                    self._rulesets.write(step.object, delete=step.action is Action.DELETE)
                case LinkAddress():
                    self._set_address(step)
                case Vxlan() | Bridge():
                    self._links.carry_out(step)
        except OverlayError as error:
            return error
        return None

    def _set_address(self, step: Step) -> None:
        item = step.object
        assert isinstance(item, LinkAddress)
        if step.action is Action.DELETE and not self._links.exists(item):
            return  # it went with its device
        index = self._links.index(item.link)
        if step.action is Action.DELETE:
            self._unless_gone(messages.address_delete(index, item.address, item.peer))
            self._put_back_beside(item.link, index)
        else:
            self._netlink.request(messages.address_add(index, item.address))

    def _put_back_beside(self, link: str, index: int) -> None:
        """IPv4's others go with the first of their subnet (__inet_del_ifa); and to add one that is there, but with a
        peer, had no effect, so it has gone just now.
        """
        for item in self._want.values():
            if isinstance(item, LinkAddress) and item.link == link:
                self._netlink.request(messages.address_add(index, item.address))

    def _unless_gone(self, message: bytes) -> None:
        try:
            self._netlink.request(message)
        except KernelRefused as error:
            if error.errno not in GONE:
                raise


def _is_link_local(item: KernelObject) -> bool:
    return isinstance(item, LinkAddress) and item.address.ip.is_link_local
