"""Text from etcd, files or a socket as it may be shown: one line, with nothing in it that a terminal obeys. Pure."""

MOST = 4000
"""Characters of one piece of text: nobody reads more, and a key in etcd may have a million."""


def printable(text: str, most: int = MOST) -> str:
    """The same text where it is harmless; the rest escaped as in Python's literals, and cut."""
    shown = text[:most]
    if not shown.isprintable():
        shown = "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode()
            for letter in shown
        )
    return shown if len(text) <= most else shown + "…"
