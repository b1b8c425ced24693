"""What is asked of a peer, what is believed, and what is said of it: the rounds on a path without a kernel."""

import itertools
from dataclasses import replace
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as some

from agent.probes.course import LIGHT, TABLE, THOROUGH, WARY, Course, Plan
from agent.probes.engine import Engine
from agent.probes.judge import judge
from agent.probes.packets import Reply, Request, Unreachable
from agent.probes.result import Result
from agent.probes.targets import Target
from agent.probes.track import Track
from tests.agent.probing import Path, target

INSIDE, UNDERLAY = ip_address("10.5.2.0"), ip_address("192.168.50.2")


def ask(path: Path, whom: Target | None = None, plan: Plan = LIGHT, *, hint: int = 0) -> Result:
    """One course to its end."""
    course = finished(path, whom or target(), plan, hint=hint)
    return judge(course.target, course.measured, at=1.0, prefix="/net")


def finished(path: Path, whom: Target, plan: Plan = LIGHT, *, hint: int = 0) -> Course:
    """The course itself."""
    engine = Engine(path, clock=path.clock)
    engine.forget([whom.address])
    engine.add(Course(whom, plan, hint=hint))
    for _ in range(200):
        if done := engine.step(5.0):
            assert engine.busy == 0
            assert engine.counters.sent == path.sent
            return done[0]
    raise AssertionError("it does not end")


def test_all_well_costs_two_packets() -> None:
    """One small, one that fills the MTU; nothing is said."""
    path = Path(lambda *_: True)
    result = ask(path)
    assert (result.state, result.largest, result.full, path.sent) == ("ok", 1450, 1450, 2)
    assert (result.sent, result.lost, result.why, result.next) == (2, 0, "", "")
    assert result.rtt_ms == pytest.approx(10)


@given(limit=some.integers(84, 1449), plan=some.sampled_from([LIGHT, TABLE, THOROUGH]))
def test_a_black_hole_is_named_with_exactly_the_number_that_fits(limit: int, plan: Plan) -> None:
    """And with what the underlay has to carry for it; the packets that tell are no loss."""
    result = ask(Path(lambda _, size: size <= limit), plan=plan)
    assert (result.state, result.largest, result.lost) == ("black hole", limit, 0)
    assert result.why == (
        f"packets above {limit} bytes vanish on the way to n2 (10.5.2.0/24); pods have 1450"
    )
    assert f"packets of 1500 bytes and carries {limit + 50}" in result.next
    proposed = f'"MTU": {limit + 50} in "Backend" of /net/config'
    assert (proposed in result.next) is (limit >= 576)  # below that it is no link's doing


@pytest.mark.parametrize("plan", [TABLE, THOROUGH])
@pytest.mark.parametrize("passes", [1, 2, 4])
def test_a_node_that_answers_few_packets_is_no_black_hole(plan: Plan, passes: int) -> None:
    """The first ones come back, then none: whichever size is sent last is not why."""
    path = Path(lambda _, __: path.sent <= passes)
    result = ask(path, plan=plan)
    assert result.state == "lossy"
    assert "MTU" not in result.next


def test_no_mtu_is_proposed_that_would_end_ipv6() -> None:
    """Where the peer has both, the smaller packet of IPv6 still has to fit, with its tunnel."""
    both = replace(target(), key="10.5.2.0-24&fd00:5::-64")
    assert "mtu" not in ask(Path(lambda _, size: size <= 1299), both).next.lower()
    assert "mtu" in ask(Path(lambda _, size: size <= 1300), both).next.lower()


def test_a_hole_that_is_known_is_confirmed_in_one_round() -> None:
    """And one that has changed is measured anew, larger or smaller."""
    path = Path(lambda _, size: size <= 1362)
    assert ask(path, hint=1362).largest == 1362
    assert path.sent == 2 + 2 + 2 + 4
    assert ask(Path(lambda _, size: size <= 1400), hint=1362).largest == 1400
    assert ask(Path(lambda _, size: size <= 900), hint=1362).largest == 900


@given(pattern=some.lists(some.booleans(), min_size=1, max_size=7), limit=some.integers(84, 1450))
def test_whatever_is_lost_no_size_is_named_that_did_not_come_back(
    pattern: list[bool], limit: int
) -> None:
    """Any pattern of loss on any path; every course ends, and what is said fits what was seen."""
    turn = itertools.cycle(pattern)
    back: set[int] = {0}

    def passes(address: object, size: int) -> bool:
        passed = next(turn) and size <= limit
        if passed and address == INSIDE:
            back.add(size)
        return passed

    result = ask(Path(passes), plan=THOROUGH)
    assert result.largest == max(back)
    assert result.state != "ok" or (result.lost == 0 and result.largest == 1450)
    assert (result.state == "silent") == (84 not in back)


def test_every_other_packet_lost_is_loss_and_no_hole() -> None:
    """Half of all; the largest still is the largest."""
    turn = itertools.cycle((True, False))
    result = ask(Path(lambda *_: next(turn)), plan=THOROUGH)
    assert (result.state, result.largest, result.sent, result.lost) == ("lossy", 1450, 29, 14)
    assert result.why == "14 of 29 packets to n2 were lost"


@pytest.mark.parametrize("plan", [WARY, TABLE, THOROUGH])
@pytest.mark.parametrize("full_ones", [True, False])
def test_nine_packets_of_ten_lost_is_loss_and_nothing_is_blocked(
    plan: Plan, full_ones: bool
) -> None:
    """As if by a bad cable: the tenth passes, of the underlay's own none."""
    turn = itertools.count(1)

    def passes(address: object, size: int) -> bool:
        return address == INSIDE and next(turn) % 10 == 0 and (full_ones or size < 1000)

    result = ask(Path(passes), plan=plan)
    assert (result.state, result.underlay) == ("lossy", "")
    assert 0.8 < result.lost / result.sent < 1
    assert f"{result.lost} of {result.sent} " in result.why
    assert "blocked" not in result.why


def test_a_peer_that_is_silent_costs_no_more_time_for_the_doubt() -> None:
    """It goes with the question whether the underlay answers."""
    path = Path(lambda address, _: address == UNDERLAY)
    assert ask(path, plan=TABLE).state == "silent"
    assert path.now == pytest.approx(3.5)


@pytest.mark.parametrize("plan", [LIGHT, THOROUGH])
def test_a_first_answer_that_takes_long_is_no_loss(plan: Plan) -> None:
    """A neighbour had to be found, or the way is long."""
    path = Path(lambda *_: True)
    path.delay_s = 1.2
    result = ask(path, plan=plan)
    assert (result.state, result.lost) == ("ok", 0)
    assert result.rtt_ms == pytest.approx(1200)


def test_one_lost_packet_is_asked_for_again_before_anything_is_believed() -> None:
    """The light course loses both of its first, and then none."""
    turn = iter((False, False))
    result = ask(Path(lambda *_: next(turn, True)))
    assert (result.state, result.largest) == ("lossy", 1450)


@pytest.mark.parametrize(
    ("underlay", "said", "heard", "words"),
    [
        (True, "", False, "silent, underlay 192.168.50.2 answers: UDP port 8472 is blocked"),
        (True, "", True, "packets of n2 arrive here: UDP port 8472 is blocked from here to n2"),
        (True, "port unreachable", False, "nothing listens on its UDP port 8472: the VXLAN device"),
        (
            False,
            "port unreachable",
            False,
            "nothing listens on its UDP port 8472: the VXLAN device",
        ),
        (True, "prohibited", False, "UDP port 8472 of 192.168.50.2 is refused (prohibited)"),
        (False, "", False, "so is its underlay address 192.168.50.2: n2 is gone, or the way"),
        (False, "host unreachable", False, "192.168.50.2 (host unreachable): n2 is gone"),
    ],
)
def test_silence_has_a_reason(underlay: bool, said: str, heard: bool, words: str) -> None:
    """By what the underlay, the peer's own probes and error messages say."""
    path = Path(lambda address, _: underlay and address == UNDERLAY)
    if said:
        path.also.append(Unreachable(UNDERLAY, UNDERLAY, 8472, said))
        path.also.append(Unreachable(UNDERLAY, UNDERLAY, 53, "no route"))  # not our tunnel's
    if heard:
        path.also.append(Request(INSIDE))
    path.also.append(Request(ip_address("10.5.77.0")))  # nobody we know
    result = ask(path)
    assert (result.state, result.largest, result.lost) == ("silent", 0, result.sent)
    assert words in result.why
    assert result.next
    assert result.underlay == ("answers" if underlay else "silent")


def test_what_our_own_kernel_refuses_is_said_as_that() -> None:
    """A tunnel that is smaller than pods' MTU: no link has to be mended."""
    result = ask(Path(lambda *_: True, device_mtu=1300))
    assert (result.state, result.largest) == ("black hole", 1300)
    assert "do not leave this node" in result.why
    assert ask(Path(lambda *_: True, device_mtu=0)).state == "silent"


@pytest.mark.parametrize("fault", ["source", "ident", "token", "number", "size"])
def test_a_forged_answer_changes_nothing(fault: str) -> None:
    """Each of five things has to be right, and only the first counts."""
    path = Path(lambda *_: False)
    engine = Engine(path, clock=path.clock)
    engine.add(Course(target()))
    right = {"source": INSIDE, "ident": 7, "number": 1, "token": b"ourtoken", "size": 84}
    wrong = {
        "source": ip_address("10.5.3.0"),
        "ident": 8,
        "token": b"notours!",
        "number": 99,
        "size": 85,
    }
    path.also += [Reply(**{**right, fault: wrong[fault]})] * 3  # type: ignore[arg-type]
    assert engine.step(0) == []
    assert (engine.counters.answered, engine.counters.sent) == (0, 2)
    path.also += [Reply(**right)] * 2  # type: ignore[arg-type]
    engine.step(0)
    assert engine.counters.answered == 1


def test_an_outage_is_over_when_it_is_over() -> None:
    """Its packets are no loss of the time after it; now and then one packet is nothing to speak of."""
    track, where = Track(), target()
    well = finished(Path(lambda *_: True), where).measured
    dead = finished(Path(lambda *_: False), where).measured
    hole = finished(Path(lambda _, size: size <= 1362), where).measured
    said = []
    for number, measured in enumerate([well, dead, dead, well, hole, well]):
        said.append(track.took(where, measured, now=float(number), at=float(number)).state)
        assert track.hint == (1362 if measured is hole else 0)
        assert track.silent_since == (1.0 if measured is dead else float("inf"))
    assert said == ["ok", "silent", "silent", "ok", "black hole", "ok"]
    one, turn = iter((False,)), iter((False, False))
    once = finished(Path(lambda *_: next(turn, True)), where).measured
    assert track.took(where, once, now=9.0, at=9.0).state == "lossy"
    assert (
        Track()
        .took(where, finished(Path(lambda *_: next(one, True)), where).measured, now=1, at=1)
        .state
        == "ok"
    )
    states = [track.took(where, well, now=9.0, at=9.0).state for _ in range(10)]
    assert states[-1] == "ok"
    assert len(track.window) == 10
