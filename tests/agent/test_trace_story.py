"""What follows from packets that were seen inside and outside; and the file they are written to."""

from ipaddress import ip_network

import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.packet import Packet
from scapy.utils import PcapNgReader

from agent.ctl.trace import pcapng
from agent.ctl.trace.lines import Printer
from agent.ctl.trace.sightings import Point, Sight, Way
from agent.ctl.trace.story import Story, within
from tests.agent.podpackets import OTHER, PEER, POD, SECOND, ether, inside, outside, ping, wrapped


def _story() -> Story:
    return Story(
        within([ip_network("10.5.0.0/16")], [ip_network("10.5.1.0/24")]),
        lambda sight: "n2" if sight.far == PEER else "",
    )


def test_what_is_seen_at_both_points_is_one_packet() -> None:
    """With the time between them, in either order of hearing, each way."""
    story = _story()
    assert story.add(inside(ping(), at=SECOND)) is None
    assert story.add(outside(wrapped(ping()), at=SECOND + 50_000)) == 50_000
    back = ping(OTHER, POD)
    assert story.add(inside(back, out=False, at=SECOND + 90_000)) is None  # heard first
    assert story.add(outside(wrapped(back, out=False), out=False, at=SECOND + 80_000)) is None
    story.last += 10 * SECOND

    assert story.counts() == {"pod_out": 1, "tunnel_out": 1, "tunnel_in": 1, "pod_in": 1}
    assert story.findings("ovl1", "eth0") == []


def test_the_summary_says_where_packets_vanish() -> None:
    """Out: at the veth and not leaving; in: at the underlay and not at the pod; the last moment is not judged."""
    story = _story()
    for seq in range(5):
        story.add(inside(ping(seq=seq, size=1400 if seq else 1300)))
    for seq in range(3):
        story.add(outside(wrapped(ping(OTHER, POD, seq=seq), out=False), out=False))
    story.add(inside(ping(target="8.8.8.8")))  # no matter of the overlay
    story.add(inside(ping(target="10.5.1.9")))  # a pod of this node
    story.add(inside(ping(seq=99), at=3 * SECOND))

    texts = [str(it.text) for it in story.findings("ovl1", "eth0")]

    assert texts == [
        f"5 icmp packets {POD} > {OTHER}, all of 1328 bytes and more: sent by the pod, not seen leaving: "
        "they vanish between ovl1 and eth0 of this node",
        f"3 icmp packets {OTHER} > {POD}: came by eth0, not seen at the pod: "
        "they vanish between eth0 and ovl1 of this node",
    ]


def test_what_left_and_was_never_answered_leads_to_the_other_node() -> None:
    """With the command to be run there."""
    story = _story()
    for seq in range(3):
        story.add(inside(ping(seq=seq)))
        story.add(outside(wrapped(ping(seq=seq))))
    story.last += 2 * SECOND

    (found,) = story.findings("ovl1", "eth0")

    assert (
        found.text == f"3 packets {POD} > {OTHER} left for n2, and nothing came back from {OTHER}"
    )
    assert found.next == f"on n2: overlayctl trace {OTHER}"


def _tcp(begin: int, size: int, *, number: int = 1) -> Packet:
    return (
        IP(src=POD, dst=OTHER, id=number)
        / TCP(sport=1, dport=2, seq=begin, flags="A")
        / (b"x" * size)
    )


def test_segments_that_were_cut_or_put_together_have_not_vanished() -> None:
    """One large inside, three outside; what no piece covers has."""
    story = _story()
    story.add(inside(_tcp(100, 3000)))
    story.add(inside(_tcp(9000, 1000, number=5)))
    for place in range(3):
        story.add(outside(wrapped(_tcp(100 + 1000 * place, 1000, number=1 + place))))
    story.add(outside(wrapped(ping(OTHER, POD), out=False), out=False))
    story.add(inside(ping(OTHER, POD), out=False))
    story.last += 2 * SECOND

    (found,) = story.findings("ovl1", "eth0")
    assert found.text.startswith(f"1 tcp packets {POD} > {OTHER}")


def test_fragments_are_compared_by_their_bytes_as_well() -> None:
    """Put together and cut anew on this node, as conntrack does; whose last piece is missing has vanished."""
    story = _story()
    whole = IP(src=POD, dst=OTHER, id=5) / UDP(sport=1, dport=2) / (b"x" * 3000)
    for piece in fragment(whole, fragsize=1400):  # type: ignore[no-untyped-call]
        story.add(inside(piece))
    for piece in fragment(whole, fragsize=1424):  # type: ignore[no-untyped-call]
        story.add(outside(wrapped(piece)))
    lost = IP(src=POD, dst=OTHER, id=6) / UDP(sport=1, dport=2) / (b"x" * 2000)
    for piece in fragment(lost, fragsize=1400):  # type: ignore[no-untyped-call]
        story.add(inside(piece))
    story.add(outside(wrapped(ping(OTHER, POD), out=False), out=False))
    story.add(inside(ping(OTHER, POD), out=False))
    story.last += 2 * SECOND

    (found,) = story.findings("ovl1", "eth0")
    assert found.text.startswith(f"2 udp packets {POD} > {OTHER}")


def test_nothing_is_said_to_vanish_that_may_just_not_have_been_heard() -> None:
    """Where a point was not read to the end, and where packets came too fast."""
    story = _story()
    for seq in range(3):
        story.add(inside(ping(seq=seq), at=(1 + seq) * SECOND))
    story.last = 9 * SECOND
    assert story.findings("ovl1", "eth0")[0].text.startswith("3 icmp")
    story.until = 2 * SECOND + SECOND // 2
    assert story.findings("ovl1", "eth0")[0].text.startswith("2 icmp")
    story.unheard = 2
    assert story.findings("ovl1", "eth0") == []


def test_memory_is_bounded_and_what_was_forgotten_is_counted() -> None:
    """However long a capture runs."""
    story, one = _story(), inside(ping())
    story.most = 100
    for number in range(110):
        story.add(Sight(number, Point.POD, Way.OUT, POD, OTHER, "icmp", 84, one.inner, key=number))
    assert story.forgotten == 10
    assert story.doubt

    aside = _story()
    aside.most = 100
    for number in range(
        1000
    ):  # to the world, and pairs beyond all measure: neither is forgotten as if it were lost
        aside.add(Sight(number, Point.POD, Way.OUT, POD, "8.8.8.8", "udp", 84, "", key=number))
        aside.add(
            Sight(
                number, Point.TUNNEL, Way.OUT, POD, f"10.5.9.{number}", "udp", 84, "", key=-number
            )
        )
    assert not aside.doubt


def test_tcp_in_its_order_is_one_piece() -> None:
    """However much of it was seen at the second point; of too many flows the oldest is given up, and that is said."""
    story = _story()
    for number in range(10_000):
        span = (number * 1448, (number + 1) * 1448)
        story.add(
            Sight(
                number,
                Point.TUNNEL,
                Way.OUT,
                POD,
                OTHER,
                "tcp",
                1500,
                "",
                number,
                flow="f",
                span=span,
            )
        )
    first = Sight(
        1,
        Point.POD,
        Way.OUT,
        POD,
        OTHER,
        "tcp",
        60_000,
        "",
        "big",
        flow="f",
        span=(9_000_000, 9_060_000),
    )
    story.add(first)
    story.last += 10 * SECOND
    assert story.findings("ovl1", "eth0")[0].text.startswith(
        "10000 packets"
    )  # unanswered, not lost
    for number in range(3000):
        story.add(
            Sight(
                9,
                Point.TUNNEL,
                Way.OUT,
                POD,
                OTHER,
                "tcp",
                60,
                "",
                ("s", number),
                flow=number,
                span=(0, 1),
            )
        )
    assert story.doubt


def test_what_was_not_captured_is_not_said_to_be_all_right(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Packets that came too fast: neither "nothing vanished" nor "nothing came back"."""
    story = _story()
    assert Printer(story).summary("ovl1", "eth0") == []
    assert "no packet from or to the pod was seen" in capsys.readouterr().out
    story.add(inside(ping()))
    story.add(outside(wrapped(ping())))
    story.last += 10 * SECOND
    story.unheard = 1
    assert Printer(story).summary("ovl1", "eth0") == []
    said = capsys.readouterr().out
    assert "nothing vanished" not in said
    assert "1 came too fast to be captured: whether some vanished cannot be said" in said
    story.unheard = 0
    assert Printer(story).summary("ovl1", "eth0")


# --- the file -------------------------------------------------------------------------------------------


def test_the_capture_file_is_pcapng_as_others_read_it(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Both interfaces by name, times in nanoseconds, packets of any length."""
    path = tmp_path_factory.mktemp("trace") / "file.pcapng"
    packets = [bytes(ether() / ping(size=size)) for size in range(4)]
    at = 1_764_400_000_123_456_789
    blocks = [
        pcapng.packet(n % 2, at + n, data, outgoing=bool(n % 2)) for n, data in enumerate(packets)
    ]
    path.write_bytes(pcapng.header(["ovl1", "eth0"]) + b"".join(blocks))

    with PcapNgReader(str(path)) as reader:
        found = list(reader)

    assert [bytes(packet) for packet in found] == packets
    assert [packet.sniffed_on for packet in found] == ["ovl1", "eth0"] * 2
    assert int(found[0].time * SECOND) == at
