"""HTTP as text: a request as far as it has come, and what stands above an answer. Pure."""

from dataclasses import dataclass

MOST_LINE, MOST_HEAD = 8 << 10, 16 << 10
REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    414: "URI Too Long",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a path answers."""

    code: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"


def request(heard: bytes) -> tuple[int, str, str] | None:
    """A request as far as it has come: the code to answer (200: look at the path), method, path; None: not all yet."""
    line, ended, _ = heard.partition(b"\n")
    if len(line) > MOST_LINE:
        return 414, "GET", ""
    if ended and line.strip() == b"":
        return 400, "GET", ""
    if ended and (code := _line(line)[0]) != 200:
        return code, "GET", ""
    if b"\r\n\r\n" not in heard and b"\n\n" not in heard:
        return (431, "GET", "") if len(heard) > MOST_HEAD else None
    return _line(line)


def _line(line: bytes) -> tuple[int, str, str]:
    words = line.rstrip(b"\r").decode("latin-1").split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return 400, "GET", ""
    if words[0] not in ("GET", "HEAD"):
        return 405, "GET", ""
    return 200, words[0], words[1].partition("?")[0]


def head_of(reply: Reply) -> bytes:
    """Status line and headers; every connection ends with its answer."""
    allow = "Allow: GET, HEAD\r\n" if reply.code == 405 else ""
    return (
        f"HTTP/1.1 {reply.code} {REASONS[reply.code]}\r\nContent-Type: {reply.kind}\r\n"
        f"Content-Length: {len(reply.body)}\r\n{allow}Cache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    ).encode()
