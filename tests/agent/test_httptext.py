"""httptext: a request is read as far as it has come, and whatever comes, it is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.httptext import MOST_HEAD, MOST_LINE, request


@pytest.mark.parametrize(
    ("heard", "answer"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", (200, "GET", "/metrics")),
        (b"HEAD /healthz?x=1 HTTP/1.0\n\n", (200, "HEAD", "/healthz")),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", None),
        (b"GET /metr", None),
        (b"", None),
        (b"POST /metrics HTTP/1.1\r\n", (405, "GET", "")),
        (b"GET metrics HTTP/1.1\r\n", (400, "GET", "")),
        (b"GET / SPDY/3\r\n", (400, "GET", "")),
        (b"\x16\x03\x01\x02\x00\n", (400, "GET", "")),
        (b"\r\n\r\n", (400, "GET", "")),
        (b"GET /" + b"a" * MOST_LINE, (414, "GET", "")),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * MOST_HEAD, (431, "GET", "")),
    ],
)
def test_a_request_is_read_as_far_as_it_has_come(
    heard: bytes, answer: tuple[int, str, str] | None
) -> None:
    """Half a request waits for the rest; what can never become one is answered at once."""
    assert request(heard) == answer


@given(st.binary(max_size=300))
def test_no_bytes_break_it(heard: bytes) -> None:
    """Garbage is an answer or a wait."""
    found = request(heard)

    assert found is None or found[0] in (200, 400, 405, 414, 431)


def test_nobody_is_listened_to_for_ever() -> None:
    """More than the most bytes always end in an answer."""
    assert request(b"x" * (MOST_HEAD + 1)) is not None
    assert request(b"GET / HTTP/1.1\r\n" + b"y" * MOST_HEAD) is not None
