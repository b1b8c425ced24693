"""Addresses on tmpfs: nobody gets another's, nothing is lost, DEL needs no memory."""

from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni.ipam import Ipam
from cni.owner import Owner
from cni.record import Attachment
from overlay.errors import AddressTaken, KernelRefused, NotReady, OutOfAddresses
from overlay.model import HostAddress
from overlay.nodefile import NodeFamily


def _family(gateway: str) -> NodeFamily:
    address = ip_interface(gateway)
    return NodeFamily(address, ip_network(address.network))


SMALL = _family("10.5.1.1/29")  # five pod addresses: .2 to .6
V6 = _family("fd00:5::1/64")


def _owner(number: int, ifname: str = "eth0") -> Owner:
    return Owner("overlay", f"c{number}", ifname)


def _journal(owner: Owner, *addresses: HostAddress) -> Attachment:
    names = tuple(str(address) for address in addresses)
    return Attachment(owner.network, owner.container, owner.ifname, "", owner.host_link, names)


def test_addresses_go_round_and_never_include_what_is_not_a_pods(tmp_path: Path) -> None:
    """Not the network's, the gateway's or the broadcast address; a freed one comes last."""
    ipam = Ipam(tmp_path)
    given_out = []
    for number in range(8):
        given_out.append(str(ipam.take(_owner(number), SMALL).ip))
        ipam.release(_owner(number))
    assert given_out == [f"10.5.1.{last}" for last in (2, 3, 4, 5, 6, 2, 3, 4)]


def test_ipv6_addresses_start_after_the_gateway(tmp_path: Path) -> None:
    """A /64 is not walked whole."""
    ipam = Ipam(tmp_path)
    assert [str(ipam.take(_owner(number), V6)) for number in range(2)] == [
        "fd00:5::2/64",
        "fd00:5::3/64",
    ]


def test_a_full_subnet_names_itself_the_count_and_where_to_look(tmp_path: Path) -> None:
    """Addresses of the other family are not counted."""
    ipam = Ipam(tmp_path)
    ipam.take(_owner(99), V6)
    for number in range(5):
        ipam.take(_owner(number), SMALL)
    with pytest.raises(OutOfAddresses, match=r"10\.5\.1\.0/29: 5 are held") as caught:
        ipam.take(_owner(6), SMALL)
    assert "overlayctl" in caught.value.hint


@pytest.mark.parametrize("gateway", ["10.5.1.1/31", "10.5.1.1/32"])
def test_a_subnet_too_small_for_pods_is_full_from_the_start(gateway: str, tmp_path: Path) -> None:
    """No address is made up."""
    with pytest.raises(OutOfAddresses):
        Ipam(tmp_path).take(_owner(1), _family(gateway))


@pytest.mark.row("34")
@pytest.mark.parametrize("journal", ["none", "torn", "lying"])
def test_release_works_with_whatever_is_left_of_the_journal(journal: str, tmp_path: Path) -> None:
    """Missing or corrupt: the addresses themselves say whose they are. Twice is success."""
    ipam, mine, others = Ipam(tmp_path), _owner(1), _owner(2)
    address = ipam.take(mine, SMALL)
    kept = ipam.take(others, SMALL)
    ipam.write(_journal(mine, address, kept))
    path = tmp_path / "attachments" / "overlay" / f"{mine.name}.json"
    if journal == "none":
        path.unlink()
    if journal == "torn":
        path.write_bytes(b'{"network":"over')

    ipam.release(mine)
    ipam.release(mine)

    assert [item.name for item in (tmp_path / "ipam").glob("[0-9]*")] == [str(kept.ip)]
    assert not path.exists()


@given(name=st.sampled_from(["../../victim", "\0", "x" * 300, "", ".", "/etc/passwd"]))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_corrupt_journal_frees_nothing_foreign(name: str, tmp_path: Path) -> None:
    """Names in it are no way out of the directory."""
    (tmp_path / "victim").write_text("stays")
    ipam, owner = Ipam(tmp_path), _owner(1)
    ipam.take(owner, V6)
    ipam.write(msgspec.structs.replace(_journal(owner), addresses=(name,)))
    ipam.release(owner)
    assert (tmp_path / "victim").read_text() == "stays"


@pytest.mark.row("28")
def test_a_second_begin_is_refused_and_one_per_interface_is_not(tmp_path: Path) -> None:
    """The key is container and interface."""
    ipam = Ipam(tmp_path)
    ipam.begin(_owner(1))
    ipam.write(_journal(_owner(1)))
    ipam.begin(_owner(1, "eth1"))
    with pytest.raises(KernelRefused, match="attached already"):
        ipam.begin(_owner(1))


def test_names_of_any_length_are_served(tmp_path: Path) -> None:
    """Longer than a file name may be, for network and container."""
    owner = Owner("n" * 500, "c" * 2000, "eth0")
    ipam = Ipam(tmp_path)
    ipam.write(_journal(owner, ipam.take(owner, SMALL)))
    ipam.release(owner)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_directory_that_cannot_be_written_may_be_retried(tmp_path: Path) -> None:
    """Code 11 names the directory."""
    (tmp_path / "ipam").write_text("a file in the way")
    with pytest.raises(NotReady, match="ipam"):
        Ipam(tmp_path).take(_owner(1), SMALL)


@given(steps=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=40))
def test_held_is_what_was_taken_and_not_released(
    steps: list[tuple[int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any order of takes and releases: one owner per address, refused only when full."""
    ipam = Ipam(tmp_path_factory.mktemp("run"))
    held: dict[int, HostAddress] = {}
    for number, take in steps:
        if not take:
            ipam.release(_owner(number))
            held.pop(number, None)
        elif number not in held and len(held) < 5:
            held[number] = ipam.take(_owner(number), SMALL)
    assert len(set(held.values())) == len(held)
    assert all(address.ip != SMALL.gateway.ip for address in held.values())


def test_the_very_address_that_is_wanted_is_given_or_refused_with_its_holder(
    tmp_path: Path,
) -> None:
    """And never the network's, the bridge's or the last one."""
    ipam, wanted = Ipam(tmp_path), ip_address("10.5.1.4")
    assert str(ipam.take(_owner(1), SMALL, wanted=wanted)) == "10.5.1.4/29"
    with pytest.raises(AddressTaken, match="held by overlay/c1@eth0"):
        ipam.take(_owner(2), SMALL, wanted=wanted)
    for text in ("10.5.1.0", "10.5.1.1", "10.5.1.7", "10.5.1.8"):
        with pytest.raises(AddressTaken, match="cannot be a pod's"):
            ipam.take(_owner(2), SMALL, wanted=ip_address(text))


def test_two_networks_of_one_node_never_share_an_address(tmp_path: Path) -> None:
    """They draw from one subnet; only the attachment knows its network's name."""
    ipam = Ipam(tmp_path)
    one, other = Owner("blue", "c1", "eth0"), Owner("green", "c1", "eth0")
    assert ipam.take(one, SMALL) != ipam.take(other, SMALL)
    ipam.release(one)
    assert list(ipam.held().values()) == ["green/c1@eth0"]


@pytest.mark.parametrize("kind", ["file", "directory", "foreign"])
def test_foreign_files_are_neither_given_out_nor_touched(kind: str, tmp_path: Path) -> None:
    """A name that is in the way is passed over and counts as held; other names do not matter."""
    (tmp_path / "ipam").mkdir()
    path = tmp_path / "ipam" / ("lock" if kind == "foreign" else "10.5.1.2")
    if kind == "directory":
        path.mkdir()
    else:
        path.write_text("x")
    ipam = Ipam(tmp_path)
    assert str(ipam.take(_owner(1), SMALL).ip) == ("10.5.1.2" if kind == "foreign" else "10.5.1.3")
    assert ipam.free(SMALL) == (4 if kind == "foreign" else 3)
    ipam.release(_owner(1))
    assert path.exists()


@pytest.mark.row("78")
def test_an_attachment_of_the_older_layout_is_freed(tmp_path: Path) -> None:
    """Version 1 kept the addresses of each network in a directory of its own."""
    old, owner = tmp_path / "ipam" / "overlay", _owner(1)
    old.mkdir(parents=True)
    (old / "10.5.1.2").symlink_to(owner.name)
    ipam = Ipam(tmp_path)
    ipam.write(msgspec.structs.replace(_journal(owner), version=1, addresses=("10.5.1.2/29",)))
    ipam.release(owner)
    assert list(old.iterdir()) == []
    assert ipam.places() == []
