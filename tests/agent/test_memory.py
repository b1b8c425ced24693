"""memory: the VTEP's MAC and the last subnets outlive a reboot, and a torn file is no disaster."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.memory import Memory
from overlay import netconfig
from overlay.model import Family


def test_a_mac_is_made_once_and_kept(tmp_path: Path) -> None:
    """Peers never have to follow a new one."""
    first = Memory(tmp_path).mac(Family.V4, device_mac=None)

    assert Memory(tmp_path).mac(Family.V4, device_mac="02:00:00:00:00:99") == first
    assert int(first[:2], 16) & 3 == 2  # local, unicast


def test_a_living_devices_mac_is_taken_over(tmp_path: Path) -> None:
    """From flannel, say; each family has its own."""
    memory = Memory(tmp_path)

    assert memory.mac(Family.V4, device_mac="02:00:00:00:00:99") == "02:00:00:00:00:99"
    assert memory.mac(Family.V6, device_mac=None) != "02:00:00:00:00:99"


def test_the_last_subnets_are_remembered_beside_it(tmp_path: Path) -> None:
    """Both facts in one file, neither loses the other."""
    memory = Memory(tmp_path)
    mac = memory.mac(Family.V4, device_mac=None)
    memory.remember((ip_network("10.5.7.0/24"),))

    again = Memory(tmp_path)
    assert again.subnets == (ip_network("10.5.7.0/24"),)
    assert again.mac(Family.V4, device_mac=None) == mac


def test_the_copy_of_a_disk_is_not_at_home(tmp_path: Path) -> None:
    """Another machine has other network cards; neither fact of the file is lost by the other."""
    memory, cards = Memory(tmp_path), {"52:54:00:00:00:01", "52:54:00:00:00:02"}
    assert not memory.is_at_home(cards)
    memory.remember((ip_network("10.5.7.0/24"),), home=cards)

    again = Memory(tmp_path)
    assert again.is_at_home({"52:54:00:00:00:02"})  # one was replaced
    assert not again.is_at_home({"52:54:00:00:00:09"})
    assert not again.is_at_home(())
    assert again.subnets == (ip_network("10.5.7.0/24"),)


def test_a_family_that_is_taken_away_and_comes_back_finds_its_subnet(tmp_path: Path) -> None:
    """Rolled back to dual stack: the pods of before still have their IPv4 addresses."""
    dual = netconfig.parse_network(
        b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
    )
    alone = netconfig.parse_network(
        b'{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
    )
    four, six = ip_network("10.5.7.0/24"), ip_network("fd00:5:0:7::/64")
    Memory(tmp_path).remember((four, six))
    Memory(tmp_path).remember((six,))

    again = Memory(tmp_path)

    assert again.subnets == (six,)
    assert again.former(alone) == ()
    assert again.former(dual) == (four,)
    again.remember((four, six))
    assert again.former(dual) == ()


def test_an_unreadable_file_is_set_aside_not_fatal(tmp_path: Path) -> None:
    """The agent starts; the file is kept for whoever wants to know."""
    (tmp_path / "state.json").write_text('{"macs": {"V4"')

    assert Memory(tmp_path).subnets == ()
    assert (tmp_path / "state.unreadable").exists()


@pytest.mark.parametrize("mac", ["nonsense", "01:00:5e:00:00:01", "00:00:00:00:00:00", ""])
def test_a_mac_that_is_none_is_never_told_to_peers(tmp_path: Path, mac: str) -> None:
    """No node could read the record it would stand in, not even we."""
    (tmp_path / "state.json").write_text(f'{{"macs":{{"V4":"{mac}"}},"subnets":["10.5.9.0/24"]}}')

    made = Memory(tmp_path).mac(Family.V4, device_mac=None)

    assert made != mac
    assert Memory(tmp_path).mac(Family.V4, device_mac=None) == made
    assert (tmp_path / "state.unreadable").exists()
