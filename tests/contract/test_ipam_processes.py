"""Addresses on tmpfs, taken by processes at once: nobody gets another's."""

import multiprocessing
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from cni.ipam import Ipam
from cni.owner import Owner
from overlay.nodefile import NodeFamily

SUBNET = NodeFamily(ip_interface("10.5.1.1/24"), ip_network("10.5.1.0/24"))


def _owner(number: int) -> Owner:
    return Owner("overlay", f"c{number}", "eth0")


def _take_some(run_dir: Path, number: int) -> list[str]:
    ipam = Ipam(run_dir)
    kept = [str(ipam.take(_owner(number * 100 + item), SUBNET)) for item in range(60)]
    for item in range(0, 60, 2):
        ipam.release(_owner(number * 100 + item))
    return kept[1::2]


@pytest.mark.row("16")
def test_processes_at_once_never_share_an_address(tmp_path: Path) -> None:
    """Four processes take 240 of 253 addresses and give half of them back."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        answers = pool.starmap(_take_some, [(tmp_path, number) for number in range(4)])
    kept = [address for answer in answers for address in answer]
    held = [path.name for path in (tmp_path / "ipam").glob("[0-9]*")]
    assert len(kept) == len(set(kept)) == 120
    assert sorted(f"{name}/24" for name in held) == sorted(kept)
