"""What switches were before they were turned: noted once, with those that turn along, and put back in order."""

import json
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overlay.dataplane import former
from overlay.dataplane.former import Former
from overlay.dataplane.switches import Switches
from overlay.model import Sysctl

FORWARD = "net/ipv4/ip_forward"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A few switches, as below /proc/sys."""
    values = {
        FORWARD: "0",
        "net/ipv4/conf/all/forwarding": "0",
        "net/ipv4/conf/all/accept_redirects": "0",
        "net/ipv4/conf/eth0/forwarding": "1",
        "net/ipv6/conf/eth0/accept_ra": "1",
    }
    for path, value in values.items():
        place = tmp_path / "sys" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f"{value}\n")
    return tmp_path / "sys"


def test_what_was_there_first_is_what_is_put_back(proc: Path, tmp_path: Path) -> None:
    """Turned twice, by an agent and by the next one, with others that the kernel turned along."""
    file = tmp_path / "run" / former.NAME
    Switches(proc, file).set(Sysctl(FORWARD, "1"))
    Switches(proc, file).set(Sysctl("net/ipv6/conf/eth0/accept_ra", "2"))
    Switches(proc, file).set(Sysctl(FORWARD, "1"))
    (proc / "net/ipv4/conf/all/accept_redirects").write_text("1\n")  # as the kernel does

    found = former.turned(former.read(file), proc)

    assert {item.path: (item.before, item.now) for item in found} == {
        FORWARD: ("0", "1"),
        "net/ipv4/conf/all/accept_redirects": ("0", "1"),
        "net/ipv6/conf/eth0/accept_ra": ("1", "2"),
    }
    assert [former.put_back(item, proc) for item in found] == ["", "", ""]
    assert former.turned(former.read(file), proc) == []


def test_what_turns_others_is_put_back_before_them() -> None:
    """Forwarding off takes it from eth0 as well, which had it before."""
    noted = {"net/ipv4/conf/eth0/forwarding": "1", FORWARD: "0"}

    assert list(former.restoring(noted)) == [FORWARD, "net/ipv4/conf/eth0/forwarding"]


def test_a_switch_that_went_with_its_device_is_not_missed(proc: Path) -> None:
    """Nothing is left of it."""
    assert former.turned({"net/ipv4/conf/overlay0/forwarding": "0"}, proc) == []


def test_what_an_agent_knew_is_handed_on_and_kept(proc: Path, tmp_path: Path) -> None:
    """Its own note of the same switch is the older one's word, and a later note does not lose it."""
    file = tmp_path / former.NAME
    heir = Former(file, proc)
    former.hand_on({FORWARD: "0"}, file)
    heir.note("net/ipv6/conf/eth0/accept_ra")

    assert former.read(file) == {FORWARD: "0", "net/ipv6/conf/eth0/accept_ra": "1"}


def test_a_full_disk_keeps_no_switch_from_being_turned(proc: Path, tmp_path: Path) -> None:
    """Traffic is worth more than the note."""
    (tmp_path / "run").write_text("a file, where a directory would have to be")

    Switches(proc, tmp_path / "run" / former.NAME).set(Sysctl(FORWARD, "1"))

    assert (proc / FORWARD).read_text() == "1"


paths = st.lists(st.sampled_from(("net", "..", ".", "", "kernel", "ipv4", "x")), max_size=5)


@given(st.dictionaries(paths.map("/".join), st.text(max_size=5), max_size=5))
def test_no_note_leads_out_of_net(noted: dict[str, str]) -> None:
    """What is written back is a switch of the network, whatever the file says."""
    with tempfile.TemporaryDirectory() as home:
        file = Path(home, former.NAME)
        file.write_text(json.dumps(noted))
        found = former.read(file)

    assert all(os.path.normpath(f"/proc/sys/{path}").startswith("/proc/sys/net") for path in found)


@pytest.mark.parametrize("text", ["", "[]", '{"net/x": 1}', "\xff", json.dumps({"kernel/x": "1"})])
def test_a_note_that_is_none_says_nothing(tmp_path: Path, text: str) -> None:
    """Nor does one about other switches."""
    (tmp_path / former.NAME).write_text(text, encoding="latin-1")

    assert former.read(tmp_path / former.NAME) == {}


def test_the_command_that_puts_it_back_may_be_pasted() -> None:
    """A device's name may have a dot, which sysctl(8) spells as a slash."""
    item = former.Turned("net/ipv6/conf/eth0.5/accept_ra", "1", "2")

    assert item.command == "sysctl -w net.ipv6.conf.eth0/5.accept_ra=1"
