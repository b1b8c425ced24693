"""The pages for others: byte for byte what they expect, and never half of one."""

import json
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay import nodefile
from overlay.errors import BadInput, NotReady
from overlay.nodefile import NodeFamily, NodePage

V4 = NodeFamily(ip_interface("10.5.72.1/24"), ip_network("10.5.0.0/16"))
V6 = NodeFamily(ip_interface("fd00:5:0:48::1/64"), ip_network("fd00:5::/48"))
PAGE = NodePage((V4,), mtu=1450, node="n1")


@pytest.mark.parametrize(
    ("families", "ip_masq", "text"),
    [
        (
            (V4,),
            True,
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n"
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        ),
        (
            (V4, V6),
            False,
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.72.1/24\n"
            "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:48::1/64\n"
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
        ),
        (
            (V6,),
            True,
            "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:48::1/64\n"
            "FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
        ),
    ],
)
def test_subnet_env_is_flannels_byte_for_byte(
    families: tuple[NodeFamily, ...], ip_masq: bool, text: str
) -> None:
    """Keys, order, spelling of the booleans and the last newline."""
    assert nodefile.subnet_env(NodePage(families, mtu=1450, ip_masq=ip_masq)) == text


@pytest.mark.parametrize("families", [(V4,), (V6,), (V4, V6)])
def test_a_page_read_is_the_page_written(families: tuple[NodeFamily, ...], tmp_path: Path) -> None:
    """Through the file, as the plugin reads it."""
    page = NodePage(families, mtu=1440, bridge="cni0", node="n", run_dir=str(tmp_path))
    nodefile.write_pages(page, tmp_path)
    assert nodefile.read_page(tmp_path) == page


def test_the_conflist_has_the_versions_that_runtimes_need() -> None:
    """1.0.0 for old libcni, the list for new; only plugins that are there; no runDir by default."""
    body = json.loads(nodefile.conflist(PAGE, plugins=["portmap", "tuning"]))
    assert body == {
        "cniVersion": "1.0.0",
        "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
        "name": "overlay",
        "plugins": [
            {"type": "overlay"},
            {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        ],
    }


def test_a_moved_run_directory_is_told_to_the_plugin() -> None:
    """So that many nodes live on one machine."""
    page = NodePage((V4,), mtu=1450, run_dir="/tmp/n1")
    assert json.loads(nodefile.conflist(page, plugins=[]))["plugins"] == [
        {"type": "overlay", "runDir": "/tmp/n1"}
    ]


def test_a_page_says_whose_it_is_only_if_there_are_several() -> None:
    """The page of a node with one agent has not changed."""
    assert b"instance" not in nodefile.format_page(PAGE)
    blue = replace(PAGE, instance="blue")
    assert nodefile.parse_page(nodefile.format_page(blue)) == blue
    assert blue.marks.table == "inet overlay-blue"


def test_an_unchanged_conflist_is_not_written_again(tmp_path: Path) -> None:
    """Each write makes a runtime reload."""
    path = nodefile.write_conflist(PAGE, tmp_path)
    before = path.stat().st_ino
    nodefile.write_conflist(PAGE, tmp_path)
    assert path.stat().st_ino == before
    nodefile.write_conflist(PAGE, tmp_path, plugins=[])
    assert path.stat().st_ino != before


def test_a_failed_write_leaves_the_old_page_and_no_litter(tmp_path: Path) -> None:
    """The rename onto a directory fails."""
    target = tmp_path / "10-x.conflist"
    (target / "full").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        nodefile.write_atomic(target, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_written_page_has_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    """Others must be able to read subnet.env; the journal is for root."""
    for name, mode in (("a", 0o644), ("b", 0o600), ("c", 0o755)):
        nodefile.write_atomic(tmp_path / name, b"", mode)
        assert (tmp_path / name).stat().st_mode & 0o7777 == mode


def test_no_page_says_what_to_look_at(tmp_path: Path) -> None:
    """Absent, torn or a directory: may be retried, with the path."""
    with pytest.raises(NotReady, match="no node page at") as caught:
        nodefile.read_page(tmp_path)
    assert "systemctl status overlay-agent" in caught.value.hint
    (tmp_path / "node.json").write_bytes(b'{"version":1')
    with pytest.raises(NotReady, match=r"node\.json"):
        nodefile.read_page(tmp_path)


def test_removal_is_idempotent(tmp_path: Path) -> None:
    """Twice, and of nothing."""
    nodefile.write_pages(PAGE, tmp_path)
    nodefile.write_conflist(PAGE, tmp_path)
    for _ in range(2):
        nodefile.remove_pages(tmp_path)
        nodefile.remove_conflist(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"mtu": 67},
        {"mtu": 65536},
        {"mtu": "1450"},
        {"bridge": "a/b"},
        {"bridge": "."},
        {"network": "../x"},
        {"instance": "../x"},
        {"families": []},
        {"families": [{"gateway": "10.5.1.1/24", "cluster": "10.6.0.0/16"}]},
        {"families": [{"gateway": "10.5.1.1/8", "cluster": "10.5.0.0/16"}]},
        {"families": [{"gateway": "10.5.1.1/24", "cluster": "10.5.0.0/16"}] * 2},
    ],
)
def test_a_page_that_cannot_be_right_is_refused(change: dict[str, object]) -> None:
    """Pods are not attached by guesswork."""
    body = {**json.loads(nodefile.format_page(PAGE)), **change}
    with pytest.raises(BadInput, match="node page"):
        nodefile.parse_page(json.dumps(body).encode())


@given(st.binary(max_size=200))
def test_any_bytes_are_a_page_or_one_error(data: bytes) -> None:
    """Nothing else is raised."""
    with pytest.raises(BadInput):
        nodefile.parse_page(data)
