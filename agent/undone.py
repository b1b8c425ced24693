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
_PLURALS = {"fdb entry": "fdb entries", "address": "addresses"}
_DONE = {Action.ADD: "put back", Action.REPLACE: "set right", Action.DELETE: "taken away"}


@dataclass(frozen=True, slots=True)
class Undone:
    """One deed: ``item`` as it ought to be, how many others went with it, or (``many``) like it."""

    item: KernelObject
    label: str
    change: str
    did: str
    with_it: int = 0
    many: bool = False

    @property
    def key(self) -> Hashable:
        """What the same deed would have again."""
        return many_of(self.item) if self.many else self.item.key

    def __str__(self) -> str:
        more = f", {self.with_it} entries with it" if self.with_it else ""
        return f"{self.label} {self.change}{more}: {self.did}"


def summed(steps: Sequence[Step], signs: Mapping[Hashable, Sign]) -> list[Undone]:
    """The deeds behind ``steps``; ``signs`` are what events said of it, by key."""
    roots: dict[str, list[Step]] = {}
    links = {step.object.name for step in steps if isinstance(step.object, Vxlan | Bridge)}
    bare = {
        step.object.link
        for step in steps
        if isinstance(step.object, LinkAddress) and step.action is Action.ADD
    }
    alone: list[Step] = []
    for step in steps:
        name = _hangs_on(step.object, links, bare)
        if name and step.action is not Action.DELETE:
            roots.setdefault(name, []).append(step)
        else:
            alone.append(step)
    told = [_deed(step, signs.get(step.object.key)) for step in alone]
    counted = [_with(deed, roots) for deed in told]
    return _gathered(counted)


def label(item: KernelObject) -> str:
    """What an operator calls it."""
    kind = _KINDS[type(item)]
    match item:
        case Route():
            name = str(item.dst)
        case Neighbour():
            name = f"{item.ip} dev {item.link}"
        case FdbEntry():
            name = f"{item.mac} dev {item.link}"
        case LinkAddress():
            name = f"{item.address} dev {item.link}"
        case Sysctl():
            name = item.path.replace("/", ".")
        case Ruleset():
            name = item.table
        case Vxlan() | Bridge():
            name = item.name
    return f"{kind} {name}"


def many_of(item: KernelObject) -> Hashable:
    """Stands for all objects of a kind, where many are undone at once."""
    return ("many", type(item))


def _hangs_on(item: KernelObject, links: set[str], bare: set[str]) -> str:
    """The device whose loss, or whose address's loss, explains that this is gone; empty if none does."""
    if isinstance(item, Sysctl):
        return next((name for name in links if f"/conf/{name}/" in item.path), "")
    name: str = getattr(item, "link", "")
    if name in links or (name in bare and isinstance(item, Route)):
        return name
    return ""


def _deed(step: Step, sign: Sign | None) -> Undone:
    item, was = step.object, step.was
    if step.action is Action.DELETE:
        change = "was not ours to have"
    elif was is not None:
        change = _difference(was, item)
    else:
        change = (sign.seen if sign else "") or "was gone"
    return Undone(item, label(item), change, "put back" if was is None else _DONE[step.action])


def _difference(was: KernelObject, item: KernelObject) -> str:
    if isinstance(item, Ruleset):
        return "was altered"
    if type(was) is not type(item):
        return f"was {was}"
    words = []
    for field in dataclasses.fields(item):
        theirs, ours = getattr(was, field.name), getattr(item, field.name)
        if theirs != ours:
            words.append("was down" if field.name == "up" else f"had {field.name} {theirs}")
    return " and ".join(words) or "was altered"


def _with(deed: Undone, roots: Mapping[str, Sequence[Step]]) -> Undone:
    """A link speaks for all that hangs on it, else its first address does."""
    name = getattr(deed.item, "name", None) or (
        deed.item.link if isinstance(deed.item, LinkAddress) else ""
    )
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
        many = f"{len(group)} {_PLURALS.get(word, word + 's')}, the first {group[0].label},"
        first = group[0]
        change = first.change.replace("was ", "were ")
        found.append(replace(first, label=many, change=change, many=True))
    return found
