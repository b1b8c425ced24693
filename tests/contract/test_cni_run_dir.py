"""A run directory that somebody spoiled: corrupt, foreign and hostile files; nothing foreign is removed."""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.ctl import gc, ipam
from cni.owner import Owner
from cni.record import RECORD_VERSION
from overlay.netlink.namespace import run_inside
from tests.contract import spaces
from tests.contract.cni_node import Node
from tests.contract.faults import Faulty, addresses_in, config_for
from tests.contract.spaces import inside

pytestmark = pytest.mark.contract

LIVING = Owner("overlay", "living", "eth0")


@pytest.fixture
def faulty(space: Path, tmp_path: Path) -> Faulty:
    """A node that is ready; its run directory is a part of what may be looked at for foreign files."""
    return Faulty(Node(space, tmp_path / "run"))


@pytest.fixture
def living(faulty: Faulty) -> Iterator[Path]:
    """A pod that nothing may cost its network."""
    with spaces.namespace() as pod:
        assert "ips" in faulty.call("ADD", pod, LIVING.container)
        yield pod


@pytest.fixture
def pod() -> Iterator[Path]:
    """An empty pod."""
    with spaces.namespace() as made:
        yield made


def _record(container: str, **keys: object) -> bytes:
    body = {
        "network": "overlay",
        "container": container,
        "ifname": "eth0",
        "netns": "/run/netns/none",
        "host_link": Owner("overlay", container, "eth0").host_link,
        "version": RECORD_VERSION,
        "netns_inode": 1,
    }
    return json.dumps({**body, **keys}).encode()


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "foreign").write_text("keep me")


def _link_to(target: str) -> Callable[[Path], None]:
    return lambda path: path.symlink_to(target)


def _bytes(data: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(data)

    return write


SPOILED_RECORDS: dict[str, Callable[[Path], None]] = {
    "empty": _bytes(b""),
    "no JSON": _bytes(b"\x00\xff{"),
    "a list": _bytes(b"[]"),
    "cut off": _bytes(_record("c1")[:40]),
    "2 MiB": _bytes(_record("c1", pod="x" * (2 << 20))),
    "deep": _bytes(b"[" * 100_000),
    "a directory": _directory,
    "a pipe": os.mkfifo,
    "dangling": _link_to("nowhere"),
    "a loop": _link_to("c1@eth0.json"),
    "another's": _bytes(_record("living")),
    "another network's": _bytes(_record("c1", network="other")),
    "outside": _bytes(_record("../../x", network="../../x")),
    "addresses that are none": _bytes(_record("c1", addresses=["garbage", "../../x", "\0"])),
    "another's address": _bytes(_record("c1", addresses=["10.5.1.2/24"])),
    "a delegate that is none": _bytes(_record("c1", delegate={"ipam": []})),
    "a delegate outside": _bytes(
        _record("c1", delegate={"ipam": {"type": "../../bin/true"}}, path="/usr/bin")
    ),
    "a netns with NUL": _bytes(_record("c1", netns="/\0")),
    "dated in the year 1e300": _bytes(_record("c1", created=1e300)),
    "a link that cannot be": _bytes(_record("c1", host_link="x" * 5000, bridge="y" * 5000)),
    "alive, with garbage": _bytes(
        _record("c1", netns="/proc/self/ns/net", addresses=["garbage"], bridge="\0")
    ),
}
HARMLESS_NAMES = (b"new\nline@eth0", b"\xff\xfe@eth0", b"@", b"a@b@c", b"..@eth0", b"\xc3\x28@\xa0")


def _fill(text: bytes) -> bytes:
    """A record as alive as this very process, whatever inode its namespace has."""
    inode = Path("/proc/self/ns/net").stat().st_ino
    return text.replace(b'"netns_inode": 1', f'"netns_inode": {inode}'.encode())


def _gc(faulty: Faulty, **flags: object) -> int:
    settings = config_for(faulty.node.run_dir)
    given = argparse.Namespace(dry_run=False, output="json", **flags)
    return run_inside(faulty.node.space, lambda: gc.gc(given, settings))


def _ipam(faulty: Faulty, action: str, output: str) -> int:
    settings = config_for(faulty.node.run_dir)
    given = argparse.Namespace(action=action, target="", output=output)
    return run_inside(faulty.node.space, lambda: ipam.ipam(given, settings))


def _still_lives(faulty: Faulty, living: Path) -> None:
    inside(living, "ping", "-c1", "-W9", "10.5.1.1")
    assert faulty.attached(LIVING.container)
    path = faulty.node.run_dir / "ipam/10.5.1.2"
    assert os.readlink(path) == LIVING.place


def _everything(faulty: Faulty, pod: Path) -> None:
    """Each verb and each tool once; every error is one of ours, with a code."""
    codes = {
        verb: faulty.call(verb, pod, "c1", **more).get("code", 0)
        for verb, more in (
            ("CHECK", {"prevResult": {"cniVersion": "1.1.0"}}),
            ("GC", {"cni.dev/valid-attachments": []}),
        )
    }
    assert 999 not in codes.values(), codes
    faulty.sweep()
    assert _gc(faulty) in (0, 1)
    for output in ("json", "text"):
        assert _ipam(faulty, "show", output) == 0
        assert _ipam(faulty, "check", output) in (0, 1)


@pytest.mark.parametrize("kind", SPOILED_RECORDS)
def test_a_spoiled_record_costs_nobody_else_anything(
    faulty: Faulty, living: Path, pod: Path, kind: str, tmp_path: Path
) -> None:
    """ADD, DEL, CHECK, GC, sweep and overlayctl behave; what is not ours stays."""
    outside = tmp_path / "x"
    outside.mkdir()
    (outside / "keep.json").write_text("keep me")
    path = faulty.node.run_dir / "attachments/overlay/c1@eth0.json"
    SPOILED_RECORDS[kind](path)
    if kind.startswith("alive"):
        path.write_bytes(_fill(path.read_bytes()))

    answer = faulty.call("ADD", pod, "c1")
    assert "ips" in answer or "attached already" in answer["msg"]
    assert addresses_in(pod) & addresses_in(living) == set()
    _still_lives(faulty, living)
    _everything(faulty, pod)
    _still_lives(faulty, living)
    gone = faulty.call("DEL", pod, "c1")

    assert gone.get("code", 0) in (0, 11)
    assert not faulty.attached("c1")
    _still_lives(faulty, living)
    assert (outside / "keep.json").exists()
    if kind == "a directory":
        assert (path / "foreign").exists()
    else:
        assert (gone, [one for one in faulty.files() if "c1@" in one]) == ({}, [])


@pytest.mark.parametrize("name", HARMLESS_NAMES, ids=repr)
def test_strange_names_stop_nothing(faulty: Faulty, living: Path, pod: Path, name: bytes) -> None:
    """As records, as allocations' targets, as networks: looked at without a traceback."""
    run_dir = os.fsencode(faulty.node.run_dir)
    for data in (b"", b"{}", _record("c1")):
        with open(run_dir + b"/attachments/overlay/" + name + b".json", "wb") as file:
            file.write(data)
        _everything(faulty, pod)
    os.makedirs(run_dir + b"/attachments/" + name, exist_ok=True)
    with open(run_dir + b"/attachments/" + name + b"/x@eth0.json", "wb"):
        pass
    os.symlink(b"overlay/" + name, run_dir + b"/ipam/10.5.1.9")
    os.symlink(name, run_dir + b"/ipam/10.5.1.10")

    _everything(faulty, pod)

    assert "ips" in faulty.call("ADD", pod, "c1")
    assert faulty.call("DEL", pod, "c1") == {}
    _still_lives(faulty, living)


def test_foreign_things_among_the_addresses_are_kept_and_passed_over(
    faulty: Faulty, living: Path, pod: Path
) -> None:
    """A file, a directory, a dangling and a looping link where an address would stand are not given out."""
    room = faulty.node.run_dir / "ipam"
    (room / "10.5.1.3").write_text("keep me")
    _directory(room / "10.5.1.4")
    (room / "10.5.1.5").symlink_to("10.5.1.5")
    (room / "10.5.1.6").symlink_to("/etc/passwd")
    (room / "a\nb").write_text("keep me")
    (room / "lost+found").mkdir()
    os.mkfifo(room / "10.5.1.7")

    answer = faulty.call("ADD", pod, "c1")
    _everything(faulty, pod)

    assert answer["ips"][0]["address"] == "10.5.1.8/24"
    assert faulty.call("DEL", pod, "c1") == {}
    assert {"10.5.1.3", "10.5.1.4", "10.5.1.7", "a\nb", "lost+found"} <= set(os.listdir(room))
    assert os.path.lexists(room / "10.5.1.6")
    _still_lives(faulty, living)


@pytest.mark.parametrize(
    ("room", "kind"),
    [
        (room, kind)
        for room in ("ipam", "attachments", "attachments/overlay", "attachments.lock")
        for kind in ("a file", "a directory", "dangling", "a loop")
    ],
)
def test_a_room_that_is_something_else_is_named(
    faulty: Faulty, pod: Path, room: str, kind: str
) -> None:
    """Code 11 with the path for ADD, or a whole pod; DEL is success or code 11, never a traceback."""
    path = faulty.node.run_dir / room
    path.parent.mkdir(exist_ok=True)
    make = {
        "a file": _bytes(b""),
        "a directory": _directory,
        "dangling": _link_to("nowhere/at/all"),
        "a loop": _link_to(path.name),
    }
    make[kind](path)

    added = faulty.call("ADD", pod, "c1")
    if "code" in added:
        assert (added["code"], str(faulty.node.run_dir) in added["msg"]) == (11, True), added
        assert not faulty.attached("c1")
    gone = faulty.call("DEL", pod, "c1")
    assert gone.get("code", 0) in (0, 11)
    assert not faulty.attached("c1")
    _everything(faulty, pod)


def test_a_network_that_is_a_link_is_not_followed(faulty: Faulty, tmp_path: Path) -> None:
    """What is behind it is not ours, and stays."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign/x@eth0.json").write_text("keep me")
    (faulty.node.run_dir / "attachments").mkdir()
    (faulty.node.run_dir / "attachments/evil").symlink_to(tmp_path / "foreign")

    faulty.sweep()

    assert (tmp_path / "foreign/x@eth0.json").exists()


def test_a_hint_that_cannot_be_replaced_leaves_no_litter(faulty: Faulty, pod: Path) -> None:
    """A directory stands where the address given last is noted: addresses are given all the same."""
    (faulty.node.run_dir / "ipam/.last-V4").mkdir(parents=True)

    assert "ips" in faulty.call("ADD", pod, "c1")
    assert faulty.call("DEL", pod, "c1") == {}

    assert os.listdir(faulty.node.run_dir / "ipam") == [".last-V4"]
