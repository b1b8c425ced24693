"""What libnftables lists, as chains and rules: structure from its JSON, the words of each rule from its text. Pure.

Both are needed: the JSON says of an iptables-nft match only its name, the text says what it means; and people know
a rule by its text.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

MOST_TABLES = 256
_TABLE = re.compile(r"table (\S+) (\S+) \{")
_COUNTER = re.compile(r" ?counter packets \d+ bytes \d+")
_CHAIN = re.compile(r"\s+chain (\S+) \{")
_DEVICES = re.compile(r'\s+type \S+ hook \S+ devices? (?:= )?((?:"[^"]*"|[^"\s])[^;]*?) priority ')
_NAME = re.compile(r'"([^"]+)"|([^\s{},="]+)')
_RULE = re.compile(r"\s+(\S.*) # handle (\d+)$")


@dataclass(frozen=True, slots=True)
class Rule:
    """``expr`` is libnftables' list of statements, ``text`` what `nft list` shows."""

    handle: int
    expr: tuple[Any, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Base:
    """A chain that hangs on a hook. ``legacy`` is the iptables program where nft does not know of it."""

    family: str
    table: str
    name: str
    hook: str
    priority: int
    policy: str
    devices: tuple[str, ...] = ()
    legacy: str = ""

    @property
    def where(self) -> str:
        """As people name it."""
        if self.legacy:
            return f"{self.legacy} -t {self.legacy_table} chain {self.name}"
        return f"table {self.family} {self.table} chain {self.name}"

    @property
    def legacy_table(self) -> str:
        """As iptables-legacy names it."""
        return self.table.partition(":")[2]


@dataclass(slots=True)
class Ruleset:
    """All tables that were listed; chains and sets are found by (family, table, name)."""

    bases: list[Base] = field(default_factory=list)
    rules: dict[tuple[str, str, str], list[Rule]] = field(default_factory=dict)
    sets: dict[tuple[str, str, str], list[Any] | None] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)
    """What could not be understood, in words."""

    def on(self, hook: str, families: Iterable[str]) -> list[Base]:
        """The base chains of a hook in the order in which a packet meets them."""
        wanted = [base for base in self.bases if base.hook == hook and base.family in families]
        return sorted(wanted, key=lambda base: base.priority)


def read(listings: Iterable[tuple[str, str]]) -> Ruleset:
    """From (JSON, text with handles) of each table, as overlay.nft.Nft.listing gives them. Never raises."""
    found = Ruleset()
    for count, (structure, text) in enumerate(listings):
        if count == MOST_TABLES:
            found.unread.append(f"more than {MOST_TABLES} tables")
            break
        texts = dict(_texts(text))
        try:
            items = msgspec.json.decode(structure, type=dict[str, list[dict[str, Any]]])
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            found.unread.append(f"a table's listing: {error}")
            continue
        devices = dict(_devices(text))
        for item in items.get("nftables", []):
            for kind, body in item.items():
                if isinstance(body, dict):
                    _take(found, kind, body, texts, devices)
    return found


def _take(
    found: Ruleset,
    kind: str,
    body: Mapping[str, Any],
    texts: Mapping[tuple[str, int], str],
    devices: Mapping[tuple[str, str], tuple[str, ...]],
) -> None:
    family, table = str(body.get("family", "")), str(body.get("table", ""))
    place = (family, table, str(body.get("name", "")))
    if kind == "chain":
        found.rules.setdefault(place, [])
        if "hook" in body:
            found.bases.append(_base(place, body, devices.get((f"{family} {table}", place[2]), ())))
    elif kind in ("set", "map"):
        elements = body.get("elem", [])
        found.sets[place] = elements if isinstance(elements, list) else None
    elif kind == "rule":
        expr, handle = body.get("expr"), body.get("handle")
        number = handle if isinstance(handle, int) else 0
        rule = Rule(
            number,
            tuple(expr) if isinstance(expr, list) else (),
            str(body.get("words", "")) or texts.get((f"{family} {table}", number), ""),
        )
        found.rules.setdefault((family, table, str(body.get("chain", ""))), []).append(rule)


def _base(place: tuple[str, str, str], body: Mapping[str, Any], devices: tuple[str, ...]) -> Base:
    priority, device = body.get("prio"), body.get("dev", list(devices))
    return Base(
        *place,
        hook=str(body["hook"]),
        priority=priority if isinstance(priority, int) else 0,
        policy=str(body.get("policy", "accept")),
        devices=tuple(map(str, device)) if isinstance(device, list) else (str(device),),
        legacy=str(body.get("legacy", "")),
    )


def _devices(text: str) -> Iterator[tuple[tuple[str, str], tuple[str, ...]]]:
    """(table, chain) → the devices it hangs on, which nftables before 1.0.7 leaves out of its JSON."""
    table = chain = ""
    for line in text.splitlines():
        if begins := _TABLE.match(line):
            table = f"{begins[1]} {begins[2]}"
        elif begins := _CHAIN.match(line):
            chain = begins[1]
        elif hung := _DEVICES.match(line):
            yield (table, chain), tuple(a or b for a, b in _NAME.findall(hung[1]))


def _texts(text: str) -> Iterator[tuple[tuple[str, int], str]]:
    """(table, handle) → the rule's words; chains and sets end with "{ # handle" and are no rules."""
    table = ""
    for line in text.splitlines():
        if begins := _TABLE.match(line):
            table = f"{begins[1]} {begins[2]}"
        elif (rule := _RULE.match(line)) and not rule[1].endswith("{"):
            yield (table, int(rule[2])), " ".join(_COUNTER.sub("", rule[1]).split())
