"""A pod's link that others bend again and again: paced, told once with a likely name, over when it is calm."""

from agent.drift import FIGHT
from agent.podfights import CALM_S, PodFights
from agent.processes import Process

LINK, PLACE = "ovl1", "overlay/c1@eth0"


class Clock:
    """Monotonic, by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_fight_is_told_once_named_paced_and_forgotten_when_calm() -> None:
    """The programs that are known to touch links are suspects."""
    clock = Clock()
    fights = PodFights(running=lambda: [Process(7, "NetworkManager")], clock=clock)
    said = []
    for _ in range(FIGHT + 2):
        assert not fights.waits(LINK)
        said.append(fights.count(LINK, PLACE))
        if len(said) >= FIGHT:
            assert fights.waits(LINK)
        clock.now += 5

    (sentence,) = [text for text in said if text]
    assert f"link of pod {PLACE} bent {FIGHT} times in a row" in sentence
    assert "likely: NetworkManager (pid 7)" in sentence
    assert [*fights.now()] == [f"fight over link of pod {PLACE}"]
    clock.now += CALM_S
    assert fights.now() == {}
    assert fights.count(LINK, PLACE) == ""
    assert not fights.waits(LINK)


def test_links_that_are_bent_now_and_then_are_no_fight() -> None:
    """However many there are, and none is remembered for ever."""
    clock = Clock()
    fights = PodFights(running=lambda: (), clock=clock)
    for number in range(20):
        assert fights.count(f"ovl{number}", PLACE) == ""
        clock.now += CALM_S
    assert fights.now() == {}
    assert len(fights._bouts) == 1


def test_who_asks_while_the_name_is_looked_for_hears_of_no_fight_without_one() -> None:
    """To look through all processes takes a moment, and status is another thread's."""
    clock, meanwhile = Clock(), list[dict[str, str]]()

    def running() -> list[Process]:
        meanwhile.append(fights.now())
        return [Process(7, "NetworkManager")]

    fights = PodFights(running=running, clock=clock)
    for _ in range(FIGHT):
        fights.count(LINK, PLACE)
        clock.now += 5
    assert meanwhile == [{}]
    assert "NetworkManager" in fights.now()[f"fight over link of pod {PLACE}"]
