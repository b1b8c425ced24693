"""A packet is walked through listed rules: what drops it is named, what cannot be told is said to be so."""

import json
import re
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rulesets import Packet, judge, read

HERE, THERE = ip_address("10.5.1.2"), ip_address("10.5.2.3")
PACKET = Packet("forward", "overlay0", "overlay.1", HERE, THERE)
DROP: dict[str, Any] = {"drop": None}
ACCEPT: dict[str, Any] = {"accept": None}


def meta(key: str, right: object, op: str = "==") -> dict[str, Any]:
    """A match of metadata."""
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": right}}


def field(protocol: str, name: str, right: object, op: str = "==") -> dict[str, Any]:
    """A match of a header's field."""
    left = {"payload": {"protocol": protocol, "field": name}}
    return {"match": {"op": op, "left": left, "right": right}}


def state(*names: str) -> dict[str, Any]:
    """A match of conntrack's state."""
    return {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": list(names)}}


def listing(
    *rules: list[dict[str, Any]], policy: str = "accept", more: list[dict[str, Any]] | None = None
) -> tuple[str, str]:
    """A table with one chain on the forward hook."""
    chain = {"family": "inet", "table": "fw", "name": "fwd", "handle": 1}
    base = {"chain": {**chain, "type": "filter", "hook": "forward", "prio": 0, "policy": policy}}
    items = [
        {"rule": {"family": "inet", "table": "fw", "chain": "fwd", "handle": at, "expr": rule}}
        for at, rule in enumerate(rules, 10)
    ]
    text = "table inet fw { # handle 1\n\tchain fwd { # handle 1\n"
    text += "".join(f"\t\tthe words of {at} # handle {at}\n" for at, _ in enumerate(rules, 10))
    return json.dumps({"nftables": [base, *(more or []), *items]}), text + "\t}\n}\n"


def found(*rules: list[dict[str, Any]], packet: Packet = PACKET, **how: Any) -> list[str]:  # noqa: ANN401
    """What drops it: "sure" or "may", and the handle of the rule or "policy"."""
    drops = judge(read([listing(*rules, **how)]), packet)
    return [
        f"{'sure' if it.sure else 'may'} {it.rule.rpartition(' ')[2].rstrip(chr(34))}"
        for it in drops
    ]


@pytest.mark.parametrize(
    "match",
    [
        meta("iifname", "overlay0"),
        meta("iifname", "over*"),
        meta("oifname", "eth0", "!="),
        meta("oifname", {"set": ["eth0", "overlay.1"]}),
        meta("l4proto", "icmp"),
        meta("l4proto", {"set": ["tcp", "icmp"]}),
        field("ip", "saddr", "10.5.1.2"),
        field("ip", "daddr", {"prefix": {"addr": "10.5.0.0", "len": 16}}),
        field("ip", "daddr", {"range": ["10.5.2.1", "10.5.2.9"]}),
        field("ip", "saddr", "@peers"),
        field("icmp", "type", "echo-request"),
        state("new", "invalid"),
        {"xt": {"type": "match", "name": "comment"}},
    ],
)
def test_a_rule_that_matches_is_named_with_the_command_that_removes_it(
    match: dict[str, Any],
) -> None:
    """By interface, address, protocol, state, sets."""
    prefix = {"prefix": {"addr": "10.5.1.0", "len": 24}}
    peers = [{"set": {"family": "inet", "table": "fw", "name": "peers", "elem": [prefix]}}]
    drops = judge(read([listing([match, DROP], more=peers)]), PACKET)
    assert [(it.sure, it.mend) for it in drops] == [(True, "nft delete rule inet fw fwd handle 10")]
    assert str(drops[0]) == 'table inet fw chain fwd: rule "the words of 10" drops it'


@pytest.mark.parametrize(
    "match",
    [
        meta("iifname", "eth0"),
        meta("iifname", "overlay0", "!="),
        meta("mark", 1),
        field("ip", "saddr", "10.5.1.3"),
        field("ip6", "saddr", "fd00::1"),
        field("udp", "dport", 8472),
        state("established", "related"),
    ],
)
def test_a_rule_for_other_packets_is_passed_by(match: dict[str, Any]) -> None:
    """Nothing is said of it."""
    assert found([match, DROP]) == []


def test_what_cannot_be_told_is_said_to_be_so_and_counters_are_shown() -> None:
    """An unknown match, a rate."""
    physdev = {"xt": {"type": "match", "name": "physdev"}}
    counter = {"counter": {"packets": 12, "bytes": 900}}
    assert found([physdev, counter, DROP]) == ["may 10"]
    drops = judge(read([listing([physdev, counter, DROP])]), PACKET)
    assert "(12 packets so far) may be what drops it" in str(drops[0])
    assert found([{"limit": {"rate": 5, "per": "second"}}, ACCEPT], policy="drop") == ["may drop"]


def test_a_policy_of_drop_counts_unless_a_rule_accepts_and_is_mended_by_such_rules() -> None:
    """For the whole pod network where it is known, for the port where it is a tunnel's."""
    assert found(policy="drop") == ["sure drop"]
    assert found([meta("iifname", "overlay0"), ACCEPT], policy="drop") == []
    assert found([meta("iifname", "eth0"), ACCEPT], policy="drop") == ["sure drop"]
    whole = judge(read([listing(policy="drop")]), replace(PACKET, network="10.5.0.0/16"))
    assert whole[0].mend == (
        "nft insert rule inet fw fwd ip saddr 10.5.0.0/16 accept; "
        "nft insert rule inet fw fwd ip daddr 10.5.0.0/16 accept"
    )
    tunnel = replace(PACKET, proto="udp", dport=8472)
    assert judge(read([listing(policy="drop")]), tunnel)[0].mend == (
        "nft insert rule inet fw fwd udp dport 8472 accept"
    )


def test_a_rule_that_is_for_some_packets_only_is_told_from_one_that_comes_after_a_doubt() -> None:
    """Who deletes a limit because it "may be what drops it" has lost the limit."""
    limit = {"limit": {"rate": 9, "per": "second", "inv": True}}
    narrow, wide = judge(read([listing([limit, DROP], [limit, ACCEPT], policy="drop")]), PACKET)
    assert [(it.sure, it.narrow) for it in (narrow, wide)] == [(False, True), (False, False)]
    sub = {"chain": {"family": "inet", "table": "fw", "name": "sub"}}
    rule = {"family": "inet", "table": "fw", "chain": "sub", "handle": 5}
    inside: list[dict[str, Any]] = [sub, {"rule": {**rule, "expr": [DROP]}}]
    told = judge(read([listing([limit, {"jump": {"target": "sub"}}], more=inside)]), PACKET)
    assert [it.narrow for it in told] == [True]


def test_what_another_protocol_has_never_holds_a_packet_back() -> None:
    """TCP's flags, also masked, and of a packet that has none even by "not"."""
    flags = {"payload": {"protocol": "tcp", "field": "flags"}}
    masked = {"&": [flags, {"|": ["fin", "syn", "rst", "ack"]}]}
    odd = {"match": {"op": "!=", "left": masked, "right": "syn"}}
    assert found([odd, DROP], packet=replace(PACKET, proto="udp", dport=8472)) == []
    assert found([odd, DROP], packet=replace(PACKET, proto="tcp", dport=80)) == ["may 10"]


def test_ports_and_jumps_and_verdict_maps_are_followed() -> None:
    """--port is what a rule may be about; a chain that returns goes on in its caller."""
    web = replace(PACKET, proto="tcp", dport=80)
    ports = field("tcp", "dport", {"set": [22, {"range": [80, 90]}]})
    assert found([ports, {"reject": {"type": "tcp reset"}}], packet=web) == ["sure 10"]
    assert found([ports, DROP]) == []
    sub = {"chain": {"family": "inet", "table": "fw", "name": "sub"}}
    rule = {"family": "inet", "table": "fw", "chain": "sub", "handle": 5}
    inside = [sub, {"rule": {**rule, "expr": [meta("iifname", "overlay0"), DROP]}}]
    assert found([{"jump": {"target": "sub"}}], more=inside) == ["sure 5"]
    leaving = [sub, {"rule": {**rule, "expr": [{"return": None}]}}]
    assert found([{"jump": {"target": "sub"}}, [DROP][0]], more=leaving) == []
    assert found([{"jump": {"target": "sub"}}], [DROP], more=leaving) == ["sure 11"]
    key = {"meta": {"key": "iifname"}}
    vmap = {"vmap": {"key": key, "data": {"set": [["eth0", ACCEPT], ["overlay0", DROP]]}}}
    assert found([vmap]) == ["sure 10"]


def test_a_later_chain_is_not_spared_by_an_earlier_one_that_accepts() -> None:
    """Each base chain of a hook has to let it pass."""
    first = listing([ACCEPT])
    structure, text = listing([DROP])
    second = structure.replace('"fw"', '"fw2"'), text
    assert [it.sure for it in judge(read([first, second]), PACKET)] == [True]


KEYS = re.findall(
    r"\S+",
    "match op left right meta key payload protocol field set range prefix addr len elem val concat vmap data jump "
    "target drop accept xt type name & counter packets ct limit reject return goto",
)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.just("10.5.1.2"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.lists(st.lists(ANY_JSON, max_size=3), max_size=4), st.text(max_size=40))
def test_whatever_is_listed_nothing_is_raised(rules: list[Any], text: str) -> None:
    """libnftables' JSON differs between versions, and names are others' to choose."""
    structure, _ = listing(*rules)
    judge(read([(structure, text), (text, text)]), PACKET)


def test_chains_of_a_device_are_of_that_device_alone() -> None:
    """nftables 1.0.6 names devices in the text only; a chain whose device is gone hangs nowhere."""
    names = {
        "one": 'device "eth0"',
        "two": 'devices = { "eth0", eth1 }',
        "none": "",
        "eth9": "device eth9",
    }
    met = []
    for name, device in names.items():
        chain = {"family": "netdev", "table": "fw", "name": "c", "handle": 1}
        base = {**chain, "type": "filter", "hook": "ingress", "prio": 0, "policy": "drop"}
        text = (
            "table netdev fw { # handle 1\n\tchain c { # handle 1\n"
            f"\t\ttype filter hook ingress {device} priority filter; policy drop;\n\t}}\n}}\n"
        )
        rules = read([(json.dumps({"nftables": [{"chain": base}]}), text)])
        packet = Packet("ingress", iif="eth0", saddr=THERE, daddr=HERE, layer="netdev")
        met += [name] if judge(rules, packet) else []
        met += [f"{name} by eth1"] if judge(rules, replace(packet, iif="eth1")) else []
    assert met == ["one", "two", "two by eth1"]
