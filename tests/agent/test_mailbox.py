"""The mailbox: hostile or many questions cost the watch nothing, and only so many are answered."""

import threading
from collections.abc import Mapping
from typing import Any

from agent import letters
from agent.etcd import Record
from agent.mailbox import A_MINUTE, AT_ONCE, Mailbox
from overlay.errors import BadConfig, LeaseLost

SOON_S = 10.0
MACHINE = "ab" * 16


class Node:
    """A mailbox whose answers wait until they are let go, and what it wrote."""

    def __init__(self) -> None:
        self.now = 0.0
        self.holds, self.gone = True, False
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.begun, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.put: dict[str, tuple[bytes, int]] = {}
        self.box = Mailbox(
            "/net",
            MACHINE,
            answer=self._answer,
            put=self._put,
            holds=lambda: self.holds,
            clock=lambda: self.now,
        )

    def _answer(self, asker: str, question: Mapping[str, Any]) -> Mapping[str, Any]:
        self.begun.release()
        assert self.may_answer.wait(SOON_S)
        match question["verb"]:
            case "leave":
                raise BadConfig("no", hint="never")
            case "bug":
                raise KeyError("bug")
        return {"asker": asker, **question}

    def _put(self, key: str, value: bytes, lease: int) -> None:
        if self.gone:
            self.done.release()
            raise LeaseLost("gone")
        self.put[key] = (value, lease)
        self.done.release()

    def ask(self, number: int, verb: str = "status", **words: Any) -> None:  # noqa: ANN401
        """Question ``number`` comes by the watch."""
        body = letters.write(verb, words, asker="n9")
        self.box.told(Record(self.box.place.start + f"{number:032x}", body, 1, 1, 77))

    def answer(self, number: int) -> bytes:
        """What was written for it."""
        value, lease = self.put[f"/net/overlay/answer/{number:032x}"]
        assert lease == 77
        return value


def test_a_question_is_answered_under_its_own_lease() -> None:
    """So that it goes with it."""
    node = Node()
    node.ask(1, peer="n2")
    assert node.done.acquire(timeout=SOON_S)
    assert letters.opened(node.answer(1)) == {"asker": "n9", "verb": "status", "peer": "n2"}


def test_a_refusal_and_a_bug_are_answers_as_well() -> None:
    """The asker need not wait for his deadline."""
    node = Node()
    for number, verb in enumerate(("leave", "bug")):
        node.ask(number, verb)
        assert node.done.acquire(timeout=SOON_S)
    assert b'"hint":"never"' in node.answer(0)
    assert b"KeyError" in node.answer(1)


def test_who_holds_no_lease_does_not_answer_for_its_twin() -> None:
    """A clone that was refused has the same machine id."""
    node = Node()
    node.holds = False
    node.ask(1)
    assert not node.begun.acquire(blocking=False)
    assert not node.put


def test_no_more_at_once_than_said_and_one_put_again_is_one() -> None:
    """The watch's thread hands on or drops, it never waits."""
    node = Node()
    node.may_answer.clear()
    for number in range(AT_ONCE + 3):
        node.ask(number)
        node.ask(number)
    for _ in range(AT_ONCE):
        assert node.begun.acquire(timeout=SOON_S)
    node.may_answer.set()
    for _ in range(AT_ONCE):
        assert node.done.acquire(timeout=SOON_S)
    assert not node.begun.acquire(blocking=False)
    assert sorted(node.put) == [f"/net/overlay/answer/{n:032x}" for n in range(AT_ONCE)]


def test_no_more_in_a_minute_than_said() -> None:
    """After that minute it answers again."""
    node = Node()
    for number in range(A_MINUTE):
        node.ask(number)
        assert node.done.acquire(timeout=SOON_S)
        _settled()
    node.ask(A_MINUTE)
    node.now = 61.0
    node.ask(A_MINUTE + 1)
    assert node.done.acquire(timeout=SOON_S)
    assert len(node.put) == A_MINUTE + 1


def test_an_asker_who_has_gone_leaves_nothing_behind() -> None:
    """His lease is unknown by then; the next question is answered."""
    node = Node()
    node.gone = True
    node.ask(1)
    assert node.done.acquire(timeout=SOON_S)
    node.gone = False
    _settled()
    node.ask(2)
    assert node.done.acquire(timeout=SOON_S)
    assert len(node.put) == 1


def _settled() -> None:
    """Until no answer is under way: its thread has only to end."""
    for thread in threading.enumerate():
        if thread.name == "mailbox":
            thread.join(SOON_S)
