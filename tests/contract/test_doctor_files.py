"""The doctor on real files: executables, configurations, certificates and secrets, planted and found."""

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl import main as overlayctl
from agent.ctl.doctor import agentside, mending
from agent.server import Server as ControlSocket
from cni.install import install
from tests.contract import spaces
from tests.contract.certificates import Authority
from tests.contract.doctor_node import SickNode

pytestmark = pytest.mark.contract
OURS = '{"cniVersion":"1.0.0","name":"overlay","plugins":[{"type":"overlay"},{"type":"portmap"}]}'
RUNNING = {
    "version": "0.0.1",
    "verdict": "degraded",
    "waiting_for": "",
    "in_sync": True,
    "subnets": ["10.5.1.0/24"],
    "lease": {"key": "10.5.1.0-24"},
    "trouble": {"10.5.9.0-24": "no route"},
    "offload": {"overlay.1": "broken, switched off"},
}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[SickNode]:
    """Well, as far as files go."""
    with spaces.namespace() as space:
        made = SickNode(space, tmp_path)
        install(tmp_path / "bin", run_dir=str(tmp_path / "run"))
        made.plant_executable("portmap")
        (tmp_path / "net.d" / "10-overlay.conflist").write_text(OURS)
        yield made


def fixed(node: SickNode, *only: str, **settings: object) -> list[str]:
    """What is left after --fix, having seen that each fix was done."""
    done = node.inside(lambda: mending.mend(node.examine(*only, **settings), dry_run=False))
    assert done
    assert [one.error for one in done] == [""] * len(done)
    return node.ids(*only, **settings)


def test_the_executable_and_its_chain(node: SickNode) -> None:
    """Missing, setuid, another program's, of another agent; a link of the chain gone."""
    plugin = node.home / "bin" / "overlay"
    assert node.ids("cni") == []

    plugin.chmod(0o4755)
    assert node.ids("executable") == ["cni-executable-mode"]
    assert fixed(node, "executable") == []
    assert plugin.stat().st_mode & 0o7777 == 0o755

    install(node.home / "bin", run_dir="/run/other", kind="python")
    (finding,) = node.examine("executable")
    assert finding.id == "cni-executable-other"
    assert "talks to the agent in /run/other" in finding.title
    assert node.ids("executable", instance="blue") == [], "its conflist says where a named one is"
    install(node.home / "bin", run_dir=str(node.home / "run"), kind="python")
    assert node.ids("executable") == []

    plugin.write_text("#!/bin/sh\nexit 0\n")
    assert node.ids("executable") == ["cni-executable-other"]
    plugin.unlink()
    (node.home / "bin" / "portmap").chmod(0o644)
    assert node.ids("cni") == ["cni-plugin-missing", "cni-plugin-missing", "cni-executable"]


def test_configurations_of_others_and_where_runtimes_look(node: SickNode) -> None:
    """Before ours, behind ours, no JSON; containerd's and CRI-O's directories."""
    (node.home / "net.d" / "05-calico.conflist").write_text(
        '{"name":"k8s","plugins":[{"type":"calico"}]}'
    )
    (node.home / "net.d" / "87-podman.conflist").write_text(
        '{"name":"p","plugins":[{"type":"bridge"}]}'
    )
    (node.home / "net.d" / "99-broken.conf").write_text("{")
    found = node.examine("conflists")
    assert sorted(one.id for one in found) == [
        "conflist-order",
        "conflist-other",
        "conflist-unreadable",
    ]
    order = next(one for one in found if one.id == "conflist-order")
    assert order.mend.endswith("05-calico.conflist.off")

    head = 'version = 2\n[plugins."io.containerd.grpc.v1.cri".cni]\n'
    config = head + 'bin_dir = "%s"\nconf_dir = "%s"\nmax_conf_num = 0\n'
    here = (str(node.home / "bin"), str(node.home / "net.d"))
    node.plant("/etc/containerd/config.toml", config % here)
    assert node.ids("runtimes") == ["runtime-max-conf"]
    node.plant("/etc/containerd/config.toml", config % ("/usr/lib/cni", here[1]))
    node.plant(
        "/etc/crio/crio.conf.d/50-a.conf",
        f'[crio.network]\nnetwork_dir = "/x"\nplugin_dirs = ["{here[0]}"]\n',
    )
    assert node.ids("runtimes") == ["runtime-dirs", "runtime-dirs", "runtime-max-conf"]
    node.plant("/etc/containerd/config.toml", 'disabled_plugins = ["cri"]\n')
    node.plant("/etc/crio/crio.conf.d/50-a.conf", "[[[")
    assert node.ids("runtimes") == ["runtime-unreadable", "runtime-cri-off"]


def test_certificates_and_secrets(node: SickNode, tmp_path: Path) -> None:
    """Valid for two days only, expired, of another key, not there; a key and a password that others can read."""
    tls = tmp_path / "tls"
    tls.mkdir()
    authority = Authority(tls)
    good, old = authority.issue("good"), authority.issue("old", days=-1)
    for pair in (good, old):
        pair.key.chmod(0o600)

    def of(cert: Path, key: Path) -> dict[str, object]:
        return {"etcd_cafile": authority.ca.cert, "etcd_certfile": cert, "etcd_keyfile": key}

    assert node.ids("secrets", **of(good.cert, good.key)) == ["tls-expires", "tls-expires"]
    assert "tls-expired" in node.ids("secrets", **of(old.cert, old.key))
    assert "tls-file" in node.ids("secrets", **of(old.cert, good.key))
    (missing,) = [one for one in node.examine("secrets", etcd_cafile=tls / "none") if one.is_bad]
    assert (missing.id, "No such file" in missing.title) == ("tls-file", True)

    good.key.chmod(0o644)
    node.config_file.write_text('etcd_password = "x"\n')
    node.config_file.chmod(0o640)
    assert node.ids("secrets", **of(good.cert, good.key)).count("secret-readable") == 2
    assert "secret-readable" not in fixed(node, "secrets", **of(good.cert, good.key))
    assert [path.stat().st_mode & 0o777 for path in (good.key, node.config_file)] == [0o600, 0o600]


def test_other_programs_files_and_words(node: SickNode) -> None:
    """sysctl.d, Docker's pools, networkd, NetworkManager, the clock: each by its own file or command."""
    node.plant("/etc/sysctl.d/90-hardening.conf", "net.ipv4.ip_forward = 0\n")
    (boot,) = [one for one in node.examine("forwarding") if one.is_bad]
    assert (boot.id, "90-hardening.conf" in boot.title) == ("ip-forward-at-boot", True)

    node.plant(
        "/etc/docker/daemon.json", '{"default-address-pools":[{"base":"10.5.0.0/17","size":24}]}'
    )
    assert node.ids("docker") == ["docker-pool-overlap"]
    node.plant(
        "/etc/docker/daemon.json", '{"default-address-pools":[{"base":"172.30.0.0/16","size":24}]}'
    )
    assert node.ids("docker") == []

    node.plant("/etc/systemd/network/50-all.network", "[Match]\nName=*\n[Network]\nDHCP=yes\n")
    node.plant(
        "/usr/lib/systemd/network/99-default.link",
        "[Match]\nOriginalName=*\n[Link]\nMACAddressPolicy=persistent\n",
    )
    node.plant("/sys/class/net/overlay0/addr_assign_type", "1\n")
    running = (
        "systemctl is-active systemd-networkd.service",
        "systemctl is-active NetworkManager.service",
    )
    node.programs |= dict.fromkeys(running, "active\n")
    assert set(node.ids("network-programs")) == {
        "networkd-manages",
        "networkd-routes",
        "networkmanager",
        "mac-policy",
    }

    node.programs["timedatectl show --property NTPSynchronized --value"] = "no\n"
    assert node.ids("clock") == ["clock-unsynchronised"]
    os.utime(node.home / "state" / "last-good.json")
    page = (node.home / "state" / "last-good.json").read_text()
    later = f'{page[:-1]},"saved":[{time.time() + 1e6},0,""]}}'
    (node.home / "state" / "last-good.json").write_text(later)
    assert node.ids("clock") == ["clock-wrong"]


def test_the_agent_its_unit_and_what_it_says(node: SickNode) -> None:
    """Not installed, failed with its last words, disabled; running: version, trouble, offload, the conflist."""
    asked = ",".join(agentside.PROPERTIES)
    shown = f"systemctl show overlay-agent.service --no-pager --property {asked}"
    assert node.ids("agent") == ["agent-not-installed"]
    node.programs[shown] = (
        "LoadState=loaded\nActiveState=failed\nResult=exit-code\nUnitFileState=disabled\n"
    )
    node.programs["journalctl -u overlay-agent.service -n 20 -o cat --no-pager"] = (
        "overlay-agent: unknown key ifcae\n"
    )
    failed = node.examine("agent")
    assert [one.id for one in failed] == ["agent-failed", "agent-not-enabled"]
    assert "unknown key ifcae" in failed[0].title

    node.programs["systemctl enable overlay-agent.service"] = ""
    assert [one.text for one in mending.mend(failed, dry_run=False)] == [
        "systemctl enable overlay-agent.service"
    ]

    node.programs[shown] = (
        "LoadState=loaded\nActiveState=active\nResult=success\nUnitFileState=enabled\n"
    )
    assert node.ids("agent") == ["agent-down"]
    (node.home / "net.d" / "10-overlay.conflist").unlink()
    socket = ControlSocket(
        node.home / "run" / "cni.sock",
        cni=lambda *_: (1, b""),
        ctl=lambda question: RUNNING if question["verb"] == "status" else {},
        late=lambda *_: (1, b""),
        told=lambda *_: None,
    )
    try:
        assert node.ids("agent") == ["agent-version", "agent-degraded", "checksum-offload"]
        assert node.ids("conflists") == ["conflist-missing"]
        node.shell("sysctl -qw net.ipv4.ip_forward=0")
        assert fixed(node, "forwarding") == []
    finally:
        socket.close()


def test_settings_that_cannot_be_read_do_not_keep_it_from_looking(
    node: SickNode, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is a finding; a wrong flag is wrong usage as ever, and other verbs refuse as before."""
    node.config_file.write_text('ifcae = "x"\n')
    words = ["doctor", "--only", "clock", "--config", str(node.config_file), "--output", "json"]
    assert node.inside(lambda: overlayctl.main(words)) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["id"] for one in found if one["area"] == "agent"] == ["settings-bad"]
    assert "did you mean iface?" in found[0]["title"]
    assert overlayctl.main([*words, "--lease-ttl", "soon"]) == 64
    assert overlayctl.main(["status", "--config", str(node.config_file)]) == 64
