"""Results of other plugins: read by their own version, refused if they are none, and always answerable."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni import previous
from cni.netconf import VERSIONS
from cni.results import Result, encode_result
from overlay.errors import BadConfig

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
ADDRESS = st.sampled_from(["10.1.2.3/24", "fd00::7/64", "10.1.2.3", "10.1.2.3/33", "x"]) | JSON
NETWORK = st.sampled_from(["0.0.0.0/0", "::/0", "10.1.2.3/16", "fd00::1/48", "10.1"]) | JSON
GATEWAY = st.sampled_from(["10.1.2.1", "fd00::1", "", None]) | JSON
IP = st.fixed_dictionaries(
    {"address": ADDRESS},
    optional={"gateway": GATEWAY, "interface": st.integers(-1, 2) | JSON, "v": JSON},
)
ROUTE = st.fixed_dictionaries({"dst": NETWORK}, optional={"gw": GATEWAY, "mtu": JSON, "v": JSON})
IP_OLD = st.fixed_dictionaries(
    {"ip": ADDRESS}, optional={"gateway": GATEWAY, "routes": st.lists(ROUTE, max_size=2) | JSON}
)
RESULTS = st.fixed_dictionaries(
    {"cniVersion": st.sampled_from([*VERSIONS, "", "9", None])},
    optional={
        "interfaces": st.lists(st.fixed_dictionaries({"name": st.just("x"), "v": JSON}), max_size=2)
        | JSON,
        "ips": st.lists(IP, max_size=2) | JSON,
        "routes": st.lists(ROUTE, max_size=2) | JSON,
        "ip4": IP_OLD | JSON,
        "ip6": IP_OLD | JSON,
        "dns": JSON,
        "vendor": JSON,
    },
)


@pytest.mark.row("22", "30", "13")
@settings(deadline=None)
@given(given_=RESULTS)
def test_what_is_accepted_can_be_answered_in_every_version(given_: dict[str, Any]) -> None:
    """By then the pod is attached: no result may fail to be written. All else is BadConfig."""
    before, refused = previous.Previous(), "prevResult"
    try:
        before = previous.read(given_, unstated="1.0.0")
    except BadConfig as error:
        refused = str(error)
    assert "prevResult" in refused
    for version in VERSIONS:
        answer = json.loads(encode_result(Result((), (), before=before), version))
        assert answer["cniVersion"] == version
        again = previous.read(answer)
        if version not in ("0.1.0", "0.2.0"):
            assert (again.ips, len(again.routes)) == (before.ips, len(before.routes))


@pytest.mark.row("22")
def test_the_same_version_comes_out_as_it_went_in() -> None:
    """Keys that we do not know at every level."""
    body = {
        "cniVersion": "1.1.0",
        "interfaces": [{"name": "a", "mtu": 9, "z": [1]}],
        "ips": [{"address": "10.1.2.3/24", "interface": 0, "z": {}}],
        "routes": [{"dst": "10.1.2.3/16", "table": 7, "z": None}],
        "dns": {"nameservers": [], "z": 1},
        "z": {"y": 10**30},
    }
    assert json.loads(encode_result(Result((), (), before=previous.read(body)), "1.1.0")) == body


@pytest.mark.row("22", "20")
def test_an_interface_without_a_sandbox_is_the_hosts() -> None:
    """Go leaves empty ones out."""
    body = {
        "cniVersion": "1.0.0",
        "interfaces": [
            {"name": "eth0"},
            {"name": "eth0", "sandbox": ""},
            {"name": "eth0", "sandbox": "/a"},
        ],
        "ips": [{"address": "10.1.2.3/24", "interface": 2}, {"address": "10.1.2.4/24"}],
    }
    before = previous.read(body)
    assert before.interface("eth0", "/a") == 2
    assert before.interface("eth0", "/b") is None
    assert [str(item) for item in before.addresses_of(2)] == ["10.1.2.3/24", "10.1.2.4/24"]
    assert [str(item) for item in before.addresses_of(None)] == ["10.1.2.4/24"]


@pytest.mark.row("70")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ips", [{"address": 5}]),
        ("ips", [{"address": True}]),
        ("ips", [{}]),
        ("ips", [{"address": "10.1.2.3/24", "gateway": 7}]),
        ("ips", [{"address": "10.1.2.3/24", "interface": True}]),
        ("routes", [{"dst": "10.0.0.0/8", "gw": "x"}]),
        ("routes", [{"dst": "10.0.0.0/8", "gw": 5}]),
        ("routes", [{}]),
    ],
)
def test_numbers_and_blanks_are_no_addresses(key: str, value: object) -> None:
    """For Python's ipaddress 5 would be one."""
    with pytest.raises(BadConfig, match=f"prevResult.{key}"):
        previous.read({"cniVersion": "1.0.0", key: value})
