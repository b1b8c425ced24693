"""What the disks of a lab's machines have in common: this machine's Debian, and the product by the README's commands.

A layer over / that all nodes share, made once per test run: this machine's own services, CNI files and overlay are
hidden in it, `make install` has been run in it, offline, by wheels of what is installed here (e2e.wheelhouse).
"""

import fcntl
import json
import os
import shutil
from pathlib import Path

from e2e import wheelhouse
from e2e.lab import MEMORY
from e2e.process import must, start_time

ROOT = Path(__file__).resolve().parent.parent
CHECKOUT = "/root/overlay"
"""Where a node finds this repository, as if it had been cloned there."""
WHEELS = "/var/lib/wheels"
"""Where pip finds all there is to be had, as it would at a mirror of its own."""
_PIP = f"[global]\nno-index = yes\nfind-links = {WHEELS}\nno-cache-dir = yes\ndisable-pip-version-check = yes\n"
EMPTY = (
    *("etc/systemd/system", "etc/init.d", "etc/cni", "etc/containerd", "etc/overlay", "opt"),
    "usr/local/bin",
    *("var/lib/overlay", "var/lib/cni", "var/log/journal"),
)
"""What this machine has there is not a node's."""
MASKED = (
    # They would write to the one kernel that all share.
    *("systemd-sysctl.service", "systemd-modules-load.service", "systemd-binfmt.service"),
    *("systemd-timesyncd.service", "systemd-udevd.service", "systemd-udev-trigger.service"),
    *("systemd-udevd-control.socket", "systemd-udevd-kernel.socket", "systemd-pstore.service"),
    *("systemd-random-seed.service", "kmod-static-nodes.service"),
    *("systemd-tmpfiles-setup-dev.service", "systemd-hwdb-update.service"),
    # What they mount is not to be had in here.
    *("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "sys-kernel-config.mount"),
    *("dev-hugepages.mount", "dev-mqueue.mount", "sys-fs-fuse-connections.mount"),
    "proc-sys-fs-binfmt_misc.automount",
    # Nobody logs in, nothing is due at night.
    *("getty.target", "systemd-logind.service", "timers.target", "systemd-update-utmp.service"),
)
_INSTALL = """
set -e
mount --make-rprivate /
mount -t overlay image -o lowerdir=/,upperdir=$1/upper,workdir=$1/work $1/root
mkdir -p $1/root$3
mount --bind $2 $1/root$3
mount -t proc proc $1/root/proc
mount -t tmpfs tmpfs $1/root/tmp
exec chroot $1/root /usr/bin/env -i HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin \
    make -C $3 install FLAGS=--no-start
"""


def of_this_run(owner: int) -> Path:
    """The layer, made by whoever asks first; ``owner`` is the process that removes it at its end.

    Its name and page are those of a lab, so that e2e.down finds what a killed run left.
    """
    work = MEMORY / f"overlay-lab-image{owner}"
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (work / "made").exists():
            page = {"owner": [owner, start_time(owner)], "namespaces": [], "processes": []}
            (work / "lab.json").write_text(json.dumps(page))
            _make(work)
            (work / "made").touch()
    return work / "upper"


def remove(owner: int) -> None:
    """At the end of the run; absent is fine."""
    shutil.rmtree(MEMORY / f"overlay-lab-image{owner}", ignore_errors=True)


def _make(work: Path) -> None:
    for name in ("upper", "work", "root"):
        (work / name).mkdir()
    wheelhouse.pack(
        work / f"upper{WHEELS}",
        *wheelhouse.needs_of("overlay-network"),
        *wheelhouse.needs_of("hatchling"),
        "hatchling",
    )
    _hide(work / "upper")
    # No network, and mounts that nobody else sees.
    apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
    must([*apart, "bash", "-c", _INSTALL, "install", work, ROOT, CHECKOUT], timeout_s=240)
    (work / "upper/etc/overlay/agent.toml").unlink()  # each node's own, by its `overlayctl install`


def _hide(upper: Path) -> None:
    for name in EMPTY:
        (upper / name).mkdir(parents=True)
        os.setxattr(upper / name, "trusted.overlay.opaque", b"y")
    for unit in MASKED:
        (upper / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (upper / "etc/fstab").touch()
    (upper / "etc/pip.conf").write_text(_PIP)
    (upper / "root").mkdir(mode=0o700)
