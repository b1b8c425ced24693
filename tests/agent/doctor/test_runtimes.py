"""containerd's and CRI-O's configurations, as their packages and operators write them: where do they look?"""

import pytest

from agent.ctl.doctor import runtimes
from agent.ctl.doctor.runtimes import CONTAINERD, Runtime, containerd, crio

VERSION_1 = """
[plugins.cri.cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "/etc/cni/other"
"""
VERSION_2 = """
version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"
      conf_dir = "/etc/cni/net.d"
      max_conf_num = 0
      conf_template = ""
"""
VERSION_3 = """
version = 3
root = '/var/lib/containerd'
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dir = ''
  bin_dirs = ['/opt/cni/bin', '/usr/lib/cni']
  conf_dir = '/etc/cni/net.d'
  max_conf_num = 1
"""
DOCKERS = 'disabled_plugins = ["cri"]\n#root = "/var/lib/containerd"\n'
"""What Docker's package of containerd brings."""
CRIO = """
[crio.network]
network_dir = "/etc/cni/net.d/"
plugin_dirs = [
    "/opt/cni/bin/",
    "/usr/libexec/cni",
]
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ("/etc/cni/net.d", ("/opt/cni/bin",), 1)),
        (VERSION_1, ("/etc/cni/other", ("/usr/lib/cni",), 1)),
        (VERSION_2, ("/etc/cni/net.d", ("/usr/lib/cni",), 0)),
        (VERSION_3, ("/etc/cni/net.d", ("/opt/cni/bin", "/usr/lib/cni"), 1)),
    ],
)
def test_containerds_directories_in_every_version_of_its_file(
    text: str, wanted: tuple[str, tuple[str, ...], int]
) -> None:
    """And its defaults where nothing is said."""
    it = containerd(CONTAINERD, {CONTAINERD: text})
    assert (it.conf_dir, it.bin_dirs, it.max_conf) == wanted
    assert it.cri


def test_an_imported_file_has_the_last_word_and_a_circle_ends() -> None:
    """Relative patterns are relative to the file; others stay out."""
    more = "/etc/containerd/conf.d/10-cni.toml"
    texts = {
        CONTAINERD: 'imports = ["conf.d/*.toml"]\n' + VERSION_2,
        more: f'imports = ["{CONTAINERD}"]\n' + VERSION_3,
        "/etc/containerd/other.toml": VERSION_1,
    }
    assert containerd(CONTAINERD, texts).bin_dirs == ("/opt/cni/bin", "/usr/lib/cni")


def test_what_the_runtimes_are_told_is_compared_with_our_directories() -> None:
    """A difference is a fault with both ways out; a slash at the end is none; the rest are notes."""

    def ids(it: Runtime, bin_dir: str = "/opt/cni/bin") -> list[str]:
        return [one.id for one in runtimes.judge([it], "/etc/cni/net.d", bin_dir)]

    assert ids(containerd(CONTAINERD, {CONTAINERD: VERSION_3})) == []
    assert ids(containerd(CONTAINERD, {CONTAINERD: VERSION_2})) == [
        "runtime-dirs",
        "runtime-max-conf",
    ]
    assert ids(containerd(CONTAINERD, {CONTAINERD: VERSION_1})) == ["runtime-dirs", "runtime-dirs"]
    assert ids(containerd(CONTAINERD, {CONTAINERD: DOCKERS})) == ["runtime-cri-off"]
    assert ids(containerd(CONTAINERD, {CONTAINERD: "x = ["})) == ["runtime-unreadable"]
    assert ids(crio("c", [CRIO])) == []
    assert ids(crio("c", [CRIO]), "/usr/lib/cni") == ["runtime-dirs"]
    assert ids(crio("c", [CRIO, '[crio.network]\nplugin_dirs = ["/usr/lib/cni"]'])) == [
        "runtime-dirs"
    ]
    assert ids(crio("c", ["[["])) == ["runtime-unreadable"]
    faults = runtimes.judge(
        [containerd(CONTAINERD, {CONTAINERD: VERSION_2})], "/etc/cni/net.d", "/x"
    )
    assert 'cni_bin_dir = "/usr/lib/cni" in agent.toml' in faults[0].mend
    assert CONTAINERD in faults[0].mend


@pytest.mark.parametrize(
    "text", ["plugins = 1", "[plugins]\ncri = []", "imports = 3", "[crio]\nnetwork = 'x'"]
)
def test_values_of_another_type_are_as_good_as_absent(text: str) -> None:
    """Files of others are not ours to validate."""
    assert containerd(CONTAINERD, {CONTAINERD: text}).bin_dirs == ("/opt/cni/bin",)
    assert crio("c", [text]).conf_dir == "/etc/cni/net.d"
