"""route_metrics: another MTU, and nothing else of the route, whatever else it states."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.errors import BadInput
from overlay.netlink.attributes import HEADER, attribute, nested, unpack_attributes
from overlay.netlink.constants import RTA_CACHEINFO, RTA_METRICS, RTAX_MTU
from overlay.netlink.route_metrics import route_mtu, route_with_mtu

HEAD = struct.pack("=BBBBBBBBI", 2, 16, 0, 0, 254, 3, 0, 1, 16)
FIXED = 12


@given(
    st.dictionaries(
        st.integers(1, 17).filter(lambda kind: kind != RTAX_MTU), st.binary(max_size=16)
    ),  # one of them is a text: the name of a congestion control
    st.one_of(st.just(0), st.integers(68, 65535)),
    st.dictionaries(
        st.integers(1, 29).filter(lambda kind: kind not in (RTA_METRICS, RTA_CACHEINFO)),
        st.binary(min_size=1, max_size=16),
    ),
    st.integers(68, 65535),
)
def test_only_the_mtu_differs(
    metrics: dict[int, bytes], before: int, others: dict[int, bytes], mtu: int
) -> None:
    """Metrics and attributes that we do not know included."""
    if before:
        metrics = {**metrics, RTAX_MTU: struct.pack("=I", before)}
    listed = nested(RTA_METRICS, *(attribute(kind, value) for kind, value in metrics.items()))
    body = HEAD + b"".join(attribute(kind, value) for kind, value in others.items()) + listed
    assert route_mtu(body) == before
    sent = route_with_mtu(body, mtu)[HEADER.size :]
    assert route_mtu(sent) == mtu
    found = unpack_attributes(sent, FIXED)
    given_metrics = unpack_attributes(found.pop(RTA_METRICS), 0)
    assert given_metrics == metrics | {RTAX_MTU: struct.pack("=I", mtu)}
    assert found == others


def test_the_state_of_a_route_is_not_asked_for() -> None:
    """The kernel refuses RTNH_F_LINKDOWN and its like in a request; onlink is ours to say."""
    sent = route_with_mtu(HEAD, 1400)[HEADER.size :]
    assert struct.unpack_from("=BBBBBBBBI", sent)[-1] == 0


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Never anything else."""
    try:
        route_mtu(data)
    except BadInput:
        return


def test_a_torn_route_is_refused() -> None:
    """Shorter than its fixed part."""
    with pytest.raises(BadInput, match="a route of 3 bytes"):
        route_mtu(b"abc")
