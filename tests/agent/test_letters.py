"""Questions and answers as they lie in etcd: whatever stands there, nothing but a bounded question comes out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import letters
from agent.etcd import Record
from overlay.errors import BadInput, BadRecord, OverlayError

PLACE = letters.asked("/net", "ab" * 16)
ID = "c" * 32 + ".7"
LEASE = 4711


def record(value: bytes, *, name: str = ID, lease: int = LEASE) -> Record:
    """A question as etcd hands it over."""
    return Record(PLACE.start + name, value, 1, 1, lease)


WORDS = st.dictionaries(
    st.text(max_size=20),
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=40),
    max_size=8,
)


@given(verb=st.text(max_size=20), words=WORDS)
def test_a_question_arrives_as_it_was_written(verb: str, words: dict[str, object]) -> None:
    """And no word can take the verb's place."""
    letter = letters.read(record(letters.write(verb, words, asker="n1")), PLACE)

    assert {**letter.question, "verb": ""} == {**words, "verb": ""}
    assert letter.question["verb"] == letter.verb
    assert letter.verb.isprintable()
    assert (letter.id, letter.asker, letter.lease) == (ID, "n1", LEASE)


@given(value=st.binary(max_size=200), name=st.text(max_size=60), lease=st.integers(0, 3))
def test_rubbish_is_a_bad_record_or_a_bounded_question(value: bytes, name: str, lease: int) -> None:
    """Nothing else comes out of it."""
    why, letter = "", None
    try:
        letter = letters.read(record(value, name=name, lease=lease), PLACE)
    except BadRecord as error:
        why = str(error)
    assert why.isprintable()
    assert why or (letter and lease and len(letter.words) <= letters.MOST_WORDS)


@pytest.mark.parametrize(
    "bad",
    [
        record(b'{"verb":"status"}', name="../used/10.5.1.0-24"),
        record(b'{"verb":"status"}', name=ID + "/x"),
        record(b'{"verb":"status"}', lease=0),
        record(b'{"verb":"status","words":{"a":"' + b"x" * 300 + b'"}}'),
        record(b'{"verb":"status","words":{"a":{"b":1}}}'),
        record(b'{"verb":"status","asker":"' + b"x" * 5000 + b'"}'),
        record(b"[" * 4000),
        record(b'{"words":{}}'),
    ],
)
def test_what_an_agent_must_not_take_is_refused(bad: Record) -> None:
    """Another key than an id, no expiry, too long, too deep, no verb."""
    with pytest.raises(BadRecord):
        letters.read(bad, PLACE)


def test_an_answer_arrives_or_says_why_not() -> None:
    """What was answered, and what was refused with its next step."""
    assert letters.opened(letters.reply({"a": [1, "ä"]})) == {"a": [1, "ä"]}
    with pytest.raises(OverlayError, match="no such pod") as refused:
        letters.opened(letters.refuse("no such pod", hint="overlayctl ipam"))
    assert refused.value.hint == "overlayctl ipam"


def test_too_long_a_question_and_too_long_an_answer_are_said() -> None:
    """The one is not sent, the other is an error on arrival."""
    with pytest.raises(BadInput, match="more than 4096"):
        letters.write("history", {"who": "x" * 5000}, asker="n1")
    with pytest.raises(OverlayError, match="go through etcd"):
        letters.opened(letters.reply({"rows": "x" * letters.MOST_ANSWER_BYTES}))
    with pytest.raises(BadRecord, match="bytes"):
        letters.opened(b" " * (1 << 20))


@given(st.binary(max_size=120))
def test_a_forged_answer_is_an_error_in_words(value: bytes) -> None:
    """Or an object: who shows it checks what is in it."""
    why, answer = "", None
    try:
        answer = letters.opened(value)
    except OverlayError as error:
        why = str(error)
    assert why.isprintable()
    assert why or isinstance(answer, dict)


def test_the_ranges_hold_their_own_and_no_neighbour() -> None:
    """Only the asked machine is woken; an asker hears its own answers alone."""
    batch = ID.partition(".")[0]
    heard = letters.answered("/net", batch)
    assert heard.start < letters.answer_key("/net", ID) < heard.end
    assert not heard.start < letters.answer_key("/net", "d" * 32 + ".7") < heard.end
    assert not PLACE.start < letters.asked("/net", "ab" * 17).start + ID < PLACE.end
