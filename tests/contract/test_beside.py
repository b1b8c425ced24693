"""Second routes to one subnet: of ours the wrong one goes, whatever it says, and another program's stays."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.keys import route_key
from overlay.model import Action
from overlay.plan import State, plan
from tests.contract.spaces import ip
from tests.contract.test_dataplane_v6 import Body, host, lease, wanted

__all__ = ["host"]
pytestmark = pytest.mark.contract
ON = ("dev", "overlay.1", "onlink")
OURS = ("10.5.2.0/24", "proto", "158")


@pytest.mark.parametrize(
    "seconds",
    [
        [("append", *OURS, "via", "10.5.2.0", *ON)],
        [
            ("append", *OURS, "via", "10.5.2.0", *ON, "scope", "100"),
            ("prepend", *OURS, "via", "10.5.2.0", *ON, "scope", "99"),
        ],
        [("append", *OURS, "via", "10.5.2.0", *ON, "mtu", "500")],
        [("append", *OURS, "via", "10.5.3.0", *ON, "mtu", "500")],
        [
            *[("append", *OURS, "via", "10.5.3.0", *ON, "mtu", str(mtu)) for mtu in (500, 600)],
            *[("prepend", *OURS, "via", "10.5.3.0", *ON, "mtu", str(mtu)) for mtu in (700, 800)],
        ],
        [
            (
                *("append", *OURS, "nexthop", "via", "10.5.3.0", *ON),
                *("nexthop", "via", "10.5.2.0", *ON),
            )
        ],
    ],
    ids=["scope", "other scopes", "mtu", "elsewhere with an mtu", "before and behind", "hops"],
)
def test_a_second_route_that_only_its_subnet_names_goes_and_the_right_one_stays(
    host: Callable[[Body], None], space: Path, seconds: list[tuple[str, ...]]
) -> None:
    """The kernel takes the first that fits what it is told of the one that is to go."""
    want = wanted(lease(2), lease(3))

    def body(dataplane: Dataplane) -> None:
        _at_rest(dataplane, want)
        right = ip(space, "route", "show", "10.5.2.0/24")
        for words in seconds:
            ip(space, "route", *words)
        steps = plan(want, dataplane.read(want))
        assert len(steps) == len(seconds)
        assert dataplane.apply(steps) == [None] * len(steps)
        assert ip(space, "route", "show", "10.5.2.0/24") == right

    host(body)


@pytest.mark.parametrize("own", ["10.5.1.0/24", "fd00:5:0:1::/64"])
def test_another_device_keeps_its_route_to_this_nodes_own_subnet(
    host: Callable[[Body], None], space: Path, own: str
) -> None:
    """It was there first (another pod network's bridge, say): ours comes beside it, and is no trouble."""
    flag = "-6" if ":" in own else "-4"
    want = wanted(lease(2))
    ip(space, "link", "add", "other0", "type", "bridge")
    ip(space, "link", "set", "other0", "up")
    for address in ("10.5.1.1/24", "fd00:5:0:1::1/64"):
        ip(space, "addr", "add", address, "dev", "other0", "nodad")

    def body(dataplane: Dataplane) -> None:
        _at_rest(dataplane, want)
        for device in ("other0", "overlay0"):
            assert f"dev {device}" in ip(space, flag, "route", "show", own)
        for action in (Action.ADD, Action.REPLACE):  # that is how one which we had is taken back
            ip(space, flag, "route", "del", own, "dev", "overlay0")
            (step,) = plan(want, dataplane.read(want))
            assert step.object.key == route_key(ip_network(own))
            assert dataplane.apply([replace(step, action=action)]) == [None]
            _at_rest(dataplane, want)
            for device in ("other0", "overlay0"):
                assert f"dev {device}" in ip(space, flag, "route", "show", own)

    host(body)


def _at_rest(dataplane: Dataplane, want: State) -> None:
    """By steps of which none fails."""
    for _ in range(3):
        steps = plan(want, dataplane.read(want))
        assert [error for error in dataplane.apply(steps) if error] == []
    assert plan(want, dataplane.read(want)) == []
