"""The support archive of a node where everybody has written secrets down: none is in it."""

import base64
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl.doctor import gathering
from tests.contract import spaces
from tests.contract.doctor_node import SickNode

pytestmark = pytest.mark.contract
SECRETS = (
    "Zp9-hunter2",
    "tok3n-of-calico",
    "MHcCAQEEIB9key",
    "url-pa55word",
    "unit-s3cret",
    "reg1stry",
)
PASSWORD, TOKEN, KEY, IN_URL, IN_UNIT, REGISTRY = SECRETS
PEM = f"-----BEGIN EC PRIVATE KEY-----\n{KEY}\n-----END EC PRIVATE KEY-----\n"
JOURNAL = f"""\
2026-11-29T10:00:00+0000 n1 overlay-agent[7]: etcd_password = '{PASSWORD}' (/etc/overlay/agent.toml): no
2026-11-29T10:00:01+0000 n1 overlay-agent[7]: etcd at https://root:{IN_URL}@10.0.0.1:2379: refused {PASSWORD}
2026-11-29T10:00:02+0000 n1 calico[9]: {{"level":"info","token":"{TOKEN}"}}
2026-11-29T10:00:03+0000 n1 curl[9]: Authorization: Basic {base64.b64encode(f"root:{IN_URL}".encode()).decode()}
2026-11-29T10:00:04+0000 n1 overlay-agent[7]: subnet 10.5.1.0-24 mtu=1450
"""
UNIT = (
    f"[Service]\nEnvironment=OVERLAY_ETCD_PASSWORD={IN_UNIT} ETCDCTL_USER=root:{IN_UNIT}\n"
    f"ExecStart=/x --etcd-password {PASSWORD}\n"
)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SickNode]:
    """Secrets in every file and in all that programs print."""
    with spaces.namespace() as space:
        made = SickNode(space, tmp_path)
        made.config_file.write_text(f'etcd_username = "root"\netcd_password = "{PASSWORD}"\n')
        (tmp_path / "client.key").write_text(PEM)
        calico = {"type": "calico", "etcd_key_file": PEM, "kubernetes": {"k8s_auth_token": TOKEN}}
        calico["etcd_endpoints"] = f"https://root:{IN_URL}@10.0.0.1:2379"
        text = json.dumps({"name": "k", "plugins": [calico], "note": f"the token is {TOKEN}"})
        (tmp_path / "net.d" / "10-calico.conflist").write_text(text)
        (tmp_path / "net.d" / "20-broken.conf").write_text(f'{{"password": "{PASSWORD}", ')
        registry = (
            f'[plugins.x.registry.configs."r".auth]\nusername = "u"\npassword = "{REGISTRY}"\n'
        )
        made.plant("/etc/containerd/config.toml", f"version = 2\n{registry}")
        made.programs |= {
            "journalctl -u overlay-agent.service -n 5000 --no-pager -o short-iso": JOURNAL,
            "systemctl cat overlay-agent.service": UNIT,
            "ip -d -s link": "1: lo: <LOOPBACK> mtu 65536\n",
        }
        yield made


def test_no_secret_of_any_place_is_in_the_archive(node: SickNode, tmp_path: Path) -> None:
    """What stands beside them is there: an archive is to be of use."""
    path = tmp_path / "out.tgz"
    look = node.look(
        etcd_username="root", etcd_password=PASSWORD, etcd_keyfile=tmp_path / "client.key"
    )
    node.inside(lambda: gathering.bundle(look, [], path))
    with tarfile.open(path) as tar:
        found = {one.name.partition("/")[2]: tar.extractfile(one) for one in tar.getmembers()}
        texts = {name: file.read().decode() for name, file in found.items() if file is not None}
    packed = base64.b64encode(f"root:{IN_URL}".encode()).decode()
    for name, text in texts.items():
        assert [secret for secret in (*SECRETS, packed, "PRIVATE KEY") if secret in text] == [], (
            name
        )
    assert "client.key" not in texts
    assert "subnet 10.5.1.0-24 mtu=1450" in texts["agent/journal.txt"]
    assert "overlay-agent[7]: etcd at https://(removed)@10.0.0.1:2379" in texts["agent/journal.txt"]
    assert "ExecStart=/x" in texts["agent/unit.txt"]
    assert 'username = "u"' in texts["runtimes/config.toml"]
    assert json.loads(texts["cni/10-calico.conflist"])["plugins"][0]["type"] == "calico"
    assert "mtu 65536" in texts["kernel/links.txt"]
    assert texts["kernel/fdb.txt"].startswith("not to be had")
    assert "net/ipv4/conf/eth0/rp_filter" in texts["kernel/switches.txt"]
