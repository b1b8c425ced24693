"""Walking the chains of a hook with one packet: what drops it for sure, what may. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.rulesets.listing import Base, Rule, Ruleset
from agent.rulesets.packet import NEVER, UNKNOWN, Packet, is_in, matches, value_of
from overlay.family import Family

MOST_JUMPS = 16
"""NFT_JUMP_STACK_SIZE, linux/netfilter/nf_tables.h."""
MOST_STEPS = 200_000
_DROPS = {"drop": "drops", "reject": "rejects"}
_XT_DROPS = {"DROP": "drops", "REJECT": "rejects"}


@dataclass(frozen=True, slots=True)
class Drop:
    """A rule, or a chain's policy, that ends the packet.

    ``effect`` is "drops" or "rejects"; not ``sure`` where a match cannot be decided from a listing. ``packets`` is its
    counter, None where it has none. ``mend`` is the command that lets the packet pass. ``narrow``: it is the rule's own
    match that cannot be decided, so that it is meant for some packets only, such as those above a rate.
    """

    where: str
    rule: str
    effect: str
    sure: bool
    packets: int | None
    mend: str
    look: str
    narrow: bool = False

    def __str__(self) -> str:
        counted = "" if self.packets is None else f" ({self.packets} packets so far)"
        verb = self.effect if self.sure else f"may be what {self.effect}"
        return f"{self.where}: {self.rule}{counted} {verb} it"


def judge(ruleset: Ruleset, packet: Packet) -> list[Drop]:
    """What drops the packet on its hook, in the order it is met; ends with the first that is sure. Never raises."""
    found: list[Drop] = []
    for base in ruleset.on(packet.hook, packet.families):
        if packet.layer == "netdev" and not {packet.iif, packet.oif} & set(base.devices):
            continue  # one without a device hangs nowhere: its device is gone
        found += _Walk(ruleset, packet, base).drops()
        if found and found[-1].sure:
            break
    return found


class _Walk:
    """One base chain. ``doubt``: an earlier rule may have accepted the packet; ``narrow``: it may not come here."""

    def __init__(self, ruleset: Ruleset, packet: Packet, base: Base) -> None:
        self._ruleset, self._packet, self._base = ruleset, packet, base
        self._doubt = self._narrow = False
        self._steps = 0
        self._found: list[Drop] = []

    def drops(self) -> list[Drop]:
        """All that may, up to the first that surely does."""
        ended = self._chain(self._base.name, 0)
        if ended != "end" and self._base.policy == "drop":
            self._found.append(self._policy())
        return self._found

    def _chain(self, name: str, depth: int) -> str:
        """ "end": accepted or dropped for sure; "next": fell off its end or returned."""
        if depth > MOST_JUMPS:
            self._doubt = True
            return "next"
        place = (self._base.family, self._base.table, name)
        for rule in self._ruleset.rules.get(place, ()):
            self._steps += 1
            if self._steps > MOST_STEPS:
                self._doubt = True
                return "next"
            outcome = self._rule(rule, name, depth)
            if outcome == "return":
                return "next"
            if outcome == "end":
                return "end"
        return "next"

    def _rule(self, rule: Rule, chain: str, depth: int) -> str:
        sure = True
        for statement in rule.expr:
            if not isinstance(statement, dict):
                sure = False
                continue
            if "vmap" in statement:
                verdicts = self._mapped(statement["vmap"])
                if verdicts is None:
                    return self._unsure(statement["vmap"], rule, chain)
                if not verdicts:
                    return "next"
                return self._verdict(verdicts, rule, chain, depth, sure)
            told = matches(self._packet, statement, rule.text, self._elements)
            if told is False:
                return "next"
            sure = sure and told is True
            if _verdict_in(statement):
                return self._verdict(statement, rule, chain, depth, sure)
        return "next"

    def _verdict(
        self, statement: Mapping[str, Any], rule: Rule, chain: str, depth: int, sure: bool
    ) -> str:
        if effect := _effect(statement):
            surely = sure and not self._doubt
            self._found.append(self._drop(rule, chain, effect, surely, narrow=not sure))
            return "end" if sure else "next"
        if "accept" in statement or _xt_target(statement) == "ACCEPT":
            self._doubt = self._doubt or not sure
            return "end" if sure else "next"
        if "return" in statement:
            self._doubt = self._doubt or not sure
            return "return" if sure else "next"
        for jump in ("jump", "goto"):
            if isinstance(statement.get(jump), dict):
                return self._jump(statement[jump], jump, depth, sure)
        self._doubt = True  # a target that we do not know
        return "next"

    def _jump(self, body: Mapping[str, Any], kind: str, depth: int, sure: bool) -> str:
        narrow = self._narrow
        self._doubt, self._narrow = self._doubt or not sure, narrow or not sure
        outcome = self._chain(str(body.get("target")), depth + 1)
        self._narrow = narrow
        if sure:
            return "return" if kind == "goto" and outcome == "next" else outcome
        return "next"

    def _mapped(self, body: object) -> Mapping[str, Any] | None:
        """The verdict of a verdict map: empty where no element matches, None where that cannot be told."""
        if not isinstance(body, dict):
            return None
        value = value_of(self._packet, body.get("key"))
        data = body.get("data")
        elements = data.get("set") if isinstance(data, dict) else None
        if isinstance(data, str) and data.startswith("@"):
            elements = self._elements(data[1:])
        if value is NEVER:
            return {}
        if value is UNKNOWN or not isinstance(elements, list):
            return None
        for element in elements:
            if not isinstance(element, list) or len(element) != 2:
                return None
            told = is_in(value, element[0], self._elements, self._packet)
            if told is None:
                return None
            if told:
                return element[1] if isinstance(element[1], dict) else None
        return {}

    def _unsure(self, body: object, rule: Rule, chain: str) -> str:
        """A verdict map that cannot be looked into: it may drop if any of its elements does."""
        data = body.get("data") if isinstance(body, dict) else None
        elements = data.get("set") if isinstance(data, dict) else None
        if isinstance(data, str) and data.startswith("@"):
            elements = self._elements(data[1:])
        verdicts = [it[1] for it in elements or [] if isinstance(it, list) and len(it) == 2]
        effects = {_effect(it) for it in verdicts if isinstance(it, dict)} - {""}
        self._found += [
            self._drop(rule, chain, effect, False, narrow=True) for effect in sorted(effects)
        ]
        self._doubt = True
        return "next"

    def _elements(self, name: str) -> Sequence[Any] | None:
        return self._ruleset.sets.get((self._base.family, self._base.table, name))

    def _drop(self, rule: Rule, chain: str, effect: str, sure: bool, *, narrow: bool) -> Drop:
        base = self._base
        counters = (it["counter"] for it in rule.expr if isinstance(it, dict) and "counter" in it)
        counter = next((it for it in counters if isinstance(it, dict)), {})
        packets = counter.get("packets")
        if base.legacy:
            mend = f"{base.legacy} -t {base.legacy_table} -D {chain} {rule.handle}"
            look = f"{base.legacy} -t {base.legacy_table} -vnL {chain} --line-numbers"
        else:
            mend = f"nft delete rule {base.family} {base.table} {chain} handle {rule.handle}"
            look = f"nft -a list chain {base.family} {base.table} {chain}"
        where = base.where if chain == base.name else f"{base.where} > {chain}"
        text = f'rule "{rule.text or f"handle {rule.handle}"}"'
        count = packets if isinstance(packets, int) else None
        return Drop(where, text, effect, sure, count, mend, look, narrow or self._narrow)

    def _policy(self) -> Drop:
        base = self._base
        if base.legacy:
            look = f"{base.legacy} -t {base.legacy_table} -vnL {base.name}"
        else:
            look = f"nft -a list chain {base.family} {base.table} {base.name}"
        mend = "; ".join(_accepting(base, self._packet))
        return Drop(base.where, "policy drop", "drops", not self._doubt, None, mend, look)


def _accepting(base: Base, packet: Packet) -> Iterator[str]:
    """Rules that let such packets pass, at the chain's beginning."""
    word = "ip" if packet.family is Family.V4 else "ip6"
    addresses = [
        (side, packet.network or str(address))
        for side, address in (("saddr", packet.saddr), ("daddr", packet.daddr))
        if address is not None
    ]
    if packet.dport is not None and not packet.network:
        if base.legacy:
            insert = f"{base.legacy} -t {base.legacy_table} -I {base.name}"
            yield f"{insert} -p {packet.proto} --dport {packet.dport} -j ACCEPT"
        else:
            where = f"{base.family} {base.table} {base.name}"
            yield f"nft insert rule {where} {packet.proto} dport {packet.dport} accept"
        return
    for side, address in addresses:
        if base.legacy:
            flag = "-s" if side == "saddr" else "-d"
            yield f"{base.legacy} -t {base.legacy_table} -I {base.name} {flag} {address} -j ACCEPT"
        else:
            where = f"{base.family} {base.table} {base.name}"
            yield f"nft insert rule {where} {word} {side} {address} accept"


def _verdict_in(statement: Mapping[str, Any]) -> bool:
    known = ("accept", "drop", "reject", "return", "jump", "goto", "queue")
    return any(word in statement for word in known) or bool(_xt_target(statement))


def _effect(statement: Mapping[str, Any]) -> str:
    for word, effect in _DROPS.items():
        if word in statement:
            return effect
    return _XT_DROPS.get(_xt_target(statement), "")


def _xt_target(statement: Mapping[str, Any]) -> str:
    body = statement.get("xt")
    if isinstance(body, dict) and body.get("type") == "target":
        return str(body.get("name"))
    return ""
