"""The configuration against the agent's settings: what only an agent can do is never quietly dropped."""

from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import agreement, netconf
from overlay.errors import BadConfig
from overlay.nodefile import NodeFamily, NodePage

V4 = NodeFamily(ip_interface("10.5.1.1/24"), ip_network("10.5.0.0/16"))
V6 = NodeFamily(ip_interface("fd00:5::1/64"), ip_network("fd00:5::/48"))
RUN = Path("/run/overlay")
WIDE = {"etcd_endpoints": "https://a:2379,https://b:2379", "nodename": "n1"}
PAGE = NodePage((V4,), mtu=1450, agent_wide=WIDE)


def _config(**more: Any) -> netconf.Config:  # noqa: ANN401 - any JSON
    return netconf.read({"cniVersion": "1.0.0", "name": "overlay", **more}, strict=True)


@pytest.mark.row("15")
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"bridge": "overlay0", "ipMasq": True, "runDir": "/run/overlay", "nodename": "n1"},
        {"bridge": "", "etcd_endpoints": "", "nodename": ""},
        {"etcd_endpoints": " https://b:2379/ ,https://a:2379,"},
    ],
)
def test_what_agrees_or_is_not_stated_passes(config: dict[str, Any]) -> None:
    """Endpoints are a set."""
    agreement.check(_config(**config), PAGE, RUN)


@pytest.mark.row("70")
@pytest.mark.parametrize(
    ("key", "value", "agents"),
    [
        ("bridge", "cni0", "overlay0"),
        ("ipMasq", False, "True"),
        ("runDir", "/run/other", "/run/overlay"),
        ("nodename", "n2", "n1"),
        ("etcd_endpoints", "https://a:2379", "https://a:2379,https://b:2379"),
        ("etcd_key_file", "/k", "not set"),
    ],
)
def test_a_contradiction_names_key_and_both_values(key: str, value: Any, agents: str) -> None:  # noqa: ANN401
    """And what to do."""
    with pytest.raises(BadConfig) as caught:
        agreement.check(_config(**{key: value}), PAGE, RUN)
    for words in (key, str(value), agents):
        assert words in str(caught.value)
    assert f"leave {key} out" in caught.value.hint


@pytest.mark.row("70")
@given(asked=st.integers(0, 65535), node=st.integers(1280, 9000), dual=st.booleans())
def test_an_mtu_is_what_was_asked_for_or_an_error(asked: int, node: int, dual: bool) -> None:
    """Never another one, never one that does not fit; 0 asks for none."""
    page = NodePage((V4, V6) if dual else (V4,), mtu=node)
    got = 0
    try:
        got = agreement.mtu(_config(mtu=asked), page)
    except BadConfig as error:
        assert str(asked) in str(error)  # noqa: PT017 - both ways are looked at
        assert asked > node or asked < (1280 if dual else 68)
    assert got in (0, asked if asked else node)
