"""The door to raw ICMP on a real kernel: sizes and DF, what is believed, and what errors tell."""

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network

import pytest

from agent.probes import packets
from agent.probes.course import LIGHT, THOROUGH, Course
from agent.probes.echo import Echo
from agent.probes.engine import Engine
from agent.probes.judge import judge
from agent.probes.result import Result
from agent.probes.targets import Target
from overlay.errors import KernelRefused
from overlay.model import Family
from overlay.netlink.namespace import open_inside, run_inside
from tests.contract.spaces import inside, ip
from tests.contract.tunnel import Two, tunnel

pytestmark = pytest.mark.contract

FULL = {4: 1450, 6: 1430}


@pytest.fixture(params=[4, 6])
def two(request: pytest.FixtureRequest) -> Iterator[Two]:
    """Two ends of a tunnel."""
    with tunnel(int(request.param)) as made:
        yield made


def target(two: Two, **other: int) -> Target:
    """The far end, seen from the near one."""
    subnet = f"{two.address(2)}/{24 if two.version == 4 else 64}"
    return Target(
        key="k",
        node="n2",
        subnet=ip_network(subnet),
        address=ip_address(two.address(2)),
        source=ip_address(two.address(1)),
        underlay=two.underlay(2),
        local=two.underlay(1),
        full=other.get("full", FULL[two.version]),
        overhead=50 if two.version == 4 else 70,
    )


def ask(two: Two, whom: Target, *, thorough: bool = False) -> Result:
    """One course from here."""

    def work() -> Result:
        with Echo() as echo:
            engine = Engine(echo, timeout_s=1.5)  # only what is really lost waits for it
            engine.add(Course(whom, THOROUGH if thorough else LIGHT))
            done: list[Course] = []
            while not done:
                done = engine.step(1.0)
            return judge(whom, done[0].measured, at=time.time())

    return run_inside(two.here, work)


def test_a_full_packet_passes_whole_and_one_byte_more_is_refused(two: Two) -> None:
    """The size is that of the IP packet, to the byte, and what is longer is not fragmented."""
    full = FULL[two.version]
    result = ask(two, target(two), thorough=True)
    assert (result.state, result.largest, result.lost, result.sent) == ("ok", full, 0, 29)
    assert 0 < result.rtt_min_ms <= result.rtt_ms <= result.rtt_max_ms
    longer = ask(two, target(two, full=full + 1))
    assert (longer.state, longer.largest) == ("black hole", full)
    assert "do not leave this node" in longer.why


def test_a_path_mtu_that_the_kernel_remembers_is_not_heeded(two: Two) -> None:
    """The question is what passes now."""
    peer = two.address(2)
    length = 24 if two.version == 4 else 64
    ip(two.here, *f"route replace {peer}/{length} via {peer} dev v1 onlink mtu 1300".split())
    result = ask(two, target(two))
    assert (result.state, result.largest) == ("ok", FULL[two.version])


def test_large_packets_that_vanish_below_are_found_by_the_byte(two: Two) -> None:
    """The far end drops what is longer than 1400 bytes outside of the tunnel."""
    rule = "udp dport 8472 meta length > 1400 drop"
    chain = "{ type filter hook input priority 0; }"
    inside(
        two.there, "nft", f"add table inet t; add chain inet t i {chain}; add rule inet t i {rule}"
    )
    result = ask(two, target(two))
    assert (result.state, result.largest) == ("black hole", 1400 - (50 if two.version == 4 else 70))


def test_a_tunnel_that_is_gone_is_a_port_that_is_closed(two: Two) -> None:
    """The far kernel says so of the very packets that were to go through the tunnel."""
    ip(two.there, "link", "del", "v1")
    result = ask(two, target(two))
    assert (result.state, result.underlay) == ("silent", "answers")
    assert "nothing listens on its UDP port 8472: the VXLAN device of n2 is gone" in result.why


def test_what_is_no_address_of_ours_is_refused(two: Two) -> None:
    """And named."""
    with Echo() as echo, pytest.raises(KernelRefused, match="is no address of this node"):
        run_inside(two.there, lambda: echo.listen(ip_address(two.address(1))))
    ip(two.here, "link", "set", "v1", "down")
    assert "own kernel does not send" in ask(two, target(two)).why


def neighbouring(two: Two) -> str:
    """Another address of the far end's subnet."""
    return f"{ip_address(two.address(2)) + 9}"


@contextmanager
def forger(two: Two, forged: Callable[[bytes], list[tuple[str, bytes]]]) -> Iterator[None]:
    """The far end answers nothing by itself; each request is answered by what ``forged`` says: from where, and what."""
    family = Family.V4 if two.version == 4 else Family.V6
    switch = "ipv4.icmp_echo_ignore_all" if two.version == 4 else "ipv6.icmp.echo_ignore_all"
    inside(two.there, "sysctl", "-qw", f"net.{switch}=1")
    rest = "/32 dev v1" if two.version == 4 else "/128 dev v1 nodad"
    ip(two.there, *f"addr replace {neighbouring(two)}{rest}".split())
    protocol = socket.IPPROTO_ICMP if two.version == 4 else socket.IPPROTO_ICMPV6

    def opened() -> socket.socket:
        made = socket.socket(family.af, socket.SOCK_RAW, protocol)
        made.settimeout(0.1)
        return made

    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                data, sender = ears.recvfrom(2000)
            except TimeoutError:
                continue
            body = data[4 * (data[0] & 15) :] if two.version == 4 else data
            if body[0] != packets.REQUEST[family]:
                continue
            for source, answer in forged(body):
                with open_inside(two.there, opened) as mouth:
                    mouth.bind((source, 0))
                    mouth.sendto(answer, (sender[0], 0))

    with open_inside(two.there, opened) as ears:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def echoed(
    two: Two, request: bytes, *, ident: int = 0, token: bytes = b"", tail: bytes = b""
) -> bytes:
    """The answer to a request, with what is to be other than right."""
    family = Family.V4 if two.version == 4 else Family.V6
    body = bytearray(request + tail)
    body[0] = packets.REPLY[family]
    if ident:
        struct.pack_into("!H", body, 4, struct.unpack_from("!H", body, 4)[0] ^ ident)
    if token:
        body[16:24] = token
    if two.version == 4:
        body[2:4] = bytes(2)
        body[2:4] = packets.checksum(bytes(body) + bytes(len(body) % 2)).to_bytes(2, "big")
    return bytes(body)


def test_forged_answers_are_no_answers(two: Two) -> None:
    """From another address of the same host, with another identifier or token, or of another length."""
    right = two.address(2)

    def wrong(request: bytes) -> list[tuple[str, bytes]]:
        return [
            (neighbouring(two), echoed(two, request)),
            (right, echoed(two, request, ident=1)),
            (right, echoed(two, request, token=b"12345678")),
            (right, echoed(two, request, tail=bytes(2))),
        ]

    with forger(two, wrong):
        result = ask(two, target(two))
    assert (result.state, result.largest) == ("silent", 0)

    with forger(two, lambda request: [(right, echoed(two, request))] * 3):
        result = ask(two, target(two))
    assert (result.state, result.sent, result.lost) == ("ok", 2, 0)
