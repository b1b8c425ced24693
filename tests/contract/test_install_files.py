"""overlayctl install lays all of it down or nothing: full disks, read-only directories, files of others, a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from agent.ctl.install import steps, writing
from agent.ctl.install.items import Item
from overlay.errors import Fatal

pytestmark = pytest.mark.contract

INSTALL = [sys.executable, "-m", "agent.ctl.main", "install"]
MORTAL = "--bounding-set=-dac_override,-dac_read_search"
"""Root without the right to write what is somebody else's."""
URL = "http://192.0.2.10:2379"


@dataclass(frozen=True, slots=True)
class Said:
    """What the command left behind."""

    code: int
    out: str
    err: str


def install(root: Path, *flags: str, mounts: str = "") -> Said:
    """Run it for an image, as MORTAL with ``mounts`` in a mount namespace that is gone with it."""
    words = [*INSTALL, "--root", str(root), "--etcd-endpoints", URL, *flags]
    if mounts:
        script = f'mount --make-rprivate / && {mounts} && exec setpriv {MORTAL} -- "$@"'
        words = ["unshare", "--mount", "sh", "-c", script, "sh", *words]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=50)
    return Said(done.returncode, done.stdout, done.stderr)


def tree(root: Path) -> dict[str, str]:
    """Everything below, with modes and contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "directory"
        else:
            found[name] = f"{path.stat().st_mode & 0o7777:o} {path.read_bytes()!r}"
    return found


def test_a_second_run_changes_no_inode(tmp_path: Path) -> None:
    """Unchanged is what it says of each, and it writes nothing."""
    first = install(tmp_path)
    before = {path: path.lstat().st_ctime_ns for path in tmp_path.rglob("*")}
    second = install(tmp_path, "--output", "json")

    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert {file["action"] for file in json.loads(second.out)["files"]} == {"unchanged"}
    assert {path: path.lstat().st_ctime_ns for path in tmp_path.rglob("*")} == before


def test_a_dry_run_says_what_a_run_does_and_writes_nothing(tmp_path: Path) -> None:
    """The same steps in the same order."""
    said = json.loads(install(tmp_path, "--dry-run", "--output", "json").out)
    assert list(tmp_path.iterdir()) == []
    done = json.loads(install(tmp_path, "--output", "json").out)

    assert said["files"] == done["files"]
    assert (said["done"], done["done"]) == (False, True)


@pytest.mark.parametrize(
    ("mounts", "why"),
    [
        pytest.param("mount -t tmpfs -o size=16k tmpfs {}", "disk is full", id="full"),
        pytest.param("mount -t tmpfs -o ro tmpfs {}", "read-only", id="read-only"),
        pytest.param("chown 1 {}", "may not be written", id="somebody else's"),
    ],
)
@pytest.mark.parametrize("where", ["opt/cni/bin", "var/lib"])
def test_a_directory_that_takes_nothing_leaves_all_as_it_was(
    tmp_path: Path, mounts: str, why: str, where: str
) -> None:
    """Be it the first or the last place that is written: the error names it, and there is no trace."""
    (tmp_path / where).mkdir(parents=True)
    before = tree(tmp_path)
    fills = f"&& head -c 16384 /dev/zero >{tmp_path / where}/full" if "size" in mounts else ""

    said = install(tmp_path, mounts=mounts.format(tmp_path / where) + fills)

    assert said.code == 1
    assert why in said.err
    assert where in said.err
    assert "nothing was changed" in said.err
    assert tree(tmp_path) == before


def test_a_rename_that_fails_puts_back_what_was_renamed_before(tmp_path: Path) -> None:
    """The last of three places became a directory after the plan was made."""
    old, new, last = (Path(f"/d/{name}") for name in ("old", "new", "last"))
    (tmp_path / "d").mkdir()
    (tmp_path / "d/old").write_bytes(b"as it was")
    wanted = [Item(path, "test", b"new") for path in (old, new, last)]
    present = {path: writing.look(writing.below(tmp_path, path)) for path in (old, new, last)}
    planned = steps.plan(wanted, present, {old: steps.digest(present[old])})
    (tmp_path / "d/last/full").mkdir(parents=True)
    before = tree(tmp_path)

    with pytest.raises(Fatal, match="last cannot be laid down"):
        writing.carry_out(planned, tmp_path)

    assert tree(tmp_path) == before


def test_a_file_of_somebody_else_stays_unless_forced(tmp_path: Path) -> None:
    """Another program of the name overlay; by force it is kept beside ours."""
    theirs = tmp_path / "opt/cni/bin/overlay"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"#!/bin/sh\n")
    before = tree(tmp_path)

    refused = install(tmp_path)
    assert refused.code == 1
    assert "/opt/cni/bin/overlay" in refused.err
    assert tree(tmp_path) == before

    assert install(tmp_path, "--force").code == 0
    assert theirs.with_name("overlay.before-overlay").read_bytes() == b"#!/bin/sh\n"
    assert b"overlay-agent" in theirs.read_bytes()


def test_what_is_kept_of_somebody_else_is_not_lost_to_an_edit_of_ours(tmp_path: Path) -> None:
    """Both would be kept under one name: it says so, by force as well; moved away, there is room again."""
    theirs = tmp_path / "opt/cni/bin/overlay"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"#!/bin/sh\n")
    assert install(tmp_path, "--force").code == 0
    theirs.write_bytes(theirs.read_bytes() + b"# by hand\n")
    before = tree(tmp_path)

    for flags in ([], ["--force"]):
        refused = install(tmp_path, *flags)
        assert (refused.code, "overlay.before-overlay keeps what" in refused.err) == (1, True)
        assert tree(tmp_path) == before

    theirs.rename(tmp_path / "mine")
    assert install(tmp_path).code == 0
    assert theirs.with_name("overlay.before-overlay").read_bytes() == b"#!/bin/sh\n"


def test_another_cni_that_would_win_is_named_before_anything_is_done(tmp_path: Path) -> None:
    """Runtimes take the first configuration by name; one behind ours is no matter."""
    conf_dir = tmp_path / "etc/cni/net.d"
    conf_dir.mkdir(parents=True)
    (conf_dir / "87-podman-bridge.conflist").write_text("{}")
    (conf_dir / "05-cilium.conflist").write_text("{}")
    before = tree(tmp_path)

    said = install(tmp_path)
    assert said.code == 1
    assert "05-cilium.conflist" in said.err
    assert "podman" not in said.err
    assert tree(tmp_path) == before

    (conf_dir / "05-cilium.conflist").unlink()
    assert install(tmp_path).code == 0


def test_settings_are_added_to_a_file_that_nobody_has_edited(tmp_path: Path) -> None:
    """A second installation knows what the first was told."""
    install(tmp_path, "--bridge", "br7")

    said = install(tmp_path, "--lease-ttl", "1h")

    assert said.code == 0, said.err
    text = (tmp_path / "etc/overlay/agent.toml").read_text()
    assert 'bridge = "br7"\n' in text
    assert 'lease_ttl = "1h"\n' in text


def test_a_flag_that_contradicts_an_edited_file_is_refused(tmp_path: Path) -> None:
    """The file stays the operator's, and nothing is said in vain."""
    install(tmp_path, "--bridge", "br7")
    with (tmp_path / "etc/overlay/agent.toml").open("a") as file:
        file.write("# mine\n")
    before = tree(tmp_path)

    same, other = install(tmp_path, "--bridge", "br7"), install(tmp_path, "--bridge", "br8")

    assert (same.code, other.code) == (0, 1)
    assert "br7" in other.err
    assert tree(tmp_path) == before


def test_a_second_agent_leaves_what_it_shares_with_the_first(tmp_path: Path) -> None:
    """One executable, which knows the first one's directory, and one template; settings and devices of its own."""
    install(tmp_path, "--run-dir", "/run/first")

    said = json.loads(install(tmp_path, "--instance", "blue", "--output", "json").out)

    by_action: dict[str, set[str]] = {}
    for file in said["files"]:
        by_action.setdefault(file["action"], set()).add(Path(file["path"]).name)
    assert {"overlay", "overlay-agent.service", "overlay-agent@.service"} <= by_action["unchanged"]
    assert {"blue.toml", "05-overlay-blue.network", "installed.json"} <= by_action["create"]
    assert set(by_action) == {"unchanged", "create"}


def test_the_directory_that_the_unit_makes_is_listed_whichever_is_used(tmp_path: Path) -> None:
    """So that an uninstall takes it away again, if nothing else is in it."""
    assert install(tmp_path, "--cni-conf-dir", "/srv/cni/net.d").code == 0
    listed = json.loads((tmp_path / "var/lib/overlay/installed.json").read_text())["directories"]
    for directory in ("/srv/cni/net.d", "/etc/cni/net.d", "/etc/cni"):
        assert directory in listed
        assert (tmp_path / directory[1:]).is_dir()


def test_certificates_are_copied_for_root_alone_and_renewed(tmp_path: Path) -> None:
    """The settings name the copy; another certificate under the same flag replaces it, and nothing else."""
    source, image = tmp_path / "ca.pem", tmp_path / "image"
    source.write_text("-----BEGIN CERTIFICATE-----\n1\n")
    flags = ("--etcd-cafile", str(source))
    assert install(image, *flags).code == 0
    copy = image / "etc/overlay/tls/ca.crt"
    assert (copy.read_text(), copy.stat().st_mode & 0o7777) == (source.read_text(), 0o600)
    assert copy.parent.stat().st_mode & 0o7777 == 0o700
    assert (
        'etcd_cafile = "/etc/overlay/tls/ca.crt"' in (image / "etc/overlay/agent.toml").read_text()
    )

    source.write_text("-----BEGIN CERTIFICATE-----\n2\n")
    said = json.loads(install(image, *flags, "--output", "json").out)

    changed = [file["path"] for file in said["files"] if file["action"] == "replace"]
    assert changed == ["/etc/overlay/tls/ca.crt", "/var/lib/overlay/installed.json"]
    assert copy.read_text() == source.read_text()
    source.write_text("no certificate")
    assert install(image, *flags).code == 64


def test_killed_at_any_moment_the_next_run_completes_it(tmp_path: Path) -> None:
    """Whatever the moment leaves, no file is torn and no temporary one stays."""
    whole = tmp_path / "whole"
    whole.mkdir()
    install(whole)
    image = tmp_path / "image"
    image.mkdir()
    for attempt in range(6):
        child = subprocess.Popen(
            [*INSTALL, "--root", str(image), "--etcd-endpoints", URL],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while child.poll() is None and len(list(image.rglob("*"))) < 8 + 4 * attempt:
            time.sleep(0.0005)
        child.send_signal(signal.SIGKILL)
        child.wait()

    assert install(image).code == 0
    left = tree(image)
    assert not [name for name in left if name.endswith(writing.SUFFIX)]
    listed = "var/lib/overlay/installed.json"
    same = tree(whole)
    assert {**left, listed: ""} == {**same, listed: ""}


def test_without_systemd_it_says_so_and_does_nothing() -> None:
    """A machine whose PID 1 is another program; here: nothing at the place where systemd shows itself."""
    script = 'mount --make-rprivate / && mount -t tmpfs tmpfs /run && exec "$@"'
    words = ["unshare", "--mount", "sh", "-c", script, "sh", *INSTALL, "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=50)

    assert done.returncode == 1
    assert "systemd" in done.stderr
    assert "--no-start" in done.stderr
