"""What the kernel tells the watch of repairs: nft transactions with their author, and that events were lost."""

import contextlib
import os
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.keys import neighbour_key, route_key
from overlay.model import Sysctl
from overlay.netlink.monitor import Monitor
from overlay.netlink.namespace import run_inside
from overlay.netlink.nftmonitor import TableChange
from overlay.netlink.parse import LinkInfo, NeighbourInfo, RouteInfo
from tests.contract.spaces import inside, ip
from tests.contract.waiting import until

pytestmark = pytest.mark.contract
SMALL = 4096


@pytest.fixture
def monitor(space: Path) -> Iterator[Monitor]:
    """Listening in a namespace of its own."""
    opened = run_inside(space, Monitor)
    try:
        yield opened
    finally:
        closed(opened)


def closed(monitor: Monitor) -> None:
    """Close, and free its sockets as the watch's thread does."""
    monitor.close()
    with contextlib.suppress(EOFError):
        for _ in range(100):
            monitor.read(0.2)


def tables(monitor: Monitor, count: int) -> list[TableChange]:
    """So many changes of tables."""
    found: list[TableChange] = []

    def come() -> bool:
        events = monitor.read(0.2) or []
        found.extend(it.record for it in events if isinstance(it.record, TableChange))
        return len(found) >= count

    until(come)
    return found


def test_an_nft_transaction_is_told_once_per_table_with_who_did_it(
    space: Path, monitor: Monitor
) -> None:
    """However many objects it has; a flush of all deletes each table."""
    rules = "add table inet a; add chain inet a c; add rule inet a c accept; add table bridge b"
    inside(space, "nft", rules)
    made = tables(monitor, 2)
    inside(space, "nft", "flush", "ruleset")
    gone = tables(monitor, 2)

    assert [(it.table, it.process, it.deleted) for it in made] == [
        ("inet a", "nft", False),
        ("bridge b", "nft", False),
    ]
    assert made[0].pid > 0
    assert {(it.table, it.deleted) for it in gone} == {("inet a", True), ("bridge b", True)}


@pytest.mark.parametrize("flood", ["links", "tables"])
def test_lost_events_are_told_and_listening_goes_on(space: Path, flood: str) -> None:
    """A receive buffer that is too small for what comes while nobody reads."""
    ip(space, "link", "set", "lo", "up")
    monitor = run_inside(space, lambda: Monitor(buffer=SMALL))
    try:
        if flood == "links":
            batch = "".join(f"link set lo alias a{number}\n" for number in range(100))
            inside(space, "sh", "-c", f"printf '{batch}' | ip -batch -")
        else:
            inside(space, "nft", "; ".join(f"add table inet t{number}" for number in range(100)))

        until(lambda: monitor.read(0.2) is None, most_s=5)
        assert monitor.read(0.2) == []  # else what is lost from here on would not be told
        ip(space, "link", "set", "lo", "down")
        events = monitor.read(10) or []
        assert any(isinstance(it.record, LinkInfo) and not it.record.up for it in events)
    finally:
        closed(monitor)


def test_an_event_names_the_port_of_who_asked(space: Path, monitor: Monitor) -> None:
    """For routes it is the process itself, as most programs open their first socket."""
    ip(space, "link", "set", "lo", "up")
    ip(space, "route", "add", "198.51.100.0/24", "dev", "lo")
    ports: list[int] = []

    def come() -> bool:
        ports.extend(
            it.port
            for it in monitor.read(0.2) or []
            if isinstance(it.record, RouteInfo) and str(it.record.dst) == "198.51.100.0/24"
        )
        return bool(ports)

    until(come)
    assert ports[0] not in (0, os.getpid())


def test_what_takes_the_place_of_ours_is_known_by_its_key(space: Path, tmp_path: Path) -> None:
    """Nothing of ours is left in such an event, so the key tells what it was about."""
    ip(space, "link", "add", "overlay.1", "type", "vxlan", "id", "1", "dstport", "8472")
    ip(space, "link", "set", "overlay.1", "alias", "overlay:vtep")

    def body() -> None:
        with contextlib.closing(Dataplane(tmp_path)) as dataplane:
            dataplane.read({})
            index = next(
                number for number in range(1, 99) if dataplane.link_name(number) == "overlay.1"
            )
            subnet, via = ip_network("10.5.2.0/24"), ip_address("10.5.2.0")
            theirs = RouteInfo(subnet, None, 1, 254, 16, 1, 0, False, None)
            failed = NeighbourInfo(2, index, via, "", 0x20, 0, True)
            elsewhere = NeighbourInfo(2, 1, via, "", 0x20, 0, True)

            assert dataplane.observe(theirs) is None
            assert dataplane.concerned(theirs) == route_key(subnet)
            assert dataplane.observe(failed) is None
            assert dataplane.concerned(failed) == neighbour_key("overlay.1", via)
            assert dataplane.concerned(elsewhere) is None

    run_inside(space, body)


def test_a_switch_that_is_turned_is_told_once_until_it_is_read(tmp_path: Path) -> None:
    """The watch looks twice a second; a switch that cannot be set costs no full read each time."""
    wanted = Sysctl("net/ipv4/ip_forward", "1")
    absent = Sysctl("net/ipv6/conf/overlay.1/accept_ra", "0")
    (tmp_path / "net/ipv4").mkdir(parents=True)
    (tmp_path / wanted.path).write_text("1\n")
    with contextlib.closing(Dataplane(tmp_path, sysctls=tmp_path)) as dataplane:
        dataplane.read({item.key: item for item in (wanted, absent)})
        assert dataplane.turned() == frozenset()

        (tmp_path / wanted.path).write_text("0\n")
        assert dataplane.turned() == {Sysctl(wanted.path, "0")}
        assert dataplane.turned() == frozenset()
        dataplane.read({wanted.key: wanted})
        assert dataplane.turned() == {Sysctl(wanted.path, "0")}


def test_a_switch_of_a_device_that_was_made_anew_is_looked_at_again(
    space: Path, tmp_path: Path
) -> None:
    """The file that is kept open was its predecessor's; so is it after a device was only renamed, and away a while."""
    wanted = Sysctl("net/ipv4/conf/dev0/rp_filter", "2")
    turned = {Sysctl(wanted.path, "1")}

    def body() -> None:
        with contextlib.closing(Dataplane(tmp_path)) as dataplane:

            def looked() -> frozenset[Sysctl]:
                dataplane.read({wanted.key: wanted})  # tells again what was told
                return dataplane.turned()

            def turn(value: str) -> None:
                (Path("/proc/sys") / wanted.path).write_text(value)

            ip(space, "link", "add", "dev0", "type", "bridge")
            turn("2")
            assert looked() == frozenset()
            ip(space, "link", "del", "dev0")
            assert looked() == frozenset()
            ip(space, "link", "add", "dev0", "type", "bridge")
            turn("1")
            assert looked() == turned

            ip(space, "link", "set", "dev0", "name", "dev1")
            ip(space, "link", "add", "dev0", "type", "bridge")
            turn("2")
            assert looked() == frozenset()
            turn("1")
            assert looked() == turned

    run_inside(space, body)
