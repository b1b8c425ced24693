"""ground: what fits inside, per family; what does not fit is said once, with both numbers."""

import argparse
import dataclasses
import logging
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import pytest

from agent import config
from agent.ground import Ground
from agent.underlay import Underlay
from overlay.desired import Me, Vtep
from overlay.errors import BadConfig
from overlay.model import Backend, Family, Network
from overlay.netlink import Netlink
from tests.examples import ME, NETWORK

V4, V6 = Family.V4, Family.V6


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """That is never asked to look."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    words = ["--node-name", "n1", "--machine-id", "0" * 32, "--run-dir", str(tmp_path)]
    return Ground(config.load(parser.parse_args(words), {}), cast(Netlink, None))


def _on(mtu: int, *families: Family) -> dict[Family, Underlay]:
    addresses = {V4: ip_address("192.0.2.1"), V6: ip_address("2001:db8::1")}
    return {family: Underlay("eth0", 2, addresses[family], mtu) for family in families}


@pytest.mark.parametrize(
    ("mtu", "expected"),
    [(9000, {V4: 8950, V6: 8930}), (1500, {V4: 1450, V6: 1430}), (1350, {V4: 1300, V6: 1280})],
)
def test_the_overhead_is_50_over_ipv4_and_70_over_ipv6(
    ground: Ground, mtu: int, expected: dict[Family, int]
) -> None:
    """Outer headers, UDP, VXLAN, and the inner Ethernet header."""
    assert ground.tunnel_mtus(_on(mtu, V4, V6), NETWORK, {}) == expected
    assert ground.tight == ""


def test_a_small_underlay_leaves_1230_to_ipv4_and_nothing_to_ipv6(ground: Ground) -> None:
    """IPv6 alone is an error that names both numbers; beside IPv4 it costs IPv4 nothing."""
    assert ground.tunnel_mtus(_on(1280, V4), NETWORK, {}) == {V4: 1230}
    with pytest.raises(
        BadConfig, match=r"underlay MTU 1280 of eth0 leaves 1210 .* IPv6 .at least 1280"
    ):
        ground.tunnel_mtus(_on(1280, V6), NETWORK, {})
    assert ground.tunnel_mtus(_on(1280, V4, V6), NETWORK, {}) == {V4: 1230}
    assert "leaves 1210" in ground.tight
    assert ground.tunnel_mtus(_on(1280, V4, V6), NETWORK, {V4: 1450, V6: 1430}) == {
        V4: 1230,
        V6: 1430,
    }


def test_backend_mtu_caps_and_is_never_more_than_the_interface_has(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    """Said at the first look, not each minute; and again when it is true again."""
    capped = Network(NETWORK.pools, Backend(mtu=1500))
    assert ground.tunnel_mtus(_on(9000, V4), capped, {}) == {V4: 1450}
    with caplog.at_level(logging.WARNING):
        for mtu in (1400, 1400, 9000, 1400, 1400):
            ground.tunnel_mtus(_on(mtu, V4), capped, {})
    assert caplog.text.count("Backend.MTU 1500 does not fit eth0 (MTU 1400)") == 2


def test_pods_keep_ipv6_where_only_ipv4_fits_less() -> None:
    """The kernel takes a pod's IPv6 addresses away below 1280, and does not give them back."""
    six = Vtep(
        ip_network("fd00:5:0:1::/64"),
        "overlay-v6.1",
        "02:06:00:00:00:01",
        ip_address("2001:db8::1"),
        "eth0",
        1430,
    )
    four = _with(ME.vteps[0], mtu=1230)
    assert Me("k", (four,), "overlay0").pod_mtu == 1230
    assert Me("k", (four, six), "overlay0").pod_mtu == 1280


def _with(vtep: Vtep, **changes: Any) -> Vtep:  # noqa: ANN401
    return dataclasses.replace(vtep, **changes)
