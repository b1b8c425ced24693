"""No secret leaves: planted in every form and place, and looked for in what is left."""

import base64
import io
import json
import tarfile
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ctl.doctor.bundle import MOST_BYTES, Archive
from agent.ctl.doctor.redaction import REMOVED, Redactor
from overlay.errors import OverlayError

SECRET = "hunter2-Zp9"
KEY = f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\nMHcCAQEE\n-----END EC PRIVATE KEY-----"
FORMS = (
    f'etcd_password = "{SECRET}"',
    f"etcd_password = '{SECRET}' (/etc/overlay/agent.toml): no",
    f'etcd_password="{SECRET}"',
    f"--etcd-password {SECRET} --run-dir /x",
    f"--etcd-password={SECRET}",
    f"OVERLAY_ETCD_PASSWORD={SECRET}",
    f"Environment=ETCDCTL_USER=root:{SECRET}",
    f"etcdctl --user root:{SECRET} get x",
    f"https://root:{SECRET}@10.0.0.1:2379/x",
    f"http://{SECRET}@10.0.0.1",
    f"https://a:b@{SECRET}@10.0.0.1",
    f'{{"token": "{SECRET}", "a": 1}}',
    f'{{"k8s_auth_token":"{SECRET}"}}',
    json.dumps({"text": json.dumps({"password": SECRET})}),
    f"password: {SECRET}",
    f"Authorization: Bearer {SECRET}",
    f"authorization: Basic {base64.b64encode(SECRET.encode()).decode()}",
    f'identitytoken = "{SECRET}"',
    f'auth = "{SECRET}"',
    f"client-secret={SECRET}",
    f"etcd_key = {SECRET}",
    f'Environment="OVERLAY_ETCD_PASSWORD=two {SECRET}"',
    KEY,
    KEY[:60],
    f'secret = "with \\"quotes\\" and {SECRET}"',
)
KEPT = (
    "the token of this node is its machine id",
    "etcd_keyfile = '/etc/overlay/etcd.key'",
    '"etcd_key_file": "/etc/etcd/key.pem"',
    "10.5.1.0/24 via 10.5.1.0 dev overlay.1 onlink",
    "Nov 29 11:00:00 n1 overlay-agent[7]: subnet 10.5.1.0-24 mtu=1450",
    "https://10.0.0.1:2379, revision 9",
    "bypass = 3",
)


@pytest.mark.parametrize("form", FORMS)
def test_what_looks_like_a_secret_goes_though_nobody_knows_it(form: str) -> None:
    """In every file that has them."""
    clean = Redactor().clean(f"before\n{form}\nafter")
    assert SECRET not in clean
    assert base64.b64encode(SECRET.encode()).decode() not in clean
    assert clean.startswith("before")
    assert REMOVED in clean


@pytest.mark.parametrize("text", KEPT)
def test_what_is_none_stays(text: str) -> None:
    """An archive nobody can read helps nobody."""
    assert Redactor().clean(text) == text


@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), min_size=6, max_size=20),
    st.text(max_size=20),
)
def test_a_known_secret_goes_wherever_it_stands(secret: str, around: str) -> None:
    """Bare, in JSON, in a URL, packed; also where prose has it."""
    word = secret.strip()
    if len(word) < 6 or word in REMOVED or REMOVED in word:
        return
    redactor = Redactor([secret])
    for form in (word, json.dumps(word)[1:-1], quote(word)):
        assert (
            form not in redactor.clean(f"{around} {form} {around}").replace(REMOVED, "")
            or form in around
        )


def test_a_short_one_goes_as_a_word_and_leaves_others_alone() -> None:
    """etcd takes a password of one letter."""
    assert Redactor(["abc"]).clean("login abc failed: abcd") == f"login {REMOVED} failed: abcd"


def test_json_loses_whole_branches_under_such_names_and_what_they_held_elsewhere() -> None:
    """Lists and objects; the path of a key file stays, a key in its place goes."""
    text = json.dumps(
        {
            "plugins": [{"type": "calico", "etcd_key_file": "/etc/k.pem", "password": SECRET}],
            "tokens": [SECRET],
            "auth": {"user": "u", "pass": SECRET},
            "etcd_keyfile": KEY,
            "comment": f"was {SECRET}",
        }
    )
    redactor = Redactor()
    clean = redactor.clean_json(text)
    assert SECRET not in clean
    assert json.loads(clean)["plugins"][0] == {
        "type": "calico",
        "etcd_key_file": "/etc/k.pem",
        "password": REMOVED,
    }
    assert SECRET not in redactor.clean_json("[ no JSON " + SECRET)


def test_an_archive_is_private_bounded_and_tells_what_it_holds(tmp_path: Path) -> None:
    """Mode 0600 by rename; a failed question has its reason in its place; the end of a journal is kept."""
    archive = Archive(Redactor([SECRET]), most_total=MOST_BYTES + 100)
    archive.add("a.txt", "x" * MOST_BYTES + "yyy", tail=True)

    def fails() -> str:
        raise OverlayError(f"no agent ({SECRET})")

    archive.ask("b.txt", fails, json=True)
    archive.add("c.txt", "z" * 1000)
    path = tmp_path / "out.tar.gz"
    assert archive.write(path, "top") == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        found = {
            one.name: (tar.extractfile(one) or io.BytesIO()).read() for one in tar.getmembers()
        }
    assert list(found) == ["top/MANIFEST", "top/a.txt", "top/b.txt", "top/c.txt"]
    assert found["top/a.txt"].endswith(b"xyyy")
    assert len(found["top/a.txt"]) == MOST_BYTES
    assert b"not to be had: OverlayError: no agent ((removed))" in found["top/b.txt"]
    assert len(found["top/c.txt"]) < 100
    assert b"(3 bytes cut)" in found["top/MANIFEST"]
    assert not list(tmp_path.glob(".*"))
    with pytest.raises(OverlayError, match="cannot be written"):
        archive.write(path / "x", "top")
