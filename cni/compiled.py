"""The compiled executable (``front.c``): where it is built, and how settings get into it.

It has a block of bytes for them, which is found by its first words and overwritten, so that the program
reads no file and parses nothing when a runtime starts it. ``tools/build-front`` compiles it.
"""

import os
from pathlib import Path

from cni.front import Settings
from overlay.errors import BadConfig

PATH = Path(__file__).with_name(f"front-{os.uname().machine}")
MARK = b"overlay-front-settings/1:"
BLOCK_BYTES = 8192
MOST_WORDS = 32
"""These three are the same in front.c."""
BUILD = "`make front` builds it, given a C compiler (Debian: gcc and libc6-dev)"


def patch(program: bytes, settings: Settings) -> bytes:
    """``program`` with ``settings`` in it.

    Raises:
        BadConfig: it has no place for them, or too little.
    """
    start = program.find(MARK + bytes(BLOCK_BYTES - len(MARK)))
    if start < 0:
        raise BadConfig("the compiled front has no block for its settings", hint=BUILD)
    times = (f"{seconds * 1000:.0f}" for seconds in (settings.answer_s, settings.status_s))
    words = [os.fsencode(word) for word in (settings.run_dir, *times, *settings.full)]
    block = b"".join(word + b"\0" for word in words)
    if not all(words) or len(words) > MOST_WORDS or len(block) >= BLOCK_BYTES:
        raise BadConfig(
            f"the compiled front has no room for these settings ({len(block)} bytes)",
            hint="use shorter paths, or --front python",
        )
    return program[:start] + block.ljust(BLOCK_BYTES, b"\0") + program[start + BLOCK_BYTES :]
