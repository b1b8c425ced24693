"""podlinks: an event is judged by itself, so that the pods that come and go cost no look."""

import dataclasses
from pathlib import Path

import pytest

from agent.podlinks import PodLinks
from cni import record
from cni.owner import Owner
from cni.record import Attachment
from overlay.netlink import LinkInfo

END = LinkInfo(
    9, "ovl0123456789ab", "veth", "0e:00:00:00:00:01", 1450, True, True, "overlay:o/c/eth0", 4, 0, 2, None
)  # fmt: skip
BRIDGE = LinkInfo(
    4, "overlay0", "bridge", "0a:58:0a:05:01:01", 1450, True, True, "overlay:bridge", 0, 0, 0, None
)  # fmt: skip


@pytest.fixture
def links(tmp_path: Path) -> PodLinks:
    """That knows the bridge; its thread is not started."""
    made = PodLinks(tmp_path, "overlay0")
    made.fits = 1450
    made.heard([BRIDGE])
    return made


def _is_looked_at(links: PodLinks, *events: LinkInfo) -> bool:
    links.heard(events)
    return bool(links._pending)


def test_an_add_and_a_del_end_well(links: PodLinks) -> None:
    """Whatever was in between; of a DEL's link it is looked whether its journal is gone as well."""
    made = dataclasses.replace(END, up=False, alias="", running=False)
    assert not _is_looked_at(links, made, dataclasses.replace(made, alias=END.alias), END)
    gone = dataclasses.replace(END, up=False, master=0)
    assert _is_looked_at(links, gone, dataclasses.replace(gone, deleted=True))
    links._look_at({END.name: 0})
    assert (links.faults, links.mended) == ({}, 0)


@pytest.mark.parametrize(
    "change", [{"up": False}, {"master": 0}, {"master": 7}, {"mtu": 1300}, {"alias": ""}]
)
def test_an_end_that_is_not_as_it_should_be_is_looked_at(
    links: PodLinks, change: dict[str, int]
) -> None:
    """Until an event says that it is well again."""
    assert _is_looked_at(links, dataclasses.replace(END, **change))  # type: ignore[arg-type]
    assert not _is_looked_at(links, END)


def test_an_end_with_another_name_is_known_by_its_mark(links: PodLinks) -> None:
    """It is looked for under the name that it had."""
    owner = Owner("overlay", "c1", "eth0")
    links.heard([dataclasses.replace(END, name="foo0", alias=owner.alias)])
    assert list(links._pending) == [owner.host_link]


def test_others_links_are_not_ours(links: PodLinks) -> None:
    """Nor are events of bridge ports, which bear the port's name and no kind."""
    others = (
        dataclasses.replace(END, name="veth7", alias="", up=False),
        dataclasses.replace(END, kind="", master=0, deleted=True),
        dataclasses.replace(BRIDGE, name="docker0", deleted=True),
    )
    assert not _is_looked_at(links, *others)


def test_with_the_bridge_gone_every_end_waits_for_it(links: PodLinks) -> None:
    """Each port is told first."""
    torn = dataclasses.replace(END, master=0)
    assert _is_looked_at(links, torn, dataclasses.replace(BRIDGE, deleted=True))
    assert _is_looked_at(links, END)  # in a bridge that nobody has heard of


@pytest.mark.parametrize(
    ("asked", "mtu", "fits", "due"),
    [
        (0, 1450, 8950, 8950),
        (1440, 1440, 8950, 1440),
        (1440, 1230, 1350, 1350),
        (-1400, 1230, 8950, 1400),
        (record.NOT_KNOWN, 1400, 8950, 1400),
        (record.NOT_KNOWN, 0, 1450, 1450),
    ],
)
def test_what_is_due(asked: int, mtu: int, fits: int, due: int) -> None:
    """Never more than fits, never more than was asked for; records of before are read."""
    made = Attachment("o", "c", "eth0", "/n", "ovl1", mtu=mtu, asked_mtu=asked)
    assert made.due_mtu(fits) == due
    assert record.decode(record.encode(made)) == made


def test_a_pod_keeps_its_ipv6() -> None:
    """Below 1280 the kernel would take its addresses away."""
    made = Attachment("o", "c", "eth0", "/n", "ovl1", ("10.5.1.2/24", "fd00::2/64"), asked_mtu=0)
    assert made.due_mtu(1230) == 1280


def test_a_record_of_before_is_read() -> None:
    """Without the key."""
    found = record.decode(
        b'{"network":"o","container":"c","ifname":"eth0","netns":"/n","host_link":"ovl1","mtu":1400}'
    )
    assert found is not None
    assert (found.asked_mtu, found.most_mtu) == (record.NOT_KNOWN, 1400)
