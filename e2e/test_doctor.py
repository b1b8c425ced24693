"""overlayctl doctor as an operator runs it: before the installation, on a node that works, on one that is ill."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.ctl.doctor.catalogue import KINDS
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.lab import Lab
from e2e.node import VENV_BIN, Node, wait_for
from e2e.process import Said

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SECRET = "Zp9-hunter2-secret"
KEY = f"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE{SECRET}\n-----END EC PRIVATE KEY-----\n"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Two nodes that reach each other, with a pod each."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", CONFIG_KEY, NETWORK)
        made.start_nodes(made.add_node("n1"), made.add_node("n2"))
        for node in made.nodes.values():
            made.add_pod(node)
        yield made


def doctor(node: Node, *more: str) -> tuple[int, dict[str, Any]]:
    """Exit code and answer; never a traceback."""
    said = node.overlayctl("doctor", "--output", "json", *more)
    assert "Traceback" not in said.err, said.err
    return said.code, json.loads(said.out)


def ids(answer: dict[str, Any], *severities: str) -> list[str]:
    """By severity."""
    return [one["id"] for one in answer["findings"] if one["severity"] in severities]


def healthy(node: Node, *more: str) -> dict[str, Any]:
    """The answer that finds nothing; a busy machine may answer a probe too late, but not again and again."""
    said: list[dict[str, Any]] = []

    def well() -> bool:
        code, answer = doctor(node, *more)
        said.append(answer)
        return (code, ids(answer, "fault", "warning")) == (0, [])

    wait_for(well, "nothing is found", timeout_s=40, also=lambda: str(said[-1]))
    return said[-1]


def test_a_node_that_works_has_no_fault_of_its_own(lab: Lab) -> None:
    """What the machine below has installed is not asked; all checks come to an end."""
    node = lab.nodes["n1"]
    answer = healthy(node, *(f"--only={area}" for area in ("kernel", "traffic", "underlay")))
    assert answer["verdict"] == "well"
    _, answer = doctor(node)
    assert {"agent", "kernel", "executable"} <= set(ids(answer, "ok")), answer
    assert not {"check-failed", "check-late"} & set(ids(answer, "warning"))
    shown = node.overlayctl("doctor", "--verbose").out
    assert "✓ the kernel makes VXLAN" in shown
    assert shown.splitlines()[-1].partition("; next: ")[2]


def test_what_is_ill_is_found_and_the_safe_part_mended(lab: Lab) -> None:
    """Rules that drop, a strict filter, a setuid plugin; --dry-run names what --fix then does."""
    node = lab.nodes["n1"]
    plugin = node.runtime.bin_dir / "overlay"
    node.namespace.must("iptables", "-P", "FORWARD", "DROP")
    node.namespace.must(
        "nft",
        "add table inet theirs; add chain inet theirs c { type filter hook input priority 5; }",
    )
    node.namespace.must("nft", "add rule inet theirs c udp dport 8472 drop")
    plugin.chmod(0o4755)
    before = node.config_file.read_text()
    node.config_file.chmod(0o644)
    node.configure(etcd_password=SECRET)
    words = [word for name in ("firewall", "executable", "secrets") for word in ("--only", name)]
    try:
        code, answer = doctor(node, *words)
        assert code == 1
        bad = set(ids(answer, "fault", "warning"))
        assert {
            "forward-drop",
            "udp-in-blocked",
            "cni-executable-mode",
            "secret-readable",
        } <= bad, bad
        assert all(one["why"] and one["mend"] for one in answer["findings"] if one["id"] in KINDS)

        _, planned = doctor(node, *words, "--fix", "--dry-run")
        assert f"chmod 0755 {plugin}" in [one["fix"] for one in planned["fixes"]]
        assert plugin.stat().st_mode & 0o4000

        _, after = doctor(node, *words, "--fix")
        assert all(one["done"] for one in after["fixes"])
        left = set(ids(after, "fault", "warning"))
        assert {"forward-drop", "udp-in-blocked"} <= left
        assert not {"cni-executable-mode", "secret-readable"} & left
    finally:
        node.namespace.must("iptables", "-P", "FORWARD", "ACCEPT")
        node.namespace.must("nft", "delete table inet theirs")
        node.config_file.write_text(before)


def test_an_archive_has_what_is_needed_and_no_secret(lab: Lab, tmp_path: Path) -> None:
    """Planted in the settings, a URL, a conflist, a key in a key's place."""
    node = lab.nodes["n1"]
    key = tmp_path / "client.key"
    key.write_text(KEY)
    before = node.config_file.read_text()
    node.configure(etcd_username="root", etcd_password=SECRET, etcd_keyfile=str(key))
    calico = {
        "type": "calico",
        "etcd_key_file": KEY,
        "token": SECRET,
        "etcd_endpoints": f"http://r:{SECRET}@h",
    }
    (node.conf_dir / "20-calico.conflist").write_text(
        json.dumps({"name": "k", "plugins": [calico]})
    )
    path = tmp_path / "bundle.tar.gz"
    try:
        said = node.overlayctl("doctor", "--bundle", str(path), "--etcd-keyfile", "")
    finally:
        (node.conf_dir / "20-calico.conflist").unlink()
        node.config_file.write_text(before)
    assert f"wrote {path}" in said.out
    assert path.stat().st_mode & 0o777 == 0o600
    members = unpacked(path)
    for name, text in members.items():
        assert SECRET not in text, name
        assert "PRIVATE KEY" not in text, name
    wanted = {
        "MANIFEST",
        "findings.json",
        "overlayctl/status.json",
        "overlayctl/peers.json",
        "kernel/fdb.txt",
    }
    assert wanted <= members.keys()
    assert all(name in members["MANIFEST"] for name in members if name != "MANIFEST")
    assert json.loads(members["overlayctl/status.json"])["node"] == "n1"
    assert json.loads(members["overlayctl/leases.json"])[0]["subnet"]
    assert "overlay.1" in members["kernel/links.txt"]
    assert "table inet overlay" in members["kernel/nft.txt"]
    assert "(removed)" in members["config/agent.toml"]
    assert '"type": "calico"' in members["cni/20-calico.conflist"]


def unpacked(path: Path) -> dict[str, str]:
    """Texts by name, without the directory."""
    with tarfile.open(fileobj=io.BytesIO(path.read_bytes())) as tar:
        return {
            one.name.partition("/")[2]: (tar.extractfile(one) or io.BytesIO()).read().decode()
            for one in tar.getmembers()
        }


def test_a_peer_that_the_tunnel_does_not_reach_is_told_from_both_sides(lab: Lab) -> None:
    """Probing is off: a few are asked now, and the silent one's agent by way of etcd."""
    node, other = lab.nodes["n1"], lab.nodes["n2"]
    healthy(node, "--only=paths")
    table = "add table inet theirs; add chain inet theirs c { type filter hook input priority 5; }"
    other.namespace.must("nft", table)
    other.namespace.must("nft", "add rule inet theirs c udp dport 8472 drop")
    try:
        code, answer = doctor(node, "--only", "paths")
    finally:
        other.namespace.must("nft", "delete table inet theirs")
    assert (code, ids(answer, "warning")) == (1, ["peer-silent"]), answer
    assert answer["findings"][0]["title"].startswith("n2 (10.5.")
    assert answer["findings"][0]["title"].endswith("ours do not arrive"), answer


def test_without_an_agent_and_without_etcd_it_says_so_in_time(lab: Lab) -> None:
    """Exit code 2 where an agent was: silent ones are named, the rest is judged by the last copy."""
    node = lab.nodes["n2"]
    node.kill_agent()
    lab.etcd.hang()
    try:
        code, answer = doctor(node)
    finally:
        lab.etcd.resume()
    assert (code, answer["verdict"]) == (2, "down")
    assert {"agent-down", "etcd-unreachable"} <= set(ids(answer, "fault"))
    assert "network-config-unknown" in ids(answer, "note")
    assert "overlap" in ids(answer, "ok")
    node.start_agent()
    node.wait_ready(peers=1)


def test_before_the_installation_it_looks_at_what_will_be_needed(lab: Lab, tmp_path: Path) -> None:
    """Nothing is there: no agent is a note, a directory on a small full disk a fault; in a namespace of mounts."""
    _, namespace = lab.add_machine("bare")
    (tmp_path / "small").mkdir()
    (tmp_path / "bin").mkdir()
    line = (
        f"mount -t tmpfs -o size=64k,nr_inodes=40 overlay-test {tmp_path}/small; "
        f"head -c 1m /dev/zero >{tmp_path}/small/x 2>/dev/null || :; "
        f"mount -t tmpfs -o noexec overlay-test {tmp_path}/bin; "
        f"exec {VENV_BIN}/overlayctl doctor --output json --etcd-endpoints {lab.etcd.url} --run-dir {tmp_path}/run "
        f"--state-dir {tmp_path}/small/state --cni-bin-dir {tmp_path}/bin --cni-conf-dir {tmp_path}/net.d"
    )
    said: Said = namespace.run(["unshare", "--mount", "sh", "-ec", line])
    answer = json.loads(said.out)
    assert said.code == 1
    assert {"place-full", "bin-dir-noexec"} <= set(ids(answer, "fault"))
    assert {"agent-not-installed", "ip-forward", "cni-executable"} <= set(ids(answer, "note"))
    assert {"kernel", "underlay", "overlap"} <= set(ids(answer, "ok")), answer
