"""The ground on a real kernel: what is followed when an interface, an address or the default route is another."""

import argparse
import contextlib
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from agent import config
from agent.ground import Ground
from agent.underlay import reaches
from overlay.dataplane import Dataplane
from overlay.desired import Me, desired_node
from overlay.errors import NotReady, OverlayError
from overlay.netlink import Netlink
from overlay.netlink.namespace import run_inside
from overlay.plan import plan
from tests.contract.spaces import ip
from tests.examples import ME, NETWORK

pytestmark = pytest.mark.contract

Body = Callable[[Ground], None]


@pytest.fixture
def host(space: Path, tmp_path: Path) -> Callable[[Body], None]:
    """192.0.2.1 on eth0, which has the default route; runs a test's body inside."""
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    for line in ("link set far0 up", "link set eth0 up", "addr add 192.0.2.1/24 dev eth0"):
        ip(space, *line.split())
    ip(space, *["route", "add", "default", "via", "192.0.2.254"])
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    words = ["--node-name", "n1", "--machine-id", "0" * 32, "--run-dir", str(tmp_path)]
    settings = config.load(parser.parse_args(words), {})

    def run(body: Body) -> None:
        def opened() -> None:
            with Netlink() as netlink:
                body(Ground(settings, netlink))

        run_inside(space, opened)

    return run


def _stands(me: Me) -> tuple[str, int]:
    return me.vteps[0].underlay, me.vteps[0].mtu


def test_an_interface_of_another_name_is_followed_and_nobody_is_told(
    host: Callable[[Body], None], space: Path
) -> None:
    """Peers know the address; etcd may be away."""
    ip(space, *["link", "set", "eth0", "down"])
    ip(space, *["link", "set", "eth0", "name", "lan0", "mtu", "1400", "up"])
    ip(space, *["route", "add", "default", "via", "192.0.2.254"])

    def body(ground: Ground) -> None:
        assert ground.moved(ME) == ""
        assert _stands(ground.refreshed(NETWORK, ME)) == ("lan0", 1350)

    host(body)


def test_the_mtu_is_followed_without_a_default_route(
    host: Callable[[Body], None], space: Path
) -> None:
    """The interface still has the address, and a gateway that is gone for an hour is no reason to lose packets."""
    ip(space, *["route", "del", "default"])
    ip(space, *["link", "set", "eth0", "mtu", "1400"])

    def body(ground: Ground) -> None:
        assert _stands(ground.refreshed(NETWORK, ME)) == ("eth0", 1350)
        assert _stands(ground.stayed(NETWORK, ME)) == ("eth0", 1350)
        ip(space, *["addr", "del", "192.0.2.1/24", "dev", "eth0"])
        assert ground.stayed(NETWORK, ME) == ME

    host(body)


def test_a_floating_address_does_not_become_the_underlays(
    host: Callable[[Body], None], space: Path
) -> None:
    """Ours has a lifetime, as DHCP gives it, the other has none: that alone is no reason to tell all peers."""
    ip(
        space,
        *[
            "addr",
            "change",
            "192.0.2.1/24",
            "dev",
            "eth0",
            "valid_lft",
            "3000",
            "preferred_lft",
            "3000",
        ],
    )
    ip(space, *["addr", "add", "192.0.2.99/24", "dev", "eth0"])

    def body(ground: Ground) -> None:
        assert ground.moved(ME) == ""
        assert ground.refreshed(NETWORK, ME) == ME
        ip(space, *["addr", "del", "192.0.2.1/24", "dev", "eth0"])
        ip(
            space, *["addr", "add", "192.0.2.99/24", "dev", "eth0"]
        )  # a secondary one went with the first
        ip(space, *["route", "add", "default", "via", "192.0.2.254"])
        assert "192.0.2.1 on eth0 -> 192.0.2.99" in ground.moved(ME)

    host(body)


def test_a_device_whose_underlay_is_not_there_stays_as_it_is(
    host: Callable[[Body], None], space: Path, tmp_path: Path
) -> None:
    """It was deleted first, and then could not be made anew."""

    def body(_: Ground) -> None:
        with contextlib.closing(Dataplane(tmp_path)) as dataplane:
            elsewhere = replace(ME, vteps=(replace(ME.vteps[0], underlay="bond0"),))
            there = {item.key: item for item in desired_node(NETWORK, ME)}
            wanted = {item.key: item for item in desired_node(NETWORK, elsewhere)}
            assert _refused(dataplane.apply(plan(there, dataplane.read(there)))) == []
            before = ip(space, "link", "show", "overlay.1")
            refused = _refused(dataplane.apply(plan(wanted, dataplane.read(wanted))))
            assert "device bond0 is not there" in str(refused)
            assert ip(space, "link", "show", "overlay.1") == before

    host(body)


def test_a_target_that_leads_nowhere_is_named(host: Callable[[Body], None], space: Path) -> None:
    """The kernel routes our own address to the loopback interface, which would have been waited for."""
    ip(space, *["link", "set", "lo", "up"])

    def body(_: Ground) -> None:
        with Netlink() as netlink:
            reaches(netlink, ip_address("198.51.100.9"))
            with pytest.raises(NotReady, match=r"iface_can_reach = 192\.0\.2\.1: .* own address"):
                reaches(netlink, ip_address("192.0.2.1"))
            with pytest.raises(NotReady, match="iface_can_reach = 2001:db8::1: no route to it"):
                reaches(netlink, ip_address("2001:db8::1"))

    host(body)


def _refused(results: list[OverlayError | None]) -> list[str]:
    return [str(error) for error in results if error]
