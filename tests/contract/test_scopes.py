"""What it rests on that each peer's IPv4 route has a scope of its own: to the kernel it is the same route.

So flannel's routes, those of an agent of before, and whoever else's meet ours as if there were no scopes.
"""

import json
import subprocess
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.dataplane.scope import SCOPES
from overlay.netlink.parse import RouteInfo
from overlay.plan import plan
from tests.contract.route_events import listening
from tests.contract.spaces import inside, ip
from tests.contract.test_dataplane_kernel import converge, host, lease, wanted

__all__ = ["host"]
pytestmark = pytest.mark.contract
Body = Callable[[Dataplane], object]
NUMBERS = range(2, 2 + SCOPES)
WANT = wanted(*(lease(number) for number in NUMBERS))
SUBNETS = {ip_network(f"10.5.{number}.0/24") for number in NUMBERS}
FAR = "192.0.2.200"
TO_GLOBAL = (
    "ip -4 route show proto 158 | sed 's/ scope [0-9]*//; s/^/route replace /' | ip -batch -"
)
"""As docs/flannel.md has it."""


def scopes(space: Path) -> dict[str, str]:
    """By iproute2's word, of all routes to peers."""
    rows = json.loads(inside(space, "ip", "-N", "-d", "-j", "route", "show", "root", "10.5.0.0/16"))
    return {row["dst"]: row["scope"] for row in rows if "gateway" in row}


def deletions(events: list[RouteInfo]) -> list[bool]:
    """Of each event of a peer's route whether it went; that of a link-local address comes when the kernel is sure."""
    return [it.deleted for it in events if it.dst in SUBNETS]


def batch(space: Path, lines: list[str]) -> None:
    """In iproute2's words."""
    subprocess.run(
        ["ip", "-n", space.name, "-batch", "-"], input="\n".join(lines), text=True, check=True
    )


def test_each_route_has_its_own_and_every_lookup_finds_it(
    host: Callable[[Body], None], space: Path
) -> None:
    """From each scope there is, also for a packet that is forwarded; and with them nothing is left to do."""
    host(lambda dataplane: converge(dataplane, WANT))

    expected = {f"10.5.{number}.0/24": str(number % SCOPES) for number in NUMBERS}
    assert scopes(space) == expected
    inside(space, "sysctl", "-qw", "net.ipv4.conf.all.forwarding=1")
    for number in NUMBERS:
        to = f"10.5.{number}.7"
        assert f"via 10.5.{number}.0 dev overlay.1 src" in ip(space, "route", "get", to)
        passing = ip(space, "route", "get", to, "from", "192.0.2.77", "iif", "eth0")
        assert f"via 10.5.{number}.0 dev overlay.1" in passing

    def idle(dataplane: Dataplane) -> None:
        assert plan(WANT, dataplane.read(WANT)) == []

    host(idle)


def test_what_an_agent_of_before_made_stays_as_it_is_and_goes_when_its_peer_goes(
    host: Callable[[Body], None], space: Path
) -> None:
    """An upgrade changes no route; each is replaced and deleted as if we had made it."""
    host(lambda dataplane: converge(dataplane, WANT))
    on = "dev overlay.1 onlink proto 158"
    batch(space, [f"route replace 10.5.{n}.0/24 via 10.5.{n}.0 {on}" for n in NUMBERS])
    assert set(scopes(space).values()) == {"0"}

    def upgraded(dataplane: Dataplane) -> None:
        assert plan(WANT, dataplane.read(WANT)) == []
        assert converge(dataplane, wanted(*(lease(number) for number in NUMBERS[1:]))) == 1

    host(upgraded)
    assert scopes(space) == {f"10.5.{number}.0/24": "0" for number in NUMBERS[1:]}


def test_flannels_routes_are_taken_over_and_handed_back_in_place(
    host: Callable[[Body], None], space: Path
) -> None:
    """It writes all of one scope, by a replacement: never is one deleted, and never are there two to one subnet."""
    host(lambda dataplane: converge(dataplane, WANT))
    theirs = [
        f"route replace 10.5.{n}.0/24 via 10.5.{n}.0 dev overlay.1 onlink proto boot scope global"
        for n in NUMBERS
    ]
    with listening(space) as events:
        batch(space, theirs)
        assert set(scopes(space).values()) == {"0"}
        host(lambda dataplane: converge(dataplane, WANT))
        assert len(set(scopes(space).values())) == SCOPES
        batch(space, theirs)
    assert deletions(events) == [False] * 3 * SCOPES
    assert ip(space, "route", "show", "root", "10.5.0.0/16").count(" via ") == SCOPES


def test_others_meet_our_route_as_one_of_their_own_scope(
    host: Callable[[Body], None], space: Path
) -> None:
    """What is added beside it is refused, what replaces it takes its place, and no second one comes to be."""
    host(lambda dataplane: converge(dataplane, WANT))
    with pytest.raises(subprocess.CalledProcessError):
        ip(space, "route", "add", "10.5.7.0/24", "via", FAR)
    ip(space, "route", "replace", "10.5.7.0/24", "via", FAR)
    ip(space, "route", "replace", "blackhole", "10.5.8.0/24")
    assert (
        ip(space, "route", "show", "10.5.7.0/24").split()
        == f"10.5.7.0/24 via {FAR} dev eth0".split()
    )
    assert ip(space, "route", "show", "10.5.8.0/24").split() == ["blackhole", "10.5.8.0/24"]
    assert ip_network("10.5.9.0/24").with_prefixlen in scopes(space)
    ip(space, "route", "del", "10.5.9.0/24")
    assert "10.5.9.0/24" not in scopes(space)


def test_the_line_for_a_host_gw_flanneld_takes_them_away_in_place(
    host: Callable[[Body], None], space: Path
) -> None:
    """Its deletions ask for scope global."""
    host(lambda dataplane: converge(dataplane, WANT))
    with pytest.raises(subprocess.CalledProcessError):
        ip(space, "route", "del", "10.5.7.0/24", "scope", "global")
    with listening(space) as events:
        inside(space, "sh", "-ec", TO_GLOBAL)
    assert deletions(events) == [False] * SCOPES
    assert scopes(space) == {f"10.5.{number}.0/24": "0" for number in NUMBERS}
    ip(space, "route", "del", "10.5.7.0/24", "scope", "global")
