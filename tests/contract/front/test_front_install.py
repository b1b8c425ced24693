"""Installing the executables, what goes into them and into the wheel, and how little they load."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cni import compiled, front, install
from overlay.errors import BadConfig
from tests.contract.front.calls import CONF, call, refusal
from tests.contract.front.conftest import ROOT


def test_a_relative_run_directory_is_refused(tmp_path: Path) -> None:
    """A plugin may be started anywhere."""
    with pytest.raises(BadConfig, match="run-dir is 'run'"):
        install.install(tmp_path, run_dir="run")


def test_the_executable_is_nobody_elses_to_write(program: Path) -> None:
    """Mode 0755, no setuid bit, nothing else in the directory."""
    assert program.stat().st_mode & 0o7777 == 0o755
    assert [path.name for path in program.parent.iterdir()] == ["overlay"]


def test_the_compiled_one_is_taken_where_it_was_built(built: Path, tmp_path: Path) -> None:
    """Where it was not, Python serves; either can be asked for."""
    missing = tmp_path / "front-none"
    wanted = {
        ("auto", built): ("compiled", b"\x7fELF"),
        ("auto", missing): ("python", b"#!"),
        ("python", built): ("python", b"#!"),
        ("compiled", built): ("compiled", b"\x7fELF"),
    }
    for (kind, program), (expected, begin) in wanted.items():
        path, was = install.install(tmp_path / "bin", kind=kind, program=program)
        assert was == expected
        assert path.read_bytes().startswith(begin)


def test_asking_for_a_compiled_one_that_is_not_there_says_how_to_build_it(tmp_path: Path) -> None:
    """And what was installed before stays."""
    path, _ = install.install(tmp_path, kind="python")
    before = path.read_bytes()
    with pytest.raises(BadConfig, match="there is no compiled front at") as caught:
        install.install(tmp_path, kind="compiled", program=tmp_path / "front-none")
    assert "make front" in caught.value.hint
    assert path.read_bytes() == before


def test_the_command_says_which_it_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line."""
    assert install.main(["--bin-dir", str(tmp_path), "--front", "python"]) == 0
    assert capsys.readouterr().out == f"installed {tmp_path / 'overlay'} (python front)\n"


def test_an_executable_that_was_only_copied_says_so(built: Path) -> None:
    """Without settings it can do nothing, and must not do so silently."""
    code, why = refusal(call(built, CONF, CNI_COMMAND="ADD"))
    assert (code, "cni.install" in why) == (7, True)


def test_settings_go_into_the_block_and_nowhere_else(built: Path) -> None:
    """Size and all other bytes stay; an agent has 90 s to answer, 0.8 s for STATUS."""
    before = built.read_bytes()
    after = compiled.patch(before, front.Settings("/run/overlay", ("/p", "-c", "x")))
    start = before.index(compiled.MARK)
    block = slice(start, start + compiled.BLOCK_BYTES)
    assert before.count(compiled.MARK) == 1
    assert after[block].rstrip(b"\0") == b"/run/overlay\x0090000\x00800\0/p\0-c\0x"
    assert (
        before[: block.start] + before[block.stop :] == after[: block.start] + after[block.stop :]
    )


@pytest.mark.parametrize("full", [("/p" * 5000,), ("/p",) * 40, ("/p", "")])
def test_settings_that_have_no_room_are_refused(built: Path, full: tuple[str, ...]) -> None:
    """Never cut off."""
    with pytest.raises(BadConfig, match="no room"):
        compiled.patch(built.read_bytes(), front.Settings("/run/overlay", full))


def test_the_numbers_are_the_same_in_both_languages() -> None:
    """What cni.compiled says of front.c is so."""
    source = (ROOT / "cni" / "front.c").read_text()
    mark, most = compiled.MARK.decode(), f"MOST_WORDS = {compiled.MOST_WORDS},"
    assert f'block[{compiled.BLOCK_BYTES}] = "{mark}"' in source
    assert most in source
    assert len(source.splitlines()) <= 170


def test_a_wheel_holds_the_compiled_front_and_names_its_machine(
    built: Path, tmp_path: Path
) -> None:
    """Without a compiler it is a wheel for any machine, and Python serves."""
    machine = os.uname().machine
    assert _wheel(tmp_path / "with") == (f"linux_{machine}", {"front.c", f"front-{machine}"})
    assert _wheel(tmp_path / "without", CC="/nowhere/cc") == ("any", {"front.c"})


def _wheel(into: Path, **environ: str) -> tuple[str, set[str]]:
    """The platform of a wheel built from this checkout, and which files of the compiled front it has."""
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(words, cwd=ROOT, env=os.environ | environ, check=True, capture_output=True)
    (path,) = into.iterdir()
    with zipfile.ZipFile(path) as wheel:
        names = {Path(name).name for name in wheel.namelist() if name.startswith("cni/front")}
    shutil.rmtree(into)
    return path.stem.rpartition("-")[2], names - {"front.py"}


@pytest.mark.row("R28")
def test_the_python_front_imports_next_to_nothing(run_dir: Path) -> None:
    """Its start is most of an ADD's time: everything loaded is builtin or what Python itself needs."""
    wanted = front.Settings(str(run_dir), ("/bin/false",))
    text = front.render(wanted, python=sys.executable)
    assert len(_modules(text.replace('"__main__"', '"never"'), "-ISE")) <= 30


@pytest.mark.row("R28")
def test_the_full_program_leaves_the_heavy_modules_out() -> None:
    """VERSION and bad input must not pay for what they do not use."""
    names = _modules(f"import sys; sys.path.insert(0, {str(ROOT)!r})\nimport cni.main", "-I")
    assert not names & {"pyroute2", "asyncio", "argparse", "http", "logging", "grpc", "subprocess"}


def _modules(code: str, flags: str) -> set[str]:
    tail = "\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, flags, "-c", f"{code}{tail}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())
