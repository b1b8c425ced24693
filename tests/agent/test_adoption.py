"""adoption: what another flannel left is taken as it is, and a flanneld that still runs is waited for."""

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import adoption
from agent.memory import Memory
from agent.underlay import Hosts
from overlay.errors import BadConfig, NotReady
from overlay.model import Backend, Family, Lease, Network, Pool
from overlay.netlink import AddressInfo, LinkInfo
from overlay.netlink.vxlan_info import VxlanInfo

POOL = Pool(ip_network("10.5.0.0/16"), 24, ip_network("10.5.1.0/24"), ip_network("10.5.255.0/24"))
NETWORK = Network((POOL,), Backend())
THEIRS, OURS = "c6:d2:32:6f:8f:44", "02:00:00:00:00:01"
PREFIX = "/coreos.com/network"


def link(index: int, name: str, kind: str, **more: object) -> LinkInfo:
    """A link that is UP, unmarked and in no bridge unless said otherwise."""
    plain = LinkInfo(index, name, kind, THEIRS, 1450, True, True, "", 0, 0, 0, None)
    return replace(plain, **more)  # type: ignore[arg-type]


def vxlan(index: int, name: str, vni: int = 1, **more: object) -> LinkInfo:
    """A VXLAN device."""
    info = VxlanInfo(vni, 8472, ip_address("192.0.2.1"), 2, False, False)
    return link(index, name, "vxlan", vxlan=info, **more)


def hosts(*links: LinkInfo, addresses: tuple[AddressInfo, ...] = ()) -> Hosts:
    """With these links and addresses, without routes."""
    return Hosts(links, addresses, ())


# --- devices ------------------------------------------------------------------------------------------


def test_flannels_device_keeps_its_name_and_ours_comes_first() -> None:
    """Only one of our VNI."""
    theirs, ours = vxlan(5, "flannel.1"), vxlan(6, "overlay.1")

    assert adoption.device(hosts(theirs), NETWORK, Family.V4) == ("flannel.1", theirs)
    assert adoption.device(hosts(theirs, ours), NETWORK, Family.V4) == ("overlay.1", ours)
    assert adoption.device(hosts(vxlan(5, "flannel.1", vni=7)), NETWORK, Family.V4) == (
        "overlay.1",
        None,
    )


def test_a_device_of_another_program_is_right_about_its_mac(tmp_path: Path) -> None:
    """All peers know it; what we remember of an earlier life they do not. Of our own device we know better."""
    memory = Memory(tmp_path)
    memory.mac(Family.V4, device_mac=OURS)

    marked = vxlan(5, "flannel.1", alias="overlay:vtep")
    assert adoption.vtep_mac(memory, Family.V4, marked) == OURS
    assert adoption.vtep_mac(memory, Family.V4, vxlan(5, "flannel.1")) == THEIRS
    assert adoption.vtep_mac(Memory(tmp_path), Family.V4, None) == THEIRS


def test_a_bridge_of_another_program_keeps_its_mac_for_good(tmp_path: Path) -> None:
    """Marked by now, or gone by a reboot: still the same gateway for pods."""
    memory = Memory(tmp_path)
    assert adoption.bridge_mac(memory, hosts(), "cni0") == ""
    assert adoption.bridge_mac(memory, hosts(link(3, "cni0", "bridge")), "cni0") == THEIRS

    again = Memory(tmp_path)
    bent = link(3, "cni0", "bridge", alias="overlay:bridge", mac=OURS)
    assert adoption.bridge_mac(again, hosts(bent), "cni0") == THEIRS
    assert adoption.bridge_mac(again, hosts(), "cni0") == THEIRS
    assert adoption.bridge_mac(again, hosts(), "overlay0") == ""


def test_pods_of_another_bridge_are_not_cut_off_silently() -> None:
    """Named with its address and its ports; a bridge without ports, or of another range, is in nobody's way."""
    cni0, port = link(3, "cni0", "bridge"), link(4, "veth1", "veth", master=3)
    inside = (AddressInfo(3, ip_interface("10.5.72.1/24"), 0, 0),)
    outside = (AddressInfo(3, ip_interface("172.17.0.1/16"), 0, 0),)

    with pytest.raises(BadConfig, match=r"bridge cni0 has 10\.5\.72\.1/24 .* and 1 ports") as found:
        adoption.refuse_two_bridges(hosts(cni0, port, addresses=inside), NETWORK, "overlay0")
    assert 'bridge = "cni0"' in found.value.hint
    adoption.refuse_two_bridges(hosts(cni0, port, addresses=inside), NETWORK, "cni0")
    adoption.refuse_two_bridges(hosts(cni0, addresses=inside), NETWORK, "overlay0")
    adoption.refuse_two_bridges(hosts(cni0, port, addresses=outside), NETWORK, "overlay0")


# --- a flanneld that runs ------------------------------------------------------------------------------


def process(proc: Path, pid: int, *words: str, space: str = "own", environ: str = "") -> None:
    """A directory as /proc has it; ``ns/net`` is a link to a file that stands for the namespace."""
    home = proc / str(pid)
    (home / "ns").mkdir(parents=True)
    (proc / space).touch()
    (home / "ns" / "net").symlink_to(proc / space)
    (home / "comm").write_text(words[0].rpartition("/")[2][:15] + "\n")
    (home / "cmdline").write_text("\0".join(words) + "\0")
    (home / "environ").write_text(environ)


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """With ourselves in it."""
    process(tmp_path, 1, "overlay-agent")
    (tmp_path / "self").symlink_to(tmp_path / "1")
    return tmp_path


@pytest.mark.parametrize(
    ("words", "environ"),
    [
        (("/opt/bin/flanneld", "-ip-masq"), ""),
        (("flanneld", "--etcd-prefix", PREFIX), ""),
        (("flanneld-amd64", "-etcd-prefix=/coreos.com/network/"), ""),
        (("flanneld",), "HOME=/\0FLANNELD_ETCD_PREFIX=/coreos.com/network\0"),
    ],
)
def test_a_flanneld_of_our_network_is_found(
    proc: Path, words: tuple[str, ...], environ: str
) -> None:
    """Whatever spelling of the prefix; the reason names the process, the hint both ways out."""
    process(proc, 4711, *words, environ=environ)

    with pytest.raises(NotReady, match=r"flanneld runs on this node \(pid 4711\)") as found:
        adoption.refuse_beside_flanneld(PREFIX, proc=proc)
    assert "systemctl disable --now flanneld" in found.value.hint


@pytest.mark.parametrize(
    ("words", "space", "environ"),
    [
        (("flanneld",), "another", ""),
        (("flanneld", "-etcd-prefix=/other"), "own", ""),
        (("flanneld",), "own", "FLANNELD_ETCD_PREFIX=/other\0"),
        (("vim", "flanneld"), "own", ""),
    ],
)
def test_other_programs_and_other_networks_are_nobodys_business(
    proc: Path, words: tuple[str, ...], space: str, environ: str
) -> None:
    """Another namespace (a node of a lab), another prefix, another program."""
    process(proc, 4711, *words, space=space, environ=environ)

    adoption.refuse_beside_flanneld(PREFIX, proc=proc)


def test_the_status_names_the_way_out() -> None:
    """While it runs: stop it; when it has only left its record: write ours again."""
    theirs, ours = Lease("10.5.1.0-24", ()), Lease("10.5.1.0-24", (), machine_id="0" * 32)

    assert adoption.trouble(ours, []) == adoption.trouble(None, []) == ""
    assert "disable --now flanneld" in adoption.trouble(ours, ["flanneld runs"])
    only_the_record = adoption.trouble(theirs, [])
    assert "restart overlay-agent" in only_the_record
    assert "disable" not in only_the_record


def test_processes_that_end_under_our_eyes_are_no_error(proc: Path) -> None:
    """Files vanish; /proc itself may be hidden."""
    process(proc, 4711, "flanneld")
    for name in ("cmdline", "environ"):
        (proc / "4711" / name).unlink()
    (proc / "4711" / "ns" / "net").unlink()

    assert adoption.beside(PREFIX, proc=proc) == []
    assert adoption.beside(PREFIX, proc=proc / "absent") == []


@given(words=st.lists(st.text(max_size=20), max_size=6), prefix=st.sampled_from(["/a", "/a/b"]))
def test_the_last_spelling_of_a_flag_counts(words: list[str], prefix: str) -> None:
    """As in Go; nothing on a command line makes us fail."""
    for ending in ((f"-etcd-prefix={prefix}",), ("--etcd-prefix", prefix)):
        assert adoption.flag([*words, *ending], "etcd-prefix") == prefix
