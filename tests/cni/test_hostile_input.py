"""Whatever arrives, stdout is one JSON object with a code, and nobody sees a traceback."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cni import main, protocol
from cni.standing import NO_NEW_PODS, Standing
from overlay.errors import OverlayError

ADD = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_IFNAME": "eth0",
    "CNI_NETNS": "/run/netns/none",
}

VERBS = ("ADD", "CHECK", "GC", "STATUS", "VERSION", "", "NONE")  # DEL would ask the real kernel
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
KEYS = st.sampled_from(
    [
        *("cniVersion", "name", "type", "mtu", "bridge", "ipMasq", "dns", "ipam", "runDir", "args"),
        *("prevResult", "runtimeConfig", "policy", "kubernetes", "log_level", "etcd_endpoints"),
        *("cni.dev/valid-attachments", "cni.dev/attachments"),
    ]
)
CONFIGS = st.dictionaries(KEYS, JSON).map(
    lambda body: json.dumps({"name": "overlay", "cniVersion": "1.0.0", **body}).encode()
)
STDIN = st.binary(max_size=200) | CONFIGS | JSON.map(lambda value: json.dumps(value).encode())
VALUES = st.text(max_size=60)
ENVIRONS = st.fixed_dictionaries(
    {"CNI_COMMAND": st.sampled_from(VERBS)},
    optional={
        "CNI_CONTAINERID": st.just("c1") | VALUES,
        "CNI_IFNAME": st.just("eth0") | VALUES,
        "CNI_NETNS": st.just("/run/netns/none") | VALUES,
        "CNI_ARGS": VALUES,
    },
)


@pytest.mark.row("13", "80", "5")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(environ=ENVIRONS, stdin=STDIN)
def test_any_input_gets_json_with_a_code_and_no_traceback(
    environ: dict[str, str],
    stdin: bytes,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """No node page here, so no ADD gets further than code 11; nothing is ever code 999."""
    code, stdout = main.run(environ, stdin, tmp_path)

    answer = json.loads(stdout or '{"cniVersion":""}')
    assert stdout or environ["CNI_COMMAND"] == "GC"
    assert isinstance(answer["cniVersion"], str)
    assert (code == 0) == ("code" not in answer)
    assert answer.get("code") in (None, 1, 2, 4, 6, 7, 11, 50)
    assert capfd.readouterr().err == ""


@settings(deadline=None)
@given(environ=ENVIRONS, stdin=STDIN)
def test_parsing_a_del_raises_only_what_has_a_code(environ: dict[str, str], stdin: bytes) -> None:
    """The same for the verb that is not run here."""
    outcome: int | str
    try:
        outcome = protocol.parse({**environ, "CNI_COMMAND": "DEL"}, stdin).owner.name
    except OverlayError as error:
        outcome = error.cni_code
    assert outcome in (1, 4, 6, 7) or "/" not in str(outcome)


@pytest.mark.row("63", "64")
@pytest.mark.parametrize("stdin", [b"", b"x", b'{"cniVersion":"7"}', b'{"cniVersion":"0.3.1"}'])
def test_version_answers_to_any_stdin(stdin: bytes, tmp_path: Path) -> None:
    """Runtimes ask with an empty one, too; the version asked in is echoed."""
    code, stdout = main.run({"CNI_COMMAND": "VERSION"}, stdin, tmp_path)

    answer = json.loads(stdout)
    assert code == 0
    assert answer["supportedVersions"] == list(protocol.VERSIONS)
    if b"0.3.1" in stdin:
        assert answer["cniVersion"] == "0.3.1"


@pytest.mark.row("9", "50")
@pytest.mark.parametrize(("verb", "code"), [("ADD", 11), ("STATUS", 50), ("CHECK", 11)])
def test_without_a_node_page_each_verb_says_why(verb: str, code: int, tmp_path: Path) -> None:
    """Code 11 for ADD, 50 for STATUS, with what the node waits for."""
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/run/netns/none",
    }
    _, stdout = main.run(
        environ,
        b'{"cniVersion":"1.1.0","name":"overlay"}',
        tmp_path,
        standing=Standing(NO_NEW_PODS, "etcd is silent", f"look at {tmp_path / 'node.json'}"),
    )

    answer = json.loads(stdout)
    assert answer["code"] == code
    assert "etcd is silent" in answer["msg"]
    assert str(tmp_path / "node.json") in answer["details"]


@pytest.mark.row("R24", "80")
def test_what_nobody_foresaw_is_code_999_and_its_traceback_stays_off_stdout(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A standing of the wrong type stands in for a fault of ours."""
    wrong: Standing = 5  # type: ignore[assignment]
    code, stdout = main.run(ADD, b'{"name":"overlay"}', tmp_path, standing=wrong)

    assert (code, json.loads(stdout)["code"]) == (1, 999)
    assert b"Traceback" not in stdout
    assert "Traceback" in capfd.readouterr().err
