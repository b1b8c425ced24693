"""The MTU of pods that run, on a real kernel: what a pod asked for, what others did to it, and what is in its way."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.podlinks import PodLinks
from cni import record
from cni.ipam import Ipam
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.cni_node import OWNER, Node, shown
from tests.contract.spaces import inside, ip
from tests.contract.waiting import until

pytestmark = pytest.mark.contract


@pytest.fixture
def links(node: Node) -> PodLinks:
    """What looks after them; not started."""
    return PodLinks(node.run_dir, "overlay0")


def _give(node: Node, links: PodLinks, mtu: int) -> None:
    links.give(mtu)
    run_inside(node.space, links.tend_all)


def _run(space: Path, *lines: str) -> None:
    """Commands of ip(8), one after the other."""
    for line in lines:
        ip(space, *line.split())


def _mtus(node: Node, pod: Path, port: str = OWNER.host_link) -> tuple[int, int]:
    """The pod's end and the host's."""
    inner, outer = shown(pod, "link show eth0")[0], shown(node.space, f"link show {port}")[0]
    return inner["mtu"], outer["mtu"]


def _change_journal(node: Node, **changes: Any) -> None:  # noqa: ANN401 - any JSON
    path = node.run_dir / "attachments" / f"{OWNER.place}.json"
    given = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in given.items() if value is not None}))


def test_a_pod_has_what_fits_and_the_journal_says_so(
    node: Node, pod: Path, links: PodLinks, caplog: pytest.LogCaptureFixture
) -> None:
    """Both ends, one line, and CHECK agrees."""
    answer = node.add(pod)
    for mtu in (8950, 1230, 1450):
        _give(node, links, mtu)
        assert _mtus(node, pod) == (mtu, mtu)
        node.publish(mtu=mtu)
        assert node.call("CHECK", pod, prevResult=answer) == {}
    assert caplog.text.count("the pods follow, mtu 1450 -> 8950 pods=1") == 1
    assert (links.mended, links.faults) == (0, {})


def test_a_pod_is_attached_where_1230_bytes_fit(node: Node, pod: Path, links: PodLinks) -> None:
    """Over an underlay of 1280; a link of less than 1280 has no IPv6 whose link-local address could be refused."""
    node.publish(mtu=1230)
    node.add(pod)
    assert _mtus(node, pod) == (1230, 1230)
    inside(pod, "ping", "-c1", "-W9", "-Mdo", "-s1202", "10.5.1.1")
    _give(node, links, 1450)
    assert _mtus(node, pod) == (1450, 1450)


def test_what_the_configuration_asks_for_comes_back(node: Node, pod: Path, links: PodLinks) -> None:
    """1440 is never more, less only while it does not fit, and that is said meanwhile."""
    node.add(pod, mtu=1440)
    _give(node, links, 8950)
    assert _mtus(node, pod) == (1440, 1440)
    _give(node, links, 1230)
    assert _mtus(node, pod) == (1230, 1230)
    assert links.faults == {OWNER.place: ("it asks for MTU 1440, 1230 is the most that fits now",)}
    _give(node, PodLinks(node.run_dir, "overlay0"), 1450)  # another agent, after a restart
    assert _mtus(node, pod) == (1440, 1440)


def test_a_pod_of_an_older_version_never_gets_more_than_it_had(
    node: Node, pod: Path, links: PodLinks
) -> None:
    """Its journal does not say whether it asked for that."""
    node.add(pod, mtu=1400)
    _change_journal(node, asked_mtu=None)
    for fits, mtu in ((8950, 1400), (1230, 1230), (1450, 1400)):
        _give(node, links, fits)
        assert _mtus(node, pod) == (mtu, mtu)
    assert links.faults == {}


def test_a_chained_plugins_smaller_mtu_stays(node: Node, pod: Path, links: PodLinks) -> None:
    """As Debian's tuning sets it, in the pod alone."""
    node.add(pod)
    ip(pod, *["link", "set", "eth0", "mtu", "1400"])
    for fits, mtu in ((8950, 1400), (1230, 1230), (1450, 1400)):
        _give(node, links, fits)
        assert _mtus(node, pod) == (mtu, mtu)


def test_half_of_it_done_is_no_wish_of_the_pod(node: Node, pod: Path, links: PodLinks) -> None:
    """The agent was killed between the pod's end and the journal."""
    node.add(pod)
    ip(pod, *["link", "set", "eth0", "mtu", "1230"])
    for mtu in (1230, 1450):
        _give(node, links, mtu)
        assert _mtus(node, pod) == (mtu, mtu)


def test_routes_that_state_an_mtu_follow(dual: Node, pod: Path) -> None:
    """Else a route would go on promising what its link cannot hold; nothing else of it changes."""
    links = PodLinks(dual.run_dir, "overlay0")
    dual.add(pod)
    routes = (
        "10.8.0.0/16 via 10.5.1.1 dev eth0 proto static src 10.5.1.2 metric 7 mtu 1450 advmss 1300",
        "10.9.0.0/16 via 10.5.1.1 dev eth0 mtu 1300",
        "fd00:8::/32 via fd00:5:0:1::1 dev eth0 metric 9 mtu 1450",
    )
    for route in routes:
        ip(pod, "route", "add", *route.split())

    def listed() -> list[str]:
        text = ip(pod, "route") + ip(pod, "-6", "route", "show", "root", "fd00:8::/32")
        return [" ".join(line.split()) for line in text.splitlines() if " mtu " in line]

    before = listed()
    _give(dual, links, 1330)
    assert [line.replace("1330", "1450") for line in listed()] == before
    assert len(before) == 3
    assert sum(" mtu 1330" in line for line in listed()) == 2
    _give(dual, links, 1290)
    assert sum(" mtu 1290" in line for line in listed()) == 3
    _give(dual, links, 1450)
    assert sum(" mtu 1450" in line for line in listed()) == 3


def test_routes_by_next_hop_objects_follow(dual: Node, pod: Path) -> None:
    """The kernel lists the hop beside the object, and refuses both in a request."""
    links = PodLinks(dual.run_dir, "overlay0")
    dual.add(pod)
    _run(
        pod,
        "nexthop add id 5 via 10.5.1.1 dev eth0",
        "nexthop add id 6 via fd00:5:0:1::1 dev eth0",
        "route add 10.8.0.0/16 nhid 5 mtu 1450",
        "route add 10.9.0.0/16 via 10.5.1.1 mtu 1450",
        "-6 route add fd00:8::/32 nhid 6 mtu 1450",
    )
    for mtu in (1330, 1450):
        _give(dual, links, mtu)
        text = ip(pod, "route") + ip(pod, "-6", "route", "show", "root", "fd00:8::/32")
        assert text.count(f" mtu {mtu}") == 3
        assert _mtus(dual, pod) == (mtu, mtu)
    assert links.faults == {}


def test_each_of_several_routes_to_a_subnet_follows(node: Node, pod: Path, links: PodLinks) -> None:
    """The kernel replaces the first one, whichever is meant; one of another interface is none of our business."""
    node.add(pod)
    _run(
        pod,
        "link add side type veth peer name other",
        "link set side up",
        "route add 10.7.0.0/16 dev side",
        "route append 10.7.0.0/16 via 10.5.1.1 mtu lock 1450",
        "route append 10.7.0.0/16 via 10.5.1.9 mtu 1450",
        "route append 10.8.0.0/16 mtu 1450 nexthop via 10.5.1.1 nexthop via 10.5.1.9",
        "nexthop add id 5 via 10.5.1.1 dev eth0",
        "route append 10.8.0.0/16 nhid 5 mtu 1450",
    )

    def listed() -> list[
        list[str]
    ]:  # the kernel may say of a link without its peer that it is down, in time
        return [line.replace("linkdown", "").split() for line in ip(pod, "route").splitlines()]

    before = listed()
    for mtu in (1330, 1450):
        _give(node, links, mtu)
        assert listed() == [[word.replace("1450", str(mtu)) for word in line] for line in before]
    assert links.faults == {}


def test_a_route_that_the_kernel_refuses_costs_nothing_else(
    node: Node, pod: Path, links: PodLinks
) -> None:
    """It is named; its pod has the MTU that is due, then and later. This one's gateway is none any more."""
    node.add(pod)
    _run(
        pod,
        "link add side type veth peer name other",
        "link set side up",
        "route add 10.7.0.0/16 dev eth0",
        "route add 10.6.0.0/16 via 10.7.0.9 mtu 1450",
        "route del 10.7.0.0/16",
        "route add 10.7.0.0/16 dev side",
        "route add 10.8.0.0/16 via 10.5.1.1 mtu 1450",
    )
    for mtu in (1330, 1450):
        _give(node, links, mtu)
        assert _mtus(node, pod) == (mtu, mtu)
        assert f" mtu {mtu}" in ip(pod, "route", "show", "10.8.0.0/16")
        if mtu == 1330:
            assert "its route to 10.6.0.0/16 keeps MTU 1450" in str(links.faults)
    assert links.faults == {}


def test_a_pod_with_ipv6_is_never_set_below_what_ipv6_needs(dual: Node, pod: Path) -> None:
    """Linux would take its addresses away, and not give them back: on a node that has lost its IPv6, say."""
    links = PodLinks(dual.run_dir, "overlay0")
    dual.add(pod)
    _give(dual, links, 1230)
    assert _mtus(dual, pod) == (1280, 1280)
    assert "inet6 fd00:5:0:1::" in ip(pod, "-6", "addr", "show", "dev", "eth0")


def test_a_pod_of_another_plugin_is_lowered_and_gets_back_what_it_had(
    node: Node, pod: Path, links: PodLinks
) -> None:
    """Adopted from flannel: too long a packet would be lost between it and our own pods."""
    words = "link add veth9 mtu 1430 type veth peer name eth0 mtu 1430 netns"
    ip(node.space, *words.split(), pod.name)
    ip(node.space, *["link", "set", "veth9", "master", "overlay0", "up"])
    Ipam(node.run_dir).write(
        record.Attachment(
            *(OWNER.network, OWNER.container, OWNER.ifname, str(pod), ""),
            addresses=("10.5.1.7/24",),
            version=record.RECORD_VERSION,
            netns_inode=pod.stat().st_ino,
            mtu=1430,
            bridge="overlay0",
            adopted="/var/lib/cni/networks/cbr0",
        )
    )
    for fits, mtu in ((8950, 1430), (1230, 1230), (8950, 1430)):
        _give(node, links, fits)
        assert _mtus(node, pod, "veth9") == (mtu, mtu)


def test_a_pod_that_cannot_follow_is_named_and_costs_no_other(
    node: Node, pod: Path, other: Path, links: PodLinks
) -> None:
    """Somebody renamed its interface."""
    node.add(pod)
    node.add(other, container="c2")
    ip(pod, *["link", "set", "eth0", "down", "name", "eth9"])
    _give(node, links, 8950)
    assert shown(other, "link show eth0")[0]["mtu"] == 8950
    assert links.faults == {OWNER.place: ("interface eth0 is gone from the pod",)}


def test_a_pod_whose_path_is_gone_is_entered_by_its_process(node: Node, links: PodLinks) -> None:
    """A runtime may take the path away while the pod lives."""
    with spaces.namespace() as pod:
        node.add(pod)
        living = subprocess.Popen(["nsenter", f"--net={pod}", "--", "sleep", "60"])
        try:
            until(lambda: Path(f"/proc/{living.pid}/comm").read_text() == "sleep\n")
            _change_journal(node, netns="/nowhere")
            _give(node, links, 8950)
            assert _mtus(node, pod) == (8950, 8950)
        finally:
            living.kill()
            living.wait()


def test_the_hosts_end_gets_its_mtu_back(node: Node, pod: Path, links: PodLinks) -> None:
    """What somebody else lowered would lose the pod's long packets without a word."""
    node.add(pod)
    ip(node.space, "link", "set", OWNER.host_link, "mtu", "1300")
    run_inside(node.space, lambda: links.tend(OWNER.place))
    assert (_mtus(node, pod), links.mended) == ((1450, 1450), 1)
    inside(pod, "ping", "-c1", "-W9", "-Mdo", "-s1422", "10.5.1.1")


def test_a_hosts_end_with_another_name_follows_and_gets_its_own_back(
    node: Node, pod: Path, links: PodLinks
) -> None:
    """A veth whose one end holds less than the other sends loses packets without a word."""
    node.add(pod)
    ip(node.space, "link", "set", OWNER.host_link, "name", "foo0")
    _give(node, links, 8950)
    assert _mtus(node, pod, "foo0") == (8950, 8950)
    run_inside(node.space, lambda: links.tend(OWNER.place))
    assert (_mtus(node, pod), links.mended, links.faults) == ((8950, 8950), 1, {})
