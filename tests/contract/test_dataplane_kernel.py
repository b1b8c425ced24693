"""The data plane on a real kernel: what is applied is read back, ours is ours, foreign is foreign."""

import contextlib
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from overlay.dataplane import Dataplane
from overlay.desired import Me, Vtep, desired_node, desired_peer
from overlay.errors import ForeignObject
from overlay.model import Endpoint, KernelObject, Lease, Route
from overlay.netlink.namespace import run_inside
from overlay.plan import State, plan
from tests.contract.spaces import inside, ip
from tests.examples import ME, NETWORK

pytestmark = pytest.mark.contract

RENAMED = "ip link set overlay.1 name it; ip link set overlay0 name overlay.1; ip link set it name overlay0"


def lease(number: int, mac: int | None = None) -> Lease:
    """A peer's record."""
    end = Endpoint(
        ip_network(f"10.5.{number}.0/24"),
        ip_address(f"192.0.2.{number}"),
        f"02:00:00:00:00:{mac or number:02x}",
        1,
    )
    return Lease(key=f"10.5.{number}.0-24", endpoints=(end,))


def wanted(*peers: Lease) -> dict[object, KernelObject]:
    """The node and its peers."""
    items = [*desired_node(NETWORK, ME)]
    for peer in peers:
        items += desired_peer(NETWORK, ME, peer)
    return {item.key: item for item in items}


def converge(dataplane: Dataplane, want: State) -> int:
    """Read, plan, apply until nothing is left; the number of rounds that changed something."""
    for round_ in range(5):
        steps = plan(want, dataplane.read(want))
        if not steps:
            return round_
        errors = [error for error in dataplane.apply(steps) if error]
        assert errors == []
    pytest.fail("the kernel never became what was wanted")


@pytest.fixture
def host(space: Path, tmp_path: Path) -> Callable[[Callable[[Dataplane], object]], None]:
    """A namespace with an underlay; runs a test's body inside it."""
    ip(space, "link", "set", "lo", "up")
    ip(space, "link", "add", "eth0", "type", "veth", "peer", "name", "far0")
    ip(space, "link", "set", "far0", "up")
    ip(space, "link", "set", "eth0", "up")
    ip(space, "addr", "add", "192.0.2.1/24", "dev", "eth0")

    def run(body: Callable[[Dataplane], object]) -> None:
        def opened() -> None:
            with contextlib.closing(Dataplane(tmp_path)) as dataplane:
                body(dataplane)

        run_inside(space, opened)

    return run


def test_what_is_applied_is_read_back_equal_and_a_second_agent_changes_nothing(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """Restart: 0 netlink changes, by a data plane with no memory."""
    want = wanted(lease(2), lease(3))
    host(lambda dataplane: converge(dataplane, want))

    def again(dataplane: Dataplane) -> None:
        assert plan(want, dataplane.read(want)) == []
        assert dataplane.changes == 0

    host(again)
    assert "10.5.2.0/24 via 10.5.2.0 dev overlay.1" in ip(space, "route")
    assert "lladdr 02:00:00:00:00:02 PERMANENT" in ip(space, "neigh")
    fdb = inside(space, "bridge", "fdb", "show", "dev", "overlay.1")
    assert "02:00:00:00:00:02 dst 192.0.2.2 self permanent" in fdb
    assert "masquerade" in inside(space, "nft", "list", "table", "inet", "overlay")


@pytest.mark.parametrize(
    "damage",
    [
        ["ip", "route", "del", "10.5.2.0/24"],
        ["ip", "neigh", "del", "10.5.2.0", "dev", "overlay.1"],
        ["bridge", "fdb", "del", "02:00:00:00:00:02", "dev", "overlay.1"],
        ["ip", "link", "set", "overlay.1", "down"],
        ["ip", "link", "set", "overlay.1", "address", "02:00:00:00:00:99"],
        ["ip", "link", "set", "overlay.1", "mtu", "1400"],
        ["ip", "link", "del", "overlay.1"],
        ["ip", "link", "del", "overlay0"],
        ["sh", "-c", RENAMED],
        ["sh", "-c", r"ip link set overlay0 name $(printf 'no\377text')"],
        ["ip", "addr", "flush", "dev", "overlay0"],
        ["nft", "flush", "ruleset"],
        ["nft", "flush", "chain", "inet", "overlay", "postrouting"],
        ["sysctl", "-qw", "net.ipv4.ip_forward=0"],
        ["ip", "neigh", "replace", "10.5.2.0", "lladdr", "02:00:00:00:00:77", "dev", "overlay.1"],
        ["ip", "route", "replace", "10.5.2.0/24", "via", "10.5.3.0", "dev", "overlay.1", "onlink"],
    ],
    ids=" ".join,
)
def test_any_damage_is_mended(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path, damage: list[str]
) -> None:
    """Each object of ours, deleted or altered by hand, is put back as it was."""
    want = wanted(lease(2), lease(3))
    host(lambda dataplane: converge(dataplane, want))

    inside(space, *damage)

    def mend(dataplane: Dataplane) -> None:
        assert converge(dataplane, want) > 0
        assert dataplane.read(want) == want

    host(mend)


def test_stale_entries_of_an_earlier_life_go_and_foreign_ones_stay(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """Only what bears our mark is deleted."""
    host(lambda dataplane: converge(dataplane, wanted(lease(2), lease(9))))
    ip(space, "route", "add", "198.51.100.0/24", "via", "192.0.2.9")
    ip(space, "neigh", "add", "192.0.2.50", "lladdr", "02:00:00:00:00:50", "dev", "eth0")
    inside(space, "nft", "add", "table", "ip", "foreign")

    host(lambda dataplane: converge(dataplane, wanted(lease(2))))

    routes = ip(space, "route")
    assert "10.5.9.0/24" not in routes
    assert "198.51.100.0/24 via 192.0.2.9" in routes
    assert "192.0.2.50" in ip(space, "neigh")
    assert "foreign" in inside(space, "nft", "list", "tables")


def test_a_new_mac_of_a_peer_leaves_no_old_fdb_entry(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """Unlike flannel, which leaves it."""
    host(lambda dataplane: converge(dataplane, wanted(lease(2))))
    host(lambda dataplane: converge(dataplane, wanted(lease(2, mac=0x22))))

    fdb = inside(space, "bridge", "fdb", "show", "dev", "overlay.1")
    assert "02:00:00:00:00:22 dst 192.0.2.2" in fdb
    assert "02:00:00:00:00:02" not in fdb


def test_a_foreign_route_in_the_way_is_named_and_its_siblings_are_made(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """One failing message of a batch is told from the others, and nothing foreign is overwritten."""
    ip(space, "route", "add", "10.5.2.0/24", "via", "192.0.2.200")
    want = wanted(lease(2), lease(3))

    def apply(dataplane: Dataplane) -> None:
        errors = [error for error in dataplane.apply(plan(want, dataplane.read(want))) if error]
        assert [type(error) for error in errors] == [ForeignObject]
        assert "ip route show 10.5.2.0/24" in errors[0].hint

    host(apply)
    routes = ip(space, "route")
    assert "10.5.2.0/24 via 192.0.2.200 dev eth0" in routes
    assert "10.5.3.0/24 via 10.5.3.0 dev overlay.1" in routes


def test_a_foreign_device_under_our_name_is_left_alone(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """The operator is told how to look at it, and nothing of ours is put on it."""
    ip(space, "link", "add", "overlay0", "type", "veth", "peer", "name", "x0")
    ip(space, "link", "add", "overlay.1", "up", "type", "vxlan", "id", "77", "dstport", "9999")
    want = wanted(lease(2))

    def apply(dataplane: Dataplane) -> None:
        errors = dataplane.apply(plan(want, dataplane.read(want)))
        assert any(
            isinstance(error, ForeignObject) and "overlay0" in error.hint for error in errors
        )

    host(apply)
    assert "veth" in ip(space, "-d", "link", "show", "overlay0")
    assert "vxlan id 77 " in ip(space, "-d", "link", "show", "overlay.1")
    assert " scope global overlay" not in ip(space, "addr")
    assert ip(space, "route", "show", "proto", "158") + ip(space, "neigh") == ""


def test_flannels_device_and_entries_are_adopted(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """What flanneld left is ours by our configuration; its stale route goes, its right one stays."""
    inside(
        space,
        *[
            "ip",
            "link",
            "add",
            "flannel.1",
            "type",
            "vxlan",
            "id",
            "1",
            "dev",
            "eth0",
            "local",
            "192.0.2.1",
            "dstport",
            "8472",
            "nolearning",
        ],
    )
    ip(space, "link", "set", "flannel.1", "address", "02:00:00:00:00:01", "mtu", "1450", "up")
    ip(space, "route", "add", "10.5.8.0/24", "via", "10.5.8.0", "dev", "flannel.1", "onlink")
    index = ip(space, "link", "show", "flannel.1").partition(":")[0]
    vtep = ME.vteps[0]
    me = Me(
        ME.lease_key,
        (Vtep(vtep.subnet, "flannel.1", vtep.mac, vtep.local, vtep.underlay, vtep.mtu),),
        ME.bridge,
    )
    items = [*desired_node(NETWORK, me), *desired_peer(NETWORK, me, lease(2))]
    want = {item.key: item for item in items}

    host(lambda dataplane: converge(dataplane, want))

    assert ip(space, "link", "show", "flannel.1").partition(":")[0] == index
    assert "10.5.8.0" not in ip(space, "route")
    assert any(isinstance(item, Route) for item in want.values())


def test_five_hundred_peers_go_in_and_out_in_batches(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """More than one datagram's worth, with nothing lost."""
    peers = []
    for number in range(500):
        subnet = ip_network(f"10.{16 + number // 250}.{number % 250}.0/24")
        underlay = ip_address(f"192.0.{3 + number // 250}.{number % 250 + 1}")
        mac = f"02:00:00:01:{number >> 8:02x}:{number & 255:02x}"
        end = Endpoint(subnet, underlay, mac, 1)
        peers.append(Lease(key=f"{subnet.network_address}-24", endpoints=(end,)))
    want = wanted(*peers)

    host(lambda dataplane: converge(dataplane, want))
    assert ip(space, "route", "show", "proto", "158").count("\n") == 500

    host(lambda dataplane: converge(dataplane, wanted()))
    assert ip(space, "route", "show", "proto", "158") == ""


def test_a_pod_with_a_small_mtu_leaves_the_bridges_mtu_alone(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path
) -> None:
    """CNI conf mtu 1440 on a bridge of 1450: the other pods keep their 1450."""
    want = wanted()
    host(lambda dataplane: converge(dataplane, want))

    ip(space, "link", "add", "p0", "mtu", "1440", "type", "veth", "peer", "name", "p1")
    ip(space, "link", "set", "p0", "master", "overlay0", "up")

    assert "mtu 1450" in ip(space, "link", "show", "overlay0")


def test_a_second_look_sees_what_a_first_one_would(
    host: Callable[[Callable[[Dataplane], object]], None], space: Path, tmp_path: Path
) -> None:
    """What was right at the last look is known again by its bytes; what was bent meanwhile is not taken for it."""
    want = wanted(lease(2), lease(3))
    damages = (
        "ip route replace 10.5.2.0/24 via 10.5.3.0 dev overlay.1 onlink",
        "ip route add 10.5.9.0/24 via 10.5.9.0 dev overlay.1 onlink proto 158",
        "ip neigh replace 10.5.2.0 lladdr 02:00:00:00:00:77 dev overlay.1 nud permanent",
        "ip neigh replace 10.5.3.0 lladdr 02:00:00:00:00:03 dev overlay.1 nud stale",
        "bridge fdb replace 02:00:00:00:00:02 dev overlay.1 dst 192.0.2.9 self permanent",
        "bridge fdb del 02:00:00:00:00:03 dev overlay.1",
        "ip link set overlay.1 alias nobodys",
        "ip link set overlay.1 alias overlay:vtep",
    )

    def looks(dataplane: Dataplane) -> None:
        converge(dataplane, want)
        for damage in damages:
            assert dataplane.read(want) == dataplane.read(want)
            inside(space, *damage.split())
            with contextlib.closing(Dataplane(tmp_path)) as fresh:
                assert dataplane.read(want) == fresh.read(want), damage

    host(looks)
