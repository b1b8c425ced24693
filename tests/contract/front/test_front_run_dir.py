"""Both executables choose the same run directory, the one that a real JSON parser would find."""

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cni import front, install, protocol
from overlay.errors import BadInput
from tests.contract.front.calls import CONF, SHOW, call
from tests.contract.front.conftest import InstallFront
from tests.contract.front.fake_agent import Agent

INSTALLED = "/installed"
Choice = Callable[[bytes], bytes | None]


def test_environment_goes_before_configuration_before_what_was_installed(
    program: Path, run_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Three places may name the run directory."""
    other = tmp_path_factory.mktemp("o")
    conf = json.dumps({"name": "overlay", "cniVersion": "1.0.0", "runDir": str(other)}).encode()
    for named, place in ("", other), (str(run_dir), run_dir):
        with Agent(place / "cni.sock", b"9\n"):
            assert call(program, conf, CNI_COMMAND="DEL", OVERLAY_RUN_DIR=named) == (9, b"", b"")


def test_a_pods_annotations_cannot_move_the_run_directory(program: Path, run_dir: Path) -> None:
    """Only the configuration's own key counts, not one further down, nor one inside a text."""
    inner = {"runDir": "/nowhere", "a": '{"runDir":"/nowhere"}', "b": '"}}}, "runDir": "/nowhere'}
    body = {"name": "overlay", "runtimeConfig": {"annotations": inner}, "list": [[inner]]}
    with Agent(run_dir / "cni.sock", b"9\n"):
        assert call(program, json.dumps(body).encode(), CNI_COMMAND="DEL") == (9, b"", b"")


@pytest.mark.parametrize(
    "conf",
    [rb'{"runDir": "\/some\u0077here"}', rb'{"run\u0044ir": "/somewhere"}', rb'{"\"": 1}'],
)
def test_what_must_be_decoded_is_left_to_the_full_program(
    install_front: InstallFront, run_dir: Path, conf: bytes
) -> None:
    """Even beside a running agent: with an escape in it, only a parser can tell."""
    program = install_front(full=SHOW)
    with Agent(run_dir / "cni.sock", b"9\n"):
        assert call(program, conf, CNI_COMMAND="DEL") == (0, b"unset|" + conf, b"")


def test_the_full_program_knows_the_installed_directory_as_well(run_dir: Path) -> None:
    """Where what it decodes is no path after all, the answer is the same as without it."""
    words = install.settings(str(run_dir)).full
    stdin = json.dumps({**json.loads(CONF), "runDir": "\n"}).encode()
    done = subprocess.run(words, input=stdin, capture_output=True, env={"CNI_COMMAND": "STATUS"})
    assert str(run_dir) in json.loads(done.stdout)["details"]


@pytest.mark.parametrize("length", [98, 99, 4096, 4097])
def test_a_run_directory_too_long_for_a_socket(
    install_front: InstallFront, run_dir: Path, length: int
) -> None:
    """Nobody can listen there, so it is served without an agent; over 4096 bytes it is no path."""
    program = install_front(full=SHOW)
    long = "/" + "x" * (length - 1)
    conf = json.dumps({"runDir": long}).encode()
    chosen = long if length <= 4096 else str(run_dir)
    assert call(program, conf, CNI_COMMAND="DEL") == (0, f"{chosen}|".encode() + conf, b"")


def _python() -> Choice:
    """The scan of the front in Python, run in this process."""
    wanted = replace(install.settings(INSTALLED), full=("/bin/false",))
    names: dict[str, Any] = {"__name__": "front"}
    exec(compile(front.render(wanted, python="/usr/bin/python3"), "front", "exec"), names)

    def choose(stdin: bytes) -> bytes | None:
        found = names["find_run_dir"](stdin)
        return None if found is None else found or INSTALLED.encode()

    return choose


@pytest.fixture(scope="module")
def choices(built: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Choice, Choice]:
    """What each front chooses (None: left to the full program), the compiled one as it is executed."""
    printing = replace(
        install.settings(INSTALLED), full=("/usr/bin/printenv", "-0", "OVERLAY_RUN_DIR")
    )
    program, _ = install.write(
        tmp_path_factory.mktemp("c"), printing, kind="compiled", program=built
    )

    def compiled(stdin: bytes) -> bytes | None:
        code, stdout, stderr = call(program, stdin)
        assert stderr == b""
        return stdout[:-1] if code == 0 else None

    return compiled, _python()


PIECES = [b'"runDir"', b'"runDir":', b'"/a"', b'"/b"', b'"\\/c"', b'"run\\u0044ir"', b'"x"', b'"']
PIECES += [
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b" ",
    b"\n",
    b"\\",
    b"\\\\",
    b"\0",
    b"\xff",
    b"1",
    b"/",
]
HOSTILE = st.lists(st.sampled_from(PIECES) | st.binary(max_size=3), max_size=20).map(b"".join)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just('{"runDir":"/a"}')
)
KEYS = st.sampled_from(["runDir", "name", "rundir", " runDir"]) | st.text(max_size=4)
VALUES = st.recursive(
    LEAVES | st.sampled_from(["/a", "/b c", "a", "", "/\x7f", '/"', "/ü", "/\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.builds(
    lambda pairs, plain, indent: _document(pairs, ensure_ascii=plain, indent=indent),
    st.lists(st.tuples(KEYS, VALUES), max_size=4),
    st.booleans(),
    st.sampled_from([None, 1, "\t"]),
)


def _document(pairs: list[tuple[str, Any]], **form: Any) -> bytes:  # noqa: ANN401 - json.dumps's
    """One object in which keys may occur twice."""
    items = [f"{json.dumps(key, **form)} : {json.dumps(value, **form)}" for key, value in pairs]
    return ("{" + ",\n".join(items) + "}").encode(errors="surrogatepass")


@settings(deadline=None)
@given(stdin=HOSTILE | HOSTILE.map(lambda text: b'{"runDir":"/a",' + text))
def test_both_choose_the_same_whatever_arrives(
    choices: tuple[Choice, Choice], stdin: bytes
) -> None:
    """JSON or not; and neither crashes over it."""
    compiled, python = choices
    assert compiled(stdin) == python(stdin)


@settings(deadline=None)
@given(stdin=DOCUMENTS)
def test_of_json_both_choose_what_a_parser_finds(
    choices: tuple[Choice, Choice], stdin: bytes
) -> None:
    """Or leave it to one; that they do only for an escape."""
    compiled, python = choices
    chosen = compiled(stdin)
    assert chosen == python(stdin)
    if chosen is None:
        assert b"\\" in stdin
    elif _decodable(stdin):
        assert chosen.decode() == (protocol.stated_run_dir(stdin) or INSTALLED)


def _decodable(stdin: bytes) -> bool:
    """Lone surrogates and huge numbers are none of the fronts' business."""
    try:
        return bool(protocol.decode(stdin)) or True
    except BadInput:
        return False
