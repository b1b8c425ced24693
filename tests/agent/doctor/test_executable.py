"""Whose CNI executable is it? Told by what is in it, compiled and in Python."""

from pathlib import Path

from agent.ctl.doctor.executable import OURS, identify
from cni import compiled, front
from cni.compiled import BLOCK_BYTES, MARK
from cni.front import Settings

SETTINGS = Settings("/run/blue", ("/opt/overlay/bin/python", "-I", "-c", "code"))
PROGRAM = b"\x7fELF" + OURS + MARK + bytes(BLOCK_BYTES - len(MARK)) + b"the rest"
"""As cni/front.c is compiled: a block for its settings somewhere in it."""


def test_a_compiled_one_tells_its_settings_and_whether_the_rest_is_this_versions() -> None:
    """The settings are not compared: they differ from node to node."""
    data = compiled.patch(PROGRAM, SETTINGS)
    assert identify(data, PROGRAM) == (SETTINGS, True)
    assert identify(data.replace(b"the rest", b"the past"), PROGRAM) == (SETTINGS, False)
    assert identify(data + b"longer", PROGRAM) == (None, False)
    assert identify(data, b"") == (None, False)


def test_one_in_python_as_well() -> None:
    """It holds its source, from which it would be made again."""
    text = front.pack(front.render(SETTINGS, python="/usr/bin/python3")).encode()
    assert identify(text, PROGRAM) == (SETTINGS, True)
    assert OURS in text
    assert identify(text.replace(b"LONGEST_PATH = 4096", b"LONGEST_PATH = 4095"), PROGRAM) == (
        SETTINGS,
        False,
    )


def test_other_programs_are_none_of_ours(tmp_path: Path) -> None:
    """Scripts, binaries, nothing: no error."""
    for data in (
        b"",
        b"#!/bin/sh\nexec true\n",
        b"#!/bin/sh\n'x'\n",
        b"#!",
        b"\x7fELF\x00",
        b"#!\n" + b"(" * 5000,
    ):
        assert identify(data, PROGRAM) == (None, False)
