"""draining: which of our subnets of an earlier network config are kept, and until when."""

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from agent.draining import addresses_in_use, has_pods, is_done, must_drain
from cni.ipam import LINKLESS
from overlay.model import Endpoint, Lease, Network
from overlay.netconfig import parse_network

POD = ip_address("10.5.3.7")


def _lease(*subnets: str) -> Lease:
    ends = tuple(Endpoint(ip_network(text)) for text in subnets)
    return Lease("&".join(text.replace("/", "-") for text in subnets), ends)


def _network(text: str) -> Network:
    return parse_network(f'{{{text},"Backend":{{"Type":"vxlan"}}}}'.encode())


OLD = _lease("10.5.3.0/24")
SIX = '"EnableIPv6":true,"IPv6Network":"fd00:5::/48"'


@pytest.mark.parametrize(
    ("config", "pods", "drains"),
    [
        ('"Network":"10.5.0.0/16"', [POD], False),
        ('"Network":"10.6.0.0/16"', [POD], True),
        ('"Network":"10.6.0.0/16"', [], False),
        ('"Network":"10.6.0.0/16"', [ip_address("10.6.3.7")], False),
        ('"Network":"10.5.0.0/16","SubnetLen":26', [POD], True),
        (f'"Network":"10.5.0.0/16",{SIX}', [POD], False),
        (f'"Network":"10.6.0.0/16",{SIX}', [POD], True),
    ],
)
def test_a_subnet_is_drained_if_the_config_gives_it_no_more_and_pods_live_there(
    config: str, pods: list[object], drains: bool
) -> None:
    """What is still given is taken along, with a family more or less; what nobody uses goes at once."""
    assert must_drain(OLD, _network(config), pods) is drains  # type: ignore[arg-type]


def test_both_families_stay_with_one() -> None:
    """IPv6 was switched off: the IPv4 subnet is the same, in another record."""
    assert not must_drain(
        _lease("10.5.3.0/24", "fd00:5::/64"), _network('"Network":"10.5.0.0/16"'), [POD]
    )


@pytest.mark.parametrize(("pod", "drains"), [("fd00:5::7", True), ("10.5.3.7", False)])
def test_another_range_of_one_family_keeps_what_its_pods_need(pod: str, drains: bool) -> None:
    """The record as a whole: the other half could not stand in two."""
    lease = _lease("10.5.3.0/24", "fd00:5::/64")
    config = '"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:6::/48"'

    assert must_drain(lease, _network(config), [ip_address(pod)]) is drains


def test_the_last_pod_ends_it(tmp_path: Path) -> None:
    """Every allocation counts, those under other plugins as well."""
    (tmp_path / "ipam").mkdir()
    (tmp_path / "ipam" / "10.5.3.7").symlink_to(f"cbr0/c1@eth0{LINKLESS}")

    assert addresses_in_use(tmp_path) == (POD,)
    assert has_pods(OLD, [POD])
    assert not is_done([OLD], tmp_path)
    (tmp_path / "ipam" / "10.5.3.7").unlink()
    assert is_done([OLD], tmp_path)
    assert not is_done([], tmp_path)
