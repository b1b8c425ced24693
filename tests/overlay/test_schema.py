"""schema: flannel's bytes exactly, everything else tolerated or refused with a reason, never a crash."""

import contextlib
import json
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overlay.errors import BadRecord
from overlay.model import Endpoint, Family, Lease, Subnet
from overlay.schema import _object, format_key, format_lease, parse_key, parse_lease

RECORDED = (
    b'{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}'
)
"""What flanneld v0.28 writes for a node with IPv4 only."""
RECORDED_DUAL = (
    b'{"PublicIP":"192.0.2.1","PublicIPv6":"2001:db8::1","BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},'
    b'"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}'
)

macs = st.binary(min_size=6, max_size=6).map(
    lambda raw: ":".join(f"{byte:02x}" for byte in bytes([raw[0] & 0xFE | 2, *raw[1:]]))
)
words = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,30}", fullmatch=True)
v4_ends = st.builds(
    Endpoint,
    st.integers(0, 2**16 - 1).map(lambda n: IPv4Network((0x0A050000 + (n << 8), 24))),
    st.integers(0x0B000000, 0x0BFFFFFF).map(IPv4Address),
    macs,
    st.integers(1, 2**24 - 1),
)
v6_ends = st.builds(
    Endpoint,
    st.integers(0, 2**16 - 1).map(lambda n: IPv6Network(((0xFD << 120) + (n << 64), 64))),
    st.integers(1, 2**32).map(lambda n: IPv6Address((0x20010DB8 << 96) + n)),
    macs,
    st.integers(1, 2**24 - 1),
)


@st.composite
def leases(draw: st.DrawFn) -> Lease:
    """Any lease of ours: IPv4, dual stack or IPv6 only."""
    ends = draw(st.sampled_from([(v4_ends,), (v4_ends, v6_ends), (v6_ends,)]))
    endpoints = tuple(draw(end) for end in ends)
    return Lease(
        key=format_key([end.subnet for end in endpoints]),
        endpoints=endpoints,
        node=draw(words),
        machine_id=draw(words),
        version=draw(words),
    )


@given(leases())
def test_what_is_written_is_read_back(lease: Lease) -> None:
    """Round trip, both families."""
    assert parse_lease(lease.key, format_lease(lease)) == lease


@pytest.mark.parametrize(
    ("key", "value"),
    [("10.5.1.0-24", RECORDED), ("10.5.1.0-24&fd00:0:0:1::-64", RECORDED_DUAL)],
)
def test_flannels_records_are_written_byte_for_byte(key: str, value: bytes) -> None:
    """Read and written again they are what flanneld wrote, field order included."""
    lease = parse_lease(key, value)

    assert format_lease(lease) == value
    assert format_key([end.subnet for end in lease.endpoints]) == key


def test_our_own_fields_follow_flannels() -> None:
    """flannel ignores what it does not know, so they are safe at the end."""
    lease = parse_lease("10.5.1.0-24", RECORDED)
    ours = Lease(lease.key, lease.endpoints, node="n1", machine_id="ab" * 16, version="0.1.0")

    assert format_lease(ours) == RECORDED[:-1] + (
        b',"Node":"n1","MachineID":"' + b"ab" * 16 + b'","AgentVersion":"0.1.0"}'
    )


@pytest.mark.parametrize(
    ("key", "subnets"),
    [
        ("10.5.1.0-24", ["10.5.1.0/24"]),
        ("10.5.1.0-24&fd00:0:0:1::-64", ["10.5.1.0/24", "fd00:0:0:1::/64"]),
        ("fd00:0:0:1::-64", ["fd00:0:0:1::/64"]),
    ],
)
def test_good_keys(key: str, subnets: list[str]) -> None:
    """IPv4, dual, and our IPv6-only form."""
    assert list(parse_key(key)) == [ip_network(net) for net in subnets]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "foo",
        "10.5.1.0",
        "10.5.1.0-",
        "10.5.1.0-33",
        "10.5.1.1-24",
        "300.5.1.0-24",
        "10.5.1.0-24&",
        "&fd00::-64",
        "10.5.1.0-24fd00::-64",
        "10.5.1.0-24&fd00::1-64",
        "10.5.1.0-24&FD00::-64",
        "10.5.1.0-24&fd00::-129",
        "10.5.1.0-24/x",
        "10.5.1.0-24 ",
        "foo/10.5.1.0-24",
    ],
)
def test_bad_keys_are_refused(key: str) -> None:
    """Never a guess."""
    with pytest.raises(BadRecord, match="key"):
        parse_key(key)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "not an object"),
        (b"{" * 100_000, "bytes"),
        (b'{"PublicIP":"192.0.2.999"}', "publicip"),
        (b'{"PublicIP":7}', "publicip"),
        (b'{"PublicIP":"2001:db8::1"}', "publicip"),
        (b'{"PublicIP":"127.0.0.1"}', "cannot be a node's address"),
        (b'{"PublicIP":"224.0.0.1"}', "cannot be a node's address"),
        (b'{"BackendType":"vxlan","BackendData":[]}', "backenddata"),
        (b'{"BackendType":"vxlan","BackendData":{"VtepMAC":"zz"}}', "VtepMAC"),
        (b'{"BackendType":"vxlan","BackendData":{"VtepMAC":"ff:ff:ff:ff:ff:ff"}}', "unicast"),
        (b'{"BackendType":7}', "backendtype"),
        (b'{"Node":"a\\u001bb"}', "node"),
    ],
)
def test_bad_values_name_the_field(value: bytes, said: str) -> None:
    """One clear reason, which overlayctl leases shows."""
    with pytest.raises(BadRecord, match=said):
        parse_lease("10.5.1.0-24", value)


def test_what_flannel_tolerates_is_tolerated() -> None:
    """Keys in any case, absent MAC, foreign backend, unknown fields, no PublicIP."""
    text = b'{"publicip":"192.0.2.7","BACKENDTYPE":"vxlan","backenddata":{"vtepmac":"C6-D2-32-6F-8F-44"}}'
    end = parse_lease("10.5.1.0-24", text).endpoint(Family.V4)
    assert end is not None
    assert (end.underlay, end.mac) == (ip_address("192.0.2.7"), "c6:d2:32:6f:8f:44")

    for other in (b"{}", b'{"BackendType":"wireguard","BackendData":{"PublicKey":"x"},"New":1}'):
        end = parse_lease("10.5.1.0-24", other).endpoint(Family.V4)
        assert end is not None
        assert end.mac is None


@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.dictionaries(
                st.sampled_from(
                    [
                        "PublicIP",
                        "PublicIPv6",
                        "BackendType",
                        "BackendData",
                        "VtepMAC",
                        "VNI",
                        "Node",
                    ]
                ),
                inner,
            )
            | st.lists(inner, max_size=3)
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode())
)
def test_hostile_values_give_a_lease_or_a_reason(value: bytes) -> None:
    """Nothing but BadRecord ever comes out."""
    with contextlib.suppress(BadRecord):
        assert len(parse_lease("10.5.1.0-24&fd00::-64", value).endpoints) == 2


@given(st.text(max_size=60))
def test_hostile_keys_give_subnets_or_a_reason(key: str) -> None:
    """Nothing but BadRecord ever comes out, and a key that is read is canonical."""
    try:
        subnets = parse_key(key)
    except BadRecord:
        return
    assert parse_key(format_key(subnets)) == subnets


def test_thousands_of_records_share_the_text_that_they_have_in_common() -> None:
    """Backend and version; names and machine ids differ in each and are in no table of texts."""
    one, other = (
        parse_lease(
            f"10.5.{number}.0-24", format_lease(Lease("", (), version="0.1.0-x", node="n-x"))
        )
        for number in (1, 2)
    )
    assert one.version is other.version
    assert one.backend is other.backend
    assert one.node is not other.node


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(
    st.binary(max_size=64)
    | st.builds(lambda it: json.dumps(it).encode(), st.dictionaries(st.text(), _JSON))
    | st.builds(lambda it: json.dumps(it, ensure_ascii=False).encode("utf-16"), _JSON)
    | st.sampled_from(
        [b"\xef\xbb\xbf{}", b'{"a":1e999}', b'{"a":"\\ud800"}', b'{"a":1,"a":2}', b"["]
    )
)
def test_the_fast_reader_reads_as_pythons_own(value: bytes) -> None:
    """Whatever the bytes are: the same object, or the same refusal."""
    said = ""
    try:
        plain = json.loads(value)
    except ValueError as error:
        plain, said = None, f"value is not JSON: {error}"
    if said:
        with pytest.raises(BadRecord) as caught:
            parse_lease("10.5.1.0-24", value)
        assert str(caught.value) == said
    elif isinstance(plain, dict):
        assert repr(_object(value)) == repr({key.lower(): it for key, it in plain.items()})
    else:
        with pytest.raises(BadRecord, match="not an object"):
            parse_lease("10.5.1.0-24", value)


@given(
    st.tuples(*[st.integers(0, 300)] * 4).map(lambda it: ".".join(map(str, it))),
    st.integers(0, 40).map(str) | st.sampled_from(["08", "٢٤"]),
)
@example("10.5.1.0", "٢٤")
@example("10.0.0.0", "08")
def test_a_key_is_read_as_ipaddress_reads_a_network(address: str, length: str) -> None:
    """The same subnet, or the same words."""
    key, said = f"{address}-{length}", ""
    expected: tuple[Subnet, ...] = ()
    try:
        expected = (ip_network(f"{address}/{length}"),)
    except ValueError as error:
        said = f"key {key!r}: {error}"
    if said:
        with pytest.raises(BadRecord) as caught:
            parse_key(key)
        assert str(caught.value) == said
    else:
        assert parse_key(key) == expected
