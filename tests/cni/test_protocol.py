"""Environment and stdin become a request, or one error with the specification's code."""

import json
import os
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import netconf, protocol
from cni.owner import LONGEST_ALIAS, Owner, owner_at
from cni.protocol import VERSIONS, Verb
from overlay.errors import OverlayError

ENVIRON = {
    "CNI_CONTAINERID": "c-1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/x",
    "CNI_PATH": "/opt/cni/bin",
}
CONF = {"cniVersion": "1.0.0", "name": "overlay", "type": "overlay"}


def _parse(
    verb: str, environ: Mapping[str, str] = ENVIRON, stdin: bytes | None = None, **conf: object
) -> protocol.Request:
    body = json.dumps({**CONF, **conf}).encode() if stdin is None else stdin
    return protocol.parse({**environ, "CNI_COMMAND": verb}, body)


def _error(
    verb: str, *, stdin: bytes | None = None, without: str = "", **more: object
) -> tuple[int, str]:
    environ = {key: value for key, value in ENVIRON.items() if key not in without.split()}
    environ |= {key: str(value) for key, value in more.items() if key.startswith("CNI_")}
    conf = {key: value for key, value in more.items() if not key.startswith("CNI_")}
    with pytest.raises(OverlayError) as caught:
        _parse(verb, environ, stdin, **conf)
    return caught.value.cni_code, str(caught.value)


@pytest.mark.row("7", "19", "32", "47")
@pytest.mark.parametrize(
    ("verb", "needed"),
    [
        ("ADD", "CNI_CONTAINERID CNI_IFNAME CNI_NETNS"),
        ("CHECK", "CNI_CONTAINERID CNI_IFNAME CNI_NETNS"),
        ("DEL", "CNI_CONTAINERID CNI_IFNAME"),
    ],
)
def test_every_missing_variable_is_named_at_once(verb: str, needed: str) -> None:
    """Code 4, and the operator need not ask again for the next one."""
    code, message = _error(verb, without="CNI_CONTAINERID CNI_IFNAME CNI_NETNS")

    assert code == 4
    assert [name for name in ENVIRON if f"{name} is missing" in message] == needed.split()


@pytest.mark.row("54", "62")
@pytest.mark.parametrize("verb", ["GC", "STATUS", "VERSION"])
def test_verbs_about_the_network_need_no_container(verb: str) -> None:
    """GC, STATUS and VERSION get no CNI_CONTAINERID, CNI_IFNAME or CNI_NETNS."""
    assert _parse(verb, {}).verb is Verb(verb)


@pytest.mark.row("7", "10", "12")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CNI_CONTAINERID", "../etc"),
        ("CNI_CONTAINERID", "-c"),
        ("CNI_CONTAINERID", "a b"),
        ("CNI_CONTAINERID", "a\n"),
        ("CNI_IFNAME", "."),
        ("CNI_IFNAME", ".."),
        ("CNI_IFNAME", "a/b"),
        ("CNI_IFNAME", "a:b"),
        ("CNI_IFNAME", "a b"),
        ("CNI_IFNAME", "sixteen-bytes-16"),
        ("CNI_NETNS", "relative/path"),
        ("CNI_ARGS", "K8S_POD_NAME"),
        ("CNI_ARGS", "WHAT=ever"),
        ("CNI_COMMAND", "add"),
        ("CNI_COMMAND", ""),
    ],
)
def test_a_malformed_variable_is_code_4_by_name(name: str, value: str) -> None:
    """Nothing malformed reaches a path, a link name or the kernel."""
    environ = {**ENVIRON, "CNI_COMMAND": "ADD", name: value}
    with pytest.raises(OverlayError, match=name) as caught:
        protocol.parse(environ, json.dumps(CONF).encode())
    assert caught.value.cni_code == 4


@pytest.mark.row("8")
@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"  \n",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b"\xff\xfe",
        b'{"a":"\xff"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b" " * (protocol.MOST_STDIN_BYTES + 1),
    ],
)
def test_stdin_that_does_not_decode_is_code_6(stdin: bytes) -> None:
    """Empty, cut off, no object, no UTF-8, nested without end, endless."""
    assert _error("ADD", stdin=stdin)[0] == 6


@pytest.mark.row("76")
@pytest.mark.parametrize("version", VERSIONS)
def test_every_published_version_is_spoken(version: str) -> None:
    """0.1.0 to 1.1.0; and a configuration without one is 0.1.0."""
    assert _parse("ADD", cniVersion=version).config.version == version


@pytest.mark.row("79")
def test_a_configuration_without_a_version_is_the_oldest() -> None:
    """As libcni takes it."""
    assert _parse("ADD", stdin=b'{"name":"overlay"}').config.version == "0.1.0"


@pytest.mark.row("8", "76")
@pytest.mark.parametrize("version", ["9.9.9", "1.0", 1, ["1.0.0"], "1.0.0 "])
def test_an_unknown_version_is_code_1(version: object) -> None:
    """And the message says which there are."""
    code, message = _error("ADD", cniVersion=version)
    assert code == 1
    assert "1.1.0" in message


@pytest.mark.row("8", "11", "70")
@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", ""),
        ("name", "-x"),
        ("name", "../x"),
        ("name", 5),
        ("type", "../overlay"),
        ("ipam", {"type": "/bin/sh"}),
        ("ipam", "host-local"),
        ("mtu", "1440"),
        ("mtu", -1),
        ("mtu", 65536),
        ("mtu", True),
        ("mtu", 1440.5),
        ("bridge", "a/b"),
        ("ipMasq", "yes"),
        ("runDir", "run"),
        ("dns", []),
        ("dns", {"nameservers": "1.1.1.1"}),
        ("prevResult", []),
        ("runtimeConfig", []),
        ("args", "x"),
        ("policy", {"type": "other"}),
        ("kubernetes", "x"),
        ("log_level", "loud"),
        ("datastore_type", "kubernetes"),
        ("etcd_endpoints", ["http://x:1"]),
    ],
)
def test_a_bad_key_is_code_7_by_name(key: str, value: object) -> None:
    """The message names the key."""
    code, message = _error("ADD", stdin=json.dumps({**CONF, key: value}).encode())
    assert code == 7
    assert key in message


@pytest.mark.row("R5")
def test_a_configuration_gone_bad_never_stops_a_del() -> None:
    """Only what names the attachment counts."""
    request = _parse(
        "DEL",
        {**ENVIRON, "CNI_ARGS": "broken"},
        mtu="x",
        dns=1,
        type="../x",
        runDir=3,
        prevResult={},
    )
    assert request.owner == Owner("overlay", "c-1", "eth0")


@pytest.mark.row("13")
def test_the_keys_of_a_calico_style_conflist_are_taken() -> None:
    """A cluster moves over with its keys as they are."""
    request = _parse(
        "ADD",
        log_level="info",
        mtu=1440,
        etcd_endpoints="https://10.0.0.1:2379",
        etcd_key_file="/k",
        ipam={"type": "calico-ipam"},
        policy={"type": "k8s"},
        kubernetes={"kubeconfig": "/x"},
        capabilities={"portMappings": True},
    )
    assert request.config.mtu == 1440


@pytest.mark.row("R20", "73")
def test_args_are_split_at_the_first_equals_sign() -> None:
    """A value may hold one; unknown keys pass with IgnoreUnknown."""
    args = protocol.parse_args("IgnoreUnknown=1;K8S_POD_NAME=a=b;;NEW=")
    assert args == {"IgnoreUnknown": "1", "K8S_POD_NAME": "a=b", "NEW": ""}


@given(st.text(max_size=300), st.text(max_size=300), st.text(min_size=1, max_size=15))
def test_names_of_an_owner_fit_the_kernel_and_the_file_system(
    network: str, container: str, ifname: str
) -> None:
    """Whatever the length: file name, link name and alias are bounded."""
    owner = Owner(f"n{network}".replace("/", "_"), "c" + "x" * len(container), ifname)
    assert len(owner.name) <= 215
    assert len(owner.host_link) == 15
    assert len(owner.alias) <= LONGEST_ALIAS


@pytest.mark.row("38")
@given(
    st.from_regex(netconf.NAME, fullmatch=True),
    st.from_regex(netconf.NAME, fullmatch=True),
    st.from_regex(netconf.IFNAME, fullmatch=True),
)
def test_an_owner_is_read_from_its_place_or_not_at_all(
    network: str, container: str, ifname: str
) -> None:
    """Never as somebody else, whatever the interface is called: the sweep proves by it who has no link."""
    owner = Owner(network, container, ifname)
    assert owner_at(owner.place) in (owner, None)
    if "sha256-" not in owner.place:
        assert owner_at(owner.place) == owner


@pytest.mark.parametrize("name", ["CNI_ARGS", "CNI_PATH", "CNI_NETNS"])
def test_bytes_that_are_no_text_are_code_4_by_name(name: str) -> None:
    """They come out of the environment as lone surrogates, which no JSON and no journal can hold."""
    environ = {**ENVIRON, "CNI_COMMAND": "ADD", name: os.fsdecode(b"/\xff=1")}
    with pytest.raises(OverlayError, match=name) as caught:
        protocol.parse(environ, json.dumps(CONF).encode())
    assert caught.value.cni_code == 4


def test_bytes_that_are_no_text_never_stop_a_del() -> None:
    """Only what names the attachment counts."""
    environ = {**ENVIRON, "CNI_ARGS": os.fsdecode(b"\xff"), "CNI_PATH": os.fsdecode(b"/\xff")}
    assert _parse("DEL", environ).container == "c-1"
