"""kill -9 at every step of ADD and DEL: what follows leaves nothing, and no address is given twice."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.ctl import gc as ctl
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.faults import (
    CHANGES,
    KILLED,
    SURE,
    Ended,
    Faulty,
    addresses_in,
    config_for,
    points,
)
from tests.contract.spaces import difference, inside, picture

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]


class Living:
    """Pods that must never meet their own address elsewhere."""

    def __init__(self, faulty: Faulty) -> None:
        self._faulty, self._stack = faulty, ExitStack()
        self.pods: dict[str, Path] = {}

    def __enter__(self) -> "Living":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self) -> None:
        """One more."""
        name, pod = f"living{len(self.pods)}", self._stack.enter_context(spaces.namespace())
        assert "ips" in self._faulty.call("ADD", pod, name)
        self.pods[name] = pod

    def check(self, *others: Path) -> None:
        """No address twice, in what the namespaces really hold."""
        held = [one for pod in (*self.pods.values(), *others) for one in addresses_in(pod)]
        assert len(held) == len(set(held)), held

    def end(self) -> None:
        """They still work; then each is taken down."""
        for name, pod in self.pods.items():
            inside(pod, "ping", "-c1", "-W9", "10.5.1.1")
            assert self._faulty.call("DEL", pod, name) == {}


@pytest.fixture
def living(faulty: Faulty) -> Iterator[Living]:
    """None yet."""
    with Living(faulty) as made:
        yield made


@pytest.mark.parametrize("call", CHANGES)
def test_an_add_killed_at_any_step_is_undone_by_its_del(
    faulty: Faulty, living: Living, call: str
) -> None:
    """The runtime's DEL finds all of it; meanwhile no other pod gets its address."""
    before = picture(faulty.node.space)
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            fault = f"{call}:signal=KILL:when={number}"
            return faulty.attempt(fault, "ADD", pods[-1], f"c{number}")

        pods: list[Path] = []
        for number, ended in points(attempt, least=SURE["ADD"].get(call, 0)):
            assert ended.code == KILLED
            living.add()
            living.check(*pods)
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}
            assert not faulty.attached(f"c{number}")
            assert addresses_in(pods[-1]) == set()
        assert faulty.call("DEL", pods[-1], f"c{len(pods)}") == {}
        living.end()

        faulty.sweep()
        assert faulty.files() == []
        assert difference(before, picture(faulty.node.space)) == []


@pytest.mark.parametrize(
    ("verb", "calls", "cleaner"),
    [
        ("ADD", CHANGES, "sweep"),
        ("DEL", CHANGES, "sweep"),
        ("ADD", ("rename", "sendto"), "overlayctl gc"),
    ],
)
def test_without_a_del_the_agent_or_an_operator_clears_what_killed_calls_left(
    faulty: Faulty, living: Living, verb: str, calls: Sequence[str], cleaner: str
) -> None:
    """The runtime is silent, the namespaces go: two looks later nothing is left, and the living live."""
    before = picture(faulty.node.space)
    with ExitStack() as stack:
        dead: list[Path] = []
        for call in calls:

            def attempt(number: int, call: str = call) -> Ended:
                dead.append(stack.enter_context(spaces.namespace()))
                name = f"{call}{number}"
                if verb == "DEL":
                    assert "ips" in faulty.call("ADD", dead[-1], name)
                return faulty.attempt(f"{call}:signal=KILL:when={number}", verb, dead[-1], name)

            for number, _ in points(attempt, least=SURE[verb].get(call, 0)):
                if number % 2:
                    living.add()
        living.check(*dead)
    faulty.wait_for_links(len(living.pods))
    if cleaner == "sweep":
        swept = faulty.sweep()
        assert swept.faults == {}
    else:
        flags = argparse.Namespace(dry_run=False, output="json")
        settings = config_for(faulty.node.run_dir)
        assert run_inside(faulty.node.space, lambda: ctl.gc(flags, settings)) == 0

    assert len(faulty.links()) == len(living.pods)
    assert len(faulty.files()) == 2 * len(living.pods)
    living.end()
    assert faulty.files() == []
    assert difference(before, picture(faulty.node.space)) == []


@pytest.mark.parametrize("call", CHANGES)
def test_a_del_killed_at_any_step_left_a_pod_that_works_or_none(
    faulty: Faulty, living: Living, call: str
) -> None:
    """Never half a pod; and the DEL that the runtime repeats finishes."""
    before = picture(faulty.node.space)
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            assert "ips" in faulty.call("ADD", pods[-1], f"c{number}")
            return faulty.attempt(
                f"{call}:signal=KILL:when={number}", "DEL", pods[-1], f"c{number}"
            )

        pods: list[Path] = []
        for number, ended in points(attempt, least=SURE["DEL"].get(call, 0)):
            assert ended.code == KILLED
            if faulty.attached(f"c{number}"):
                inside(pods[-1], "ping", "-c1", "-W9", "10.5.1.1")
            else:
                assert addresses_in(pods[-1]) == set()
            living.add()
            living.check(*pods)
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}
            assert not faulty.attached(f"c{number}")
        living.end()

        faulty.sweep()
        assert faulty.files() == []
        assert difference(before, picture(faulty.node.space)) == []


def test_an_add_again_without_a_del_between_costs_no_address_for_long(
    faulty: Faulty, living: Living
) -> None:
    """A runtime that tries the very same ADD again after a kill: refused, or a whole pod; in the end nothing."""
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            fault = f"rename:signal=KILL:when={number}"
            return faulty.attempt(fault, "ADD", pods[-1], f"c{number}")

        pods: list[Path] = []
        for number, _ in points(attempt, least=2):
            again = faulty.call("ADD", pods[-1], f"c{number}")
            assert "ips" in again or "attached already" in again["msg"]
            living.check(*pods)
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}
        faulty.call("DEL", pods[-1], f"c{len(pods)}")

    faulty.sweep()
    assert faulty.files() == []
