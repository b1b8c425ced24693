"""The configuration: what runtimes generate is read in every spelling, what cannot be read is said. Pure."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni import netconf
from cni.netconf import Config, valid_attachments
from overlay.errors import BadConfig, OverlayError

CONF = {"cniVersion": "1.0.0", "name": "overlay", "type": "overlay"}
ONE, TWO = ({"containerID": name, "ifname": "eth0"} for name in ("c1", "c2"))


def _read(**more: Any) -> Config:  # noqa: ANN401 - any JSON
    return netconf.read({**CONF, **more}, strict=True)


@pytest.mark.row("R18", "14", "60")
@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({}, None),
        ({"cni.dev/valid-attachments": None}, []),
        ({"cni.dev/attachments": []}, []),
        ({"cni.dev/valid-attachments": [ONE]}, ["c1"]),
        ({"cni.dev/valid-attachments": [ONE], "cni.dev/attachments": [ONE, TWO]}, ["c1", "c2"]),
        ({"cni.dev/valid-attachments": None, "cni.dev/attachments": [TWO]}, ["c2"]),
        ({"valid-attachments": [ONE]}, None),
    ],
    ids=str,
)
def test_absent_null_empty_and_filled_are_told_apart(
    given_: dict[str, Any], expected: list[str] | None
) -> None:
    """Both of libcni's names; absent is not empty."""
    found = valid_attachments(given_)
    assert (found if found is None else sorted(pair[0] for pair in found)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.sampled_from([ONE, TWO]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.row("R18")
@settings(deadline=None)
@given(JSON)
def test_a_list_that_cannot_be_read_is_never_an_empty_one(value: Any) -> None:  # noqa: ANN401 - any JSON
    """What would take living pods away is an error instead."""
    refused = False
    found: object = None
    try:
        found = valid_attachments({"cni.dev/valid-attachments": value})
    except BadConfig:
        refused = True
    assert refused or (not value and value in (None, [])) or found


@pytest.mark.row("R21", "14")
def test_runtime_keys_are_found_in_any_case() -> None:
    """containerd's structs have no JSON names; null never hides a value."""
    found = _read(runtimeConfig={"PortMappings": [1], "portMappings": None, "DNS": {}, "dns": None})
    assert found.runtime == {"portmappings": [1], "dns": {}}


@pytest.mark.row("13", "71", "73", "79")
def test_what_nobody_knows_and_what_is_null_is_accepted() -> None:
    """A configuration may say more than we understand, and null is not stated."""
    nulls = dict.fromkeys(
        ["mtu", "bridge", "ipMasq", "ipam", "dns", "runtimeConfig", "args", "prevResult"]
    )
    found = _read(**nulls, vendor={"a": [1]}, capabilities={"x": True}, disableCheck=True)
    assert (found.mtu, found.bridge, found.ip_masq, found.previous) == (None, None, None, None)
    assert not found.ipam.foreign
    assert netconf.read({"name": "x", "cniVersion": ""}, strict=True).version == "0.1.0"


@pytest.mark.row("69", "15")
@pytest.mark.parametrize(
    ("kind", "ipam", "is_ipam", "foreign"),
    [
        ("overlay", None, False, False),
        ("overlay", {}, False, False),
        ("overlay", {"type": "overlay"}, False, False),
        ("overlay", {"type": "calico-ipam"}, False, False),
        ("overlay", {"type": "host-local"}, False, True),
        ("bridge", {"type": "overlay"}, True, False),
        (None, {"type": "overlay"}, False, False),
    ],
)
@pytest.mark.parametrize("strict", [True, False])
def test_what_we_are_called_as(
    kind: str | None, ipam: dict[str, str] | None, is_ipam: bool, foreign: bool, strict: bool
) -> None:
    """By type and ipam.type, in a DEL as in an ADD."""
    found = netconf.read({**CONF, "type": kind, "ipam": ipam}, strict=strict)
    assert (found.is_ipam, found.ipam.foreign) == (is_ipam, foreign)


@pytest.mark.row("11")
@given(st.text(max_size=12) | st.from_regex(r"[./\0]{1,3}[a-z]{0,3}", fullmatch=True))
def test_no_path_is_a_program(name: str) -> None:
    """Whatever is accepted as ipam.type stays in CNI_PATH's directories (CVE-2021-20206)."""
    for strict in (True, False):
        kind = ""
        try:
            kind = netconf.read({**CONF, "ipam": {"type": name}}, strict=strict).ipam.kind
        except OverlayError:
            assert strict
        assert "/" not in kind
        assert kind not in (".", "..")


@pytest.mark.row("76", "64")
@given(st.text(max_size=8) | st.from_regex(r"[01]\.[0-9]\.[0-9]", fullmatch=True))
def test_a_version_is_one_of_the_list_or_code_1(version: str) -> None:
    """Literally."""
    code = 0
    try:
        netconf.read({**CONF, "cniVersion": version}, strict=False)
    except OverlayError as error:
        code = error.cni_code
    assert code == (0 if version in (*netconf.VERSIONS, "") else 1)


def test_a_configuration_keeps_what_came_for_those_it_is_handed_on_to() -> None:
    """As it came."""
    given_ = {**CONF, "vendor": {"a": [1, None]}, "ipam": {"type": "static"}}
    assert json.loads(json.dumps(_read(**given_).given)) == given_
