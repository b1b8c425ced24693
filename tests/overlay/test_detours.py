"""Policy rules that take pods' packets away, told from all the others that a host may have."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from overlay.dataplane.detours import detours
from overlay.netlink import RouteInfo
from overlay.netlink.policy import PolicyRule
from tests.examples import NETWORK

(POOL,) = NETWORK.pools
NET, PART, ELSEWHERE = POOL.network, ip_network("10.5.7.0/24"), ip_network("192.0.2.0/24")
RULE = PolicyRule(100, 7, "", None, None, "")
MAIN = PolicyRule(32766, 254, "", None, None, "")
EVERYTHING = ip_network("0.0.0.0/0")


def route(dst: str, kind: int = 1) -> RouteInfo:
    """One of table 7."""
    return RouteInfo(ip_network(dst), None, 3, 7, 4, kind, 0, False, None)


def found(rule: PolicyRule, *routes: RouteInfo) -> bool:
    """Whether a rule is a detour, before the main table is looked at."""
    tables = {7: routes or (route("0.0.0.0/0"),)}
    return bool(list(detours(POOL, [MAIN, rule], lambda it: tables.get(it, ()), {"overlay0"})))


@pytest.mark.parametrize(
    "rule",
    [
        RULE,
        replace(RULE, dst=NET),
        replace(RULE, dst=PART),
        replace(RULE, src=EVERYTHING),
        replace(RULE, iif="overlay0"),
        replace(RULE, mark=0xCA6C, inverted=True),
        replace(RULE, dst=ELSEWHERE, inverted=True),
        replace(RULE, dst=PART, inverted=True),
        replace(RULE, table=0, action="prohibit"),
    ],
)
def test_a_rule_for_pods_packets_is_one(rule: PolicyRule) -> None:
    """To them, from them, or for all."""
    assert found(rule)
    assert not found(replace(rule, priority=40000))


@pytest.mark.parametrize(
    "rule",
    [
        replace(RULE, mark=0x200),
        replace(RULE, dst=ELSEWHERE),
        replace(RULE, src=ELSEWHERE),
        replace(RULE, dst=NET, inverted=True),
        replace(RULE, iif="eth1"),
        replace(RULE, narrow=True),
        replace(RULE, table=8),
        replace(RULE, table=255),
        replace(RULE, suppressed=0),
        replace(RULE, action="action 3"),
        replace(RULE, dst=ELSEWHERE, action="blackhole"),
    ],
)
def test_a_rule_for_others_or_without_an_answer_is_none(rule: PolicyRule) -> None:
    """Marked packets, other addresses, an empty table, a default route that does not count."""
    assert not found(rule)


def test_only_a_route_that_decides_counts() -> None:
    """A throw goes on to the next rule; another network's route is none of ours."""
    assert found(RULE, route("10.0.0.0/8"))
    assert found(RULE, route("10.5.7.0/26", kind=6))
    assert not found(RULE, route("10.5.0.0/16", kind=9), route("100.64.0.0/10"))


@pytest.mark.parametrize(
    ("first", "hidden"),
    [
        (replace(MAIN, priority=9), True),
        (replace(MAIN, priority=9, suppressed=0), True),
        (replace(MAIN, priority=9, dst=EVERYTHING), True),
        (replace(MAIN, priority=9, suppressed=24), False),
        (replace(MAIN, priority=9, dst=PART), False),
        (replace(MAIN, priority=9, mark=1), False),
    ],
)
def test_what_comes_after_our_routes_comes_too_late(first: PolicyRule, hidden: bool) -> None:
    """As wg-quick does it, on purpose."""
    table = {7: (route("0.0.0.0/0"),)}
    assert (list(detours(POOL, [RULE, first], lambda it: table.get(it, ()), ())) == []) == hidden
