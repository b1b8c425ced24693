"""Policy rules of other programs that are looked at before the main table, and lead the pod network elsewhere. Pure.

VPNs and other pod networks have tables of their own. A rule for marked packets is nobody's business but theirs: pods'
packets bear no mark. A main table that is looked at first but for its default route (wg-quick) leads to our routes.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from overlay.model import Pool, Subnet
from overlay.netlink import RouteInfo
from overlay.netlink.constants import RT_TABLE_LOCAL, RT_TABLE_MAIN
from overlay.netlink.policy import ACTIONS, PolicyRule

_DECIDES = {1, 6, 7, 8}
"""RTN_UNICAST, RTN_BLACKHOLE, RTN_UNREACHABLE, RTN_PROHIBIT."""
Table = Callable[[int], Iterable[RouteInfo]]
"""The routes of a table of the pool's family that may concern it."""


def detours(
    pool: Pool, rules: Sequence[PolicyRule], table: Table, ours: Collection[str]
) -> Iterator[tuple[PolicyRule, RouteInfo | None]]:
    """The rules that take pods' packets away, each with the route of its table that does so.

    ``ours`` are our links' names; a route by one of them is for ``table`` to leave out.
    """
    for rule in sorted(rules, key=lambda it: it.priority):
        if _is_ours_turn(rule, pool):
            return
        if not _concerns(rule, pool.network, ours):
            continue
        if rule.action in ACTIONS.values():
            yield rule, None
        elif not rule.action and rule.table not in (RT_TABLE_MAIN, RT_TABLE_LOCAL):
            taking = (route for route in table(rule.table) if _takes(route, rule, pool.network))
            if (route := next(taking, None)) is not None:
                yield rule, route


def _is_ours_turn(rule: PolicyRule, pool: Pool) -> bool:
    """From here on our routes in the main table decide."""
    return (
        rule.table == RT_TABLE_MAIN
        and not rule.action
        and not (rule.narrow or rule.mark or rule.inverted or rule.iif or rule.src)
        and (rule.dst is None or _holds(rule.dst, pool.network))
        and rule.suppressed < pool.subnet_len
    )


def _concerns(rule: PolicyRule, network: Subnet, ours: Collection[str]) -> bool:
    """Whether packets from or to pods, which bear no mark, are meant."""
    if rule.narrow:
        return False
    if rule.inverted:
        named = (it for it in (rule.dst, rule.src) if it is not None)
        return bool(rule.mark) or any(not _holds(it, network) for it in named)
    if rule.mark or (rule.iif and rule.iif not in ours):
        return False
    return all(it is None or _overlap(it, network) for it in (rule.dst, rule.src))


def _takes(route: RouteInfo, rule: PolicyRule, network: Subnet) -> bool:
    longer = route.dst.prefixlen > rule.suppressed
    return longer and route.kind in _DECIDES and _overlap(route.dst, network)


def _overlap(one: Subnet, other: Subnet) -> bool:
    return one.version == other.version and one.overlaps(other)


def _holds(outer: Subnet, inner: Subnet) -> bool:
    return _overlap(outer, inner) and outer.prefixlen <= inner.prefixlen
