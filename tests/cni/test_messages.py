"""No failed DEL says what runtimes take for a success, whatever the names in its message are."""

import ast
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni import main
from cni.results import encode_error, encode_internal_error
from overlay.errors import BadConfig

ROOT = Path(__file__).resolve().parents[2]
SWALLOWED = ("not found", "no such file or directory")
"""go-cni's Remove and multus."""
PARTS = ["not found", "Not Found", "no such file or directory", "NO SUCH FILE OR DIRECTORY", "no"]
PARTS += [
    "t ",
    "found",
    " ",
    "x",
    "İ",
    "ß",
    "\udcff",
    "no such ",
    "file or",
    " directory",
    "\0",
    '"',
]
TEXTS = st.lists(st.sampled_from(PARTS), max_size=12).map("".join) | st.text(max_size=30)


def _is_outspoken(said: bytes) -> bool:
    body = json.loads(said)
    words = f"{body['msg']}; {body.get('details', '')}"  # as libcni prints them
    return not any(item in words.lower() or item in words for item in SWALLOWED)


@pytest.mark.row("R11", "3")
@given(message=TEXTS, hint=TEXTS)
def test_whatever_a_message_is_made_of_it_is_outspoken(message: str, hint: str) -> None:
    """It ends, it is JSON, and nothing of it is swallowed."""
    assert _is_outspoken(encode_error(BadConfig(message, hint=hint), "1.0.0", verb="DEL"))
    assert _is_outspoken(encode_internal_error(FileNotFoundError(2, message), "1.0.0"))


@pytest.mark.row("R11", "R23")
@pytest.mark.parametrize(
    "name", ["x not found", "İİİİİİİİİİ not found", "no such file or directory", "İ" * 60]
)
def test_a_hostile_network_name_cannot_make_a_del_pass(name: str, tmp_path: Path) -> None:
    """It is quoted in the message; a letter whose lower case is longer hides nothing."""
    environ = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0"}
    code, stdout = main.run(environ, json.dumps({"name": name}).encode(), tmp_path)
    assert (code, json.loads(stdout)["code"]) == (1, 7)
    assert _is_outspoken(stdout)


def _texts(path: Path) -> list[tuple[int, str]]:
    """String constants that are no docstrings."""
    tree = ast.parse(path.read_text())
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return [
        (node.lineno, node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said
    ]


@pytest.mark.row("R11")
@pytest.mark.parametrize("room", ["cni", "overlay"])
def test_none_of_our_own_sentences_has_those_words(room: str) -> None:
    """Only the table that replaces them."""
    found = [
        f"{path.name}:{line}"
        for path in sorted((ROOT / room).rglob("*.py"))
        for line, text in _texts(path)
        if any(words in text.lower() for words in SWALLOWED) and path.name != "results.py"
    ]
    assert found == []
