"""Asking another node's agent through a real etcd: who is woken, what is left, and what it says if nobody answers."""

import argparse
import shutil
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from agent import config, etcd, letters
from agent.config import Config
from agent.control import REMOTE
from agent.ctl import far
from agent.etcd import Etcd
from agent.events import Put
from agent.following import Beside
from agent.mailbox import AT_ONCE, Mailbox
from overlay.errors import BadConfig, NotReady, OverlayError, StoreUnavailable
from tests.contract.etcd_follower import Follower, until
from tests.contract.etcd_server import VERSIONS, Server
from tests.contract.nodes import NETWORK, identity, tunnels

pytestmark = pytest.mark.contract


@pytest.fixture(scope="module", params=VERSIONS)
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """One of each version."""
    work = tmp_path_factory.mktemp("mail")
    made = Server(work, version=request.param)
    yield made
    made.stop()
    shutil.rmtree(work, ignore_errors=True)


class Agent(Follower):
    """A node that holds a lease, watches and has a mailbox, as the daemon joins them."""

    def __init__(self, url: str, prefix: str, number: int) -> None:
        self.asked: list[Mapping[str, Any]] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._number = number
        super().__init__(Etcd([url], timeout_s=20), prefix)
        until(lambda: len(self.events) >= 2)
        self.key = self.registry.claim(
            identity(number), NETWORK, tunnels(number), ttl_s=600
        ).lease.key

    def prepare(self) -> None:
        box = Mailbox(
            self.registry.prefix,
            identity(self._number).machine_id,
            answer=self._answer,
            put=self.registry.answer,
            holds=lambda: True,
        )
        self.registry.listen(Beside(box.place.start, box.place.end, box.told))

    def _answer(self, asker: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        self.asked.append(question)
        assert self.may_answer.wait(50)
        if question["verb"] not in REMOTE:
            raise BadConfig(f"unknown verb {question['verb']!r}")
        return {"node": f"n{self._number}", "asker": asker, **question}


@pytest.fixture
def agents(server: Server, prefix: str) -> Iterator[list[Agent]]:
    """Five nodes."""
    made: list[Agent] = []
    try:
        for number in range(1, 6):
            made.append(Agent(server.url, prefix, number))
        yield made
    finally:
        for one in made:
            one.stop()


@pytest.fixture
def settings(server: Server, prefix: str, tmp_path: Path) -> Config:
    """Those of a node of its own, without an agent."""
    return loaded(
        tmp_path, etcd_endpoints=server.url, etcd_prefix=prefix, etcd_timeout="20s", node_name="n9"
    )


def loaded(home: Path, **given: str) -> Config:
    """Nothing of the machine is read."""
    nothing = home / "agent.toml"
    nothing.touch()
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    own = {"machine_id": "9" * 32, "run_dir": str(home / "run"), "state_dir": str(home / "state")}
    environ = {f"OVERLAY_{key.upper()}": value for key, value in (own | given).items()}
    return config.load(parser.parse_args(["--config", str(nothing)]), environ)


def left(store: Etcd, prefix: str) -> list[str]:
    """Keys of questions and answers."""
    found = store.ranges(
        *((f"{prefix}/overlay/{name}/", f"{prefix}/overlay/{name}0") for name in ("ask", "answer"))
    )
    return [record.key for record in found.records]


def events(server: Server) -> int:
    """That etcd has sent to watchers, by its own counter."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return next(
        int(float(line.split()[1]))
        for line in lines
        if line.startswith("etcd_debugging_mvcc_events_total")
    )


def test_an_ask_wakes_the_asked_node_alone_and_leaves_nothing(
    server: Server, agents: list[Agent], settings: Config
) -> None:
    """Four events whatever the number of nodes: question and answer come, and go with their lease.

    On a busy machine a question is asked twice; were all nodes woken by it, it would be two events a node and more.
    """
    store = agents[0].store
    until(
        lambda: all(agents[-1].key in one.keys for one in agents)
    )  # their own claims are events, too
    before = events(server)

    answer = far.ask(settings, agents[1].key, "status", timeout_s=20, pod="a")

    assert answer == {"node": "n2", "asker": "n9", "verb": "status", "pod": "a"}
    assert [bool(one.asked) for one in agents] == [False, True, False, False, False]
    assert not left(store, settings.etcd_prefix)
    store.range("/")
    assert events(server) - before < 2 * len(agents)
    assert not any(one.events[2 + len(agents) :] for one in agents)


def test_renewals_and_silence_wake_nobody(server: Server, agents: list[Agent]) -> None:
    """One range more on the stream changes nothing of that."""
    until(lambda: all(agents[-1].key in one.keys for one in agents))
    before = events(server)
    for one in agents:
        one.registry.keep(one.registry.snapshot().leases[one.key])
    assert events(server) == before


def test_many_are_asked_at_once_and_each_silence_has_its_reason(
    server: Server, agents: list[Agent], settings: Config
) -> None:
    """Those that cannot be asked are named at once; the others have until the deadline."""
    subnets = f"{settings.etcd_prefix}/subnets"
    store = agents[0].store
    store.put(f"{subnets}/10.5.201.0-24", b'{"PublicIP":"198.18.7.7"}', lease=store.grant(60))
    store.put(f"{subnets}/10.5.202.0-24", b"rubbish")
    agents[4].stop()
    keys = [agents[0].key, agents[2].key, agents[4].key]
    keys += ["10.5.201.0-24", "10.5.202.0-24", "10.5.203.0-24"]

    found = far.ask_many(settings, keys, "status", timeout_s=5)

    assert list(found) == keys
    assert [one["node"] for one in list(found.values())[:2] if isinstance(one, dict)] == [
        "n1",
        "n3",
    ]
    said = [str(found[key]) for key in keys[2:]]
    assert "n5 did not answer within 5 s: its agent is down, older than" in said[0]
    assert "198.18.7.7 cannot be asked: its record names no machine" in said[1]
    assert "cannot be read" in said[2]
    assert "nobody holds 10.5.203.0-24" in said[3]
    assert all(isinstance(found[key], NotReady) for key in keys[2:])
    assert not left(store, settings.etcd_prefix)


def test_who_cannot_be_asked_is_said_without_waiting(agents: list[Agent], settings: Config) -> None:
    """A deadline of an hour is none then."""
    with pytest.raises(NotReady, match=r"nobody holds 10\.5\.7\.99-24"):
        far.ask(settings, "10.5.7.99-24", "status", timeout_s=3600)


def test_an_unknown_verb_is_refused_in_the_other_agents_words(
    agents: list[Agent], settings: Config
) -> None:
    """Such as that of a newer overlayctl, or one that would change something."""
    with pytest.raises(OverlayError, match="unknown verb 'leave'"):
        far.ask(settings, agents[1].key, "leave", timeout_s=3600)


def test_a_burst_of_questions_and_rubbish_never_holds_up_a_peers_event(
    agents: list[Agent], settings: Config
) -> None:
    """A thousand of them while no answer can be given: what comes behind them comes at once."""
    asked, store = agents[1], agents[0].store
    asked.may_answer.clear()
    place = letters.asked(settings.etcd_prefix, identity(2).machine_id)
    question = letters.write("status", {}, asker="x")
    lease = store.grant(60)
    for batch in range(10):
        store.txn(
            [],
            [
                _putting(place, batch * 100 + n, question if n % 2 else b"\0", lease)
                for n in range(100)
            ],
        )
    store.put(f"{settings.etcd_prefix}/subnets/10.5.204.0-24", b"{}", lease=lease)

    until(lambda: "10.5.204.0-24" in asked.keys)

    assert any(isinstance(one, Put) for one in asked.events)
    assert len(asked.asked) <= AT_ONCE
    asked.may_answer.set()
    store.revoke(lease)
    until(lambda: _answers(settings, asked.key))


def _putting(place: letters.Range, number: int, body: bytes, lease: int) -> Any:  # noqa: ANN401
    return etcd.putting(f"{place.start}{number:032x}", body, lease=lease)


def _answers(settings: Config, key: str) -> bool:
    return not isinstance(far.ask_many(settings, [key], "status", timeout_s=20)[key], OverlayError)


@pytest.mark.parametrize("harm", ["compacted", "restarted", "wiped"])
def test_the_mailbox_is_open_again_after_whatever_etcd_does(
    server: Server, agents: list[Agent], settings: Config, harm: str
) -> None:
    """It is re-established with the rest of the stream."""
    store = agents[0].store
    if harm == "compacted":
        store.compact(store.put(f"{settings.etcd_prefix}/other", b"1"))
    else:
        server.stop()
        if harm == "wiped":
            server.forget()
        server.start()
    if harm == "wiped":
        until(lambda: all(len(one.snapshots) >= 2 for one in agents))
        agents[1].key = (
            agents[1].registry.claim(identity(2), NETWORK, tunnels(2), ttl_s=600).lease.key
        )

    assert _answers(settings, agents[1].key)


def test_an_etcd_that_is_away_is_said_of_each(server: Server, settings: Config) -> None:
    """And costs no more than its own deadline."""
    server.stop()
    try:
        found = far.ask_many(settings, ["10.5.1.0-24", "10.5.2.0-24"], "status")
        assert [type(one) for one in found.values()] == [StoreUnavailable] * 2
        with pytest.raises(StoreUnavailable):
            far.ask(settings, "10.5.1.0-24", "status")
    finally:
        server.start()
