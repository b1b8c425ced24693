"""Questions to another node's agent, and its answers, as they lie in etcd. Pure.

A question is put under ``P/overlay/ask/<machine id>/<id>``, with an etcd lease of half a minute that the asker takes
for it; the agent answers under ``P/overlay/answer/<id>`` with the same lease, so that nothing stays of either once
the asker has revoked it, or is gone. The machine id is that of the node's record: known to its agent before it holds
a subnet, and the same whichever subnet that is.

Who may write there may ask, and no more: the verbs are a closed list (agent.control.REMOTE). What comes from there
is bounded and checked here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from agent.etcd import Record
from agent.printable import printable
from overlay.errors import BadInput, BadRecord, OverlayError

MOST_QUESTION_BYTES = 4 << 10
MOST_ANSWER_BYTES = 512 << 10
MOST_WORDS = 16
"""Arguments of a question beside its verb."""
MOST_TEXT = 256

_ID = re.compile(r"[0-9a-f]{32}(?:\.[0-9]{1,6})?")


@dataclass(frozen=True, slots=True)
class Range:
    """[start, end) of keys."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Letter:
    """One question. ``lease`` is the etcd lease it came with; ``words`` what the verb wants to know beside."""

    id: str
    verb: str
    asker: str
    words: Mapping[str, Any]
    lease: int

    @property
    def question(self) -> dict[str, Any]:
        """As the agent's socket would get it; no word can stand for the verb."""
        return {**self.words, "verb": self.verb}


class _Question(msgspec.Struct):
    verb: str
    asker: str = ""
    words: dict[str, str | int | float | bool | None] = {}


class _Answer(msgspec.Struct):
    answer: dict[str, Any] | None = None
    error: str = ""
    hint: str = ""


def asked(prefix: str, machine_id: str) -> Range:
    """Where the questions to one machine are put."""
    return _below(f"{prefix}/overlay/ask/{machine_id}")


def answered(prefix: str, batch: str) -> Range:
    """Where the answers to all questions of one asker come: their ids begin with ``batch``, 32 hexadecimal digits."""
    start = f"{prefix}/overlay/answer/{batch}"
    return Range(f"{start}.", f"{start}/")  # '/' follows '.'


def answer_key(prefix: str, letter_id: str) -> str:
    """Where the answer to one question goes."""
    return f"{prefix}/overlay/answer/{letter_id}"


def write(verb: str, words: Mapping[str, Any], *, asker: str) -> bytes:
    """A question.

    Raises:
        BadInput: it is longer than an agent reads.
    """
    body = msgspec.json.encode({"verb": verb, "asker": asker, "words": dict(words)})
    if len(body) > MOST_QUESTION_BYTES:
        raise BadInput(f"the question has {len(body)} bytes, more than {MOST_QUESTION_BYTES}")
    return body


def read(record: Record, place: Range) -> Letter:
    """A question as it stands in etcd.

    Raises:
        BadRecord: it is none, is too long, or would stay for ever; the text says which.
    """
    name = record.key.removeprefix(place.start)
    if not _ID.fullmatch(name):
        raise BadRecord(f"{printable(name, 60)!r} is not the id of a question")
    if not record.lease:
        raise BadRecord(f"question {name} has no etcd lease: its answer would stay for ever")
    if len(record.value) > MOST_QUESTION_BYTES:
        raise BadRecord(
            f"question {name} has {len(record.value)} bytes, more than {MOST_QUESTION_BYTES}"
        )
    try:
        found = msgspec.json.decode(record.value, type=_Question)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecord(f"question {name} cannot be read: {printable(str(error), 200)}") from error
    if len(found.words) > MOST_WORDS or any(
        len(text) > MOST_TEXT
        for item in found.words.items()
        for text in item
        if isinstance(text, str)
    ):
        raise BadRecord(f"question {name} has more, or longer, words than an answer may need")
    verb, asker = printable(found.verb, 32), printable(found.asker, MOST_TEXT)
    return Letter(name, verb, asker, found.words, record.lease)


def reply(answer: Mapping[str, Any]) -> bytes:
    """An answer; one that is too long becomes an error that says so."""
    body = msgspec.json.encode({"answer": answer}, enc_hook=str)
    if len(body) <= MOST_ANSWER_BYTES:
        return body
    return refuse(
        f"the answer has {len(body)} bytes, more than the {MOST_ANSWER_BYTES} that go through etcd",
        hint="ask on the node itself",
    )


def refuse(why: str, *, hint: str = "") -> bytes:
    """The answer no."""
    return msgspec.json.encode(
        {"error": why[:MOST_QUESTION_BYTES], "hint": hint[:MOST_QUESTION_BYTES]}
    )


def opened(value: bytes) -> dict[str, Any]:
    """What was answered.

    Raises:
        OverlayError: the other agent refused, in its own words.
        BadRecord: that is no answer.
    """
    if len(value) > MOST_ANSWER_BYTES + MOST_QUESTION_BYTES:
        raise BadRecord(f"the answer has {len(value)} bytes, more than {MOST_ANSWER_BYTES}")
    try:
        found = msgspec.json.decode(value, type=_Answer)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadRecord(f"the answer cannot be read: {printable(str(error), 200)}") from error
    if found.answer is None:
        raise OverlayError(
            printable(found.error) or "the other agent refused without a reason", hint=found.hint
        )
    return found.answer


def _below(path: str) -> Range:
    return Range(f"{path}/", f"{path}0")  # '0' follows '/'
