"""What others undid, told by the steps that put it right: by its root, in words. Pure.

A device that was deleted took its addresses, routes and entries with it; that is one deed, not thousands.
"""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.culprits import Sign
from overlay.model import (
    Action,
    Bridge,
    FdbEntry,
    KernelObject,
    LinkAddress,
    Neighbour,
    Route,
    Ruleset,
    Step,
    Sysctl,
    Vxlan,
)
from overlay.netlink.route_extras import NO_WAY

GONE, EXTRA, SHAKEN = "gone", "extra", "shaken"
MOST_EACH = 10
"""More of one kind at once are told as one."""
_KINDS: dict[type, str] = {
    Route: "route",
    Neighbour: "neighbour",
    FdbEntry: "fdb entry",
    LinkAddress: "address",
    Sysctl: "sysctl",
    Ruleset: "nft table",
    Vxlan: "device",
    Bridge: "bridge",
}
_SAID = {"up": "was down", "arp": "had arp off", "odd": "had {}"}
"""Fields whose difference is said in words of their own."""
_PLURALS = {"fdb entry": "fdb entries", "address": "addresses"}
_DONE = {Action.ADD: "put back", Action.REPLACE: "set right", Action.DELETE: "taken away"}


@dataclass(frozen=True, slots=True)
class Undone:
    """One deed: ``item`` tells its kind; ``key`` and ``fate`` are those of the same deed done again."""

    item: KernelObject
    key: Hashable
    fate: str
    label: str
    change: str
    did: str
    with_it: int = 0

    def __str__(self) -> str:
        more = f", {_entries(self.with_it)} with it" if self.with_it else ""
        return f"{self.label} {self.change}{more}: {self.did}"


def summed(steps: Sequence[Step], signs: Mapping[Hashable, Sign]) -> list[Undone]:
    """The deeds behind ``steps``; ``signs`` are what events said of it, by key."""
    links = {step.object.name for step in steps if isinstance(step.object, Vxlan | Bridge)}
    shaken = {str(key[1]) for key in signs if isinstance(key, tuple) and key[0] == "link"} - links
    bare = {
        step.object.link
        for step in steps
        if isinstance(step.object, LinkAddress) and step.action is Action.ADD
    }
    hanging: dict[str, list[Step]] = {}
    alone: list[Step] = []
    for step in steps:
        name = _hangs_on(step.object, links | shaken, bare)
        if name and step.action is not Action.DELETE:
            hanging.setdefault(name, []).append(step)
        else:
            alone.append(step)
    deeds = [_deed(step, signs.get(step.object.key)) for step in alone]
    deeds = [_with(deed, hanging) for deed in deeds]
    deeds += [
        _shaken(name, hanging[name], signs[("link", name)])
        for name in sorted(shaken & hanging.keys())
    ]
    return _gathered(deeds)


def fate(was: KernelObject | None, wanted: KernelObject | None) -> str:
    """What became of an object, in a word by which the same deed is known again: gone, extra, or what is altered."""
    if was is None:
        return GONE
    if wanted is None or type(was) is not type(wanted):
        return EXTRA
    names = [field.name for field in dataclasses.fields(wanted)]
    return "+".join(name for name in names if getattr(was, name) != getattr(wanted, name))


def device(item: KernelObject) -> str:
    """The device that an object hangs on; empty if on none."""
    if isinstance(item, Sysctl):
        name = item.path.partition("/conf/")[2].rpartition("/")[0]
        return "" if name == "all" else name
    return str(getattr(item, "link", ""))


def many_of(item: KernelObject) -> Hashable:
    """Stands for all objects of a kind, where many are undone at once."""
    return ("many", type(item))


def label(item: KernelObject) -> str:
    """What an operator calls it."""
    match item:
        case Route():
            name = f"{item.dst} metric {item.metric}" if item.metric else str(item.dst)
        case Neighbour():
            name = f"{item.ip} dev {item.link}"
        case FdbEntry():
            name = f"{item.mac} dev {item.link}"
        case LinkAddress():
            name = str(item).removeprefix("address ")
        case Sysctl():
            name = item.path.replace("/", ".")
        case Ruleset():
            name = item.table
        case Vxlan() | Bridge():
            name = item.name
    return f"{kind(item)} {name}"


def kind(item: KernelObject) -> str:
    """Of what sort it is, in an operator's word."""
    return _KINDS[type(item)]


def _hangs_on(item: KernelObject, links: set[str], bare: set[str]) -> str:
    """The device whose loss, or whose address's loss, explains that this is gone; empty if none does."""
    name = device(item)
    return name if name in links or (name in bare and isinstance(item, Route | Neighbour)) else ""


def _deed(step: Step, sign: Sign | None) -> Undone:
    item, was = step.object, step.was
    if step.action is Action.DELETE:
        change = "was not ours to have"
    elif was is not None:
        change = _difference(was, item)
    else:
        change = (sign.seen if sign and sign.fate == GONE else "") or "was gone"
    did = "put back" if was is None else _DONE[step.action]
    wanted = None if step.action is Action.DELETE else item
    return Undone(item, item.key, fate(was, wanted), label(item), change, did)


def _shaken(link: str, steps: Sequence[Step], sign: Sign) -> Undone:
    """What hangs on a device was lost with a change of it; the device is as it was again, or will be after a pause."""
    known = sign.fate in (GONE, "up")
    change = f"{sign.seen or 'was changed'}{' and is as it was again' if known else ''}"
    change += f", but lost {_entries(len(steps))}"
    fate = sign.fate if known else SHAKEN
    return Undone(steps[0].object, ("link", link), fate, f"device {link}", change, "put back")


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


def _difference(was: KernelObject, item: KernelObject) -> str:
    if isinstance(item, Ruleset):
        return "was altered"
    if type(was) is not type(item):
        return f"was {was}"
    if isinstance(was, Route) and was.odd in NO_WAY.values():
        return f"was {was.odd}"
    if isinstance(was, Route):
        via = f" via {was.via}" if was.via else ""
        odd = f" with {was.odd}" if was.odd else ""
        source = f" from {was.source}" if was.source else ""
        return f"led{via} dev {was.link}{source}{odd} by protocol {was.protocol}"
    if isinstance(was, FdbEntry) and was.underlay.is_unspecified:
        return "led elsewhere than an address"  # to another port, VNI or device, or to a next hop object
    words = []
    for field in dataclasses.fields(item):
        theirs, ours = getattr(was, field.name), getattr(item, field.name)
        if theirs != ours:
            words.append(_SAID.get(field.name, f"had {field.name} {theirs}").format(theirs))
    return " and ".join(words) or "was altered"


def _with(deed: Undone, roots: Mapping[str, Sequence[Step]]) -> Undone:
    """A link speaks for all that hangs on it, else its first address does."""
    name = getattr(deed.item, "name", None) or device(deed.item)
    if deed.fate == EXTRA or not isinstance(deed.item, Vxlan | Bridge | LinkAddress):
        return deed  # nothing of ours has gone with what was taken away
    count = len(roots.get(name, ()))
    return replace(deed, with_it=count) if count else deed


def _gathered(deeds: list[Undone]) -> list[Undone]:
    """More than MOST_EACH of one kind and one fate become one."""
    groups: dict[tuple[type, str], list[Undone]] = {}
    for deed in deeds:
        groups.setdefault((type(deed.item), deed.did), []).append(deed)
    found: list[Undone] = []
    for (kind, _), group in groups.items():
        if len(group) <= MOST_EACH:
            found += group
            continue
        word = _KINDS[kind]
        first = min(group, key=lambda deed: deed.label)
        many = f"many {_PLURALS.get(word, word + 's')}"
        change = f"({len(group)}, such as {first.label}) {first.change.replace('was ', 'were ')}"
        found.append(replace(first, key=many_of(first.item), label=many, change=change))
    return found
