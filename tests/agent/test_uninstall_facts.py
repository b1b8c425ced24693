"""overlayctl uninstall, the pure part: from one look what is done, what is left, and what stays on purpose."""

import argparse
from dataclasses import fields, replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.ctl.install.service import Service
from agent.ctl.uninstall import look
from agent.ctl.uninstall.facts import Facts, Fate, Held, Laid, deeds, kept, left
from cni.strays import Stray
from overlay.dataplane.former import Turned
from overlay.marks import Marks
from overlay.model import Action, Bridge, KernelObject, Lease, LinkAddress, Route, Step

NOTHING = Facts(marks=Marks(), node="n7", service=Service(True, "overlay-agent.service"))
BRIDGE = Bridge("overlay0", "0a:58:0a:05:01:01", 1450, True)
ROUTE = Route(ip_network("fd00:5:2::/64"), ip_address("fd50::2"), "eth0", onlink=False)
ADDRESS = LinkAddress("overlay0", ip_interface("10.5.1.1/24"))

EACH: list[tuple[dict[str, Any], str, str]] = [
    ({"agent": 42}, "service", "42"),
    ({"service": replace(NOTHING.service, enabled=True)}, "service", "systemctl disable --now"),
    ({"conflist": Path("/etc/cni/net.d/10-overlay.conflist")}, "conflist", "10-overlay.conflist"),
    ({"places": ("overlay/abc@eth0",)}, "pods", "--force"),
    (
        {"strays": (Stray("ovl0123456789ab", 7, None, ""),)},
        "pods",
        "ip link delete ovl0123456789ab",
    ),
    ({"table": "inet overlay"}, "kernel", "nft delete table inet overlay"),
    ({"steps": (Step(Action.DELETE, BRIDGE),)}, "kernel", "ip link delete overlay0"),
    (
        {"steps": (Step(Action.DELETE, ROUTE),)},
        "kernel",
        "ip -6 route delete fd00:5:2::/64 dev eth0 proto 158",
    ),
    (
        {"steps": (Step(Action.DELETE, ADDRESS),)},
        "kernel",
        "ip address delete 10.5.1.1/24 dev overlay0",
    ),
    (
        {"switches": (Turned("net/ipv4/ip_forward", "0", "1"),)},
        "switches",
        "sysctl -w net.ipv4.ip_forward=0",
    ),
    ({"held": Held(True, ("10.5.1.0-24",))}, "lease", "overlayctl node remove n7"),
    (
        {"laid": (Laid(Path("/opt/cni/bin/overlay"), Fate.OURS),)},
        "files",
        "rm /opt/cni/bin/overlay",
    ),
    ({"inside": (Path("/run/overlay/ipam"),)}, "files", "rm -r /run/overlay/ipam"),
]


@pytest.mark.parametrize(("there", "stage", "command"), EACH)
def test_what_is_there_is_taken_away_or_named_with_its_command(
    there: dict[str, Any], stage: str, command: str
) -> None:
    """One thing of ours, of each kind."""
    facts = replace(NOTHING, **there)

    assert [name for name, _ in deeds(facts)] == [stage]
    (found,) = left(facts)
    assert command in found.mend


def test_every_kind_of_thing_is_among_them() -> None:
    """A new field of the facts is one of those, or needs none."""
    others = {"marks", "node", "settings", "unknown", "others"}

    assert {field.name for field in fields(Facts)} == others | {
        key for it, *_ in EACH for key in it
    }


def test_a_node_without_anything_is_done() -> None:
    """Nothing to do, nothing left."""
    assert [*deeds(NOTHING), *left(NOTHING), *kept(NOTHING)] == []


def test_an_etcd_that_does_not_answer_may_hold_a_lease() -> None:
    """It is said, with what frees it later."""
    file = Path("/etc/overlay/agent.toml")
    facts = replace(
        NOTHING,
        held=Held(True, error="no answer within 5 s"),
        laid=(Laid(file, Fate.OURS),),
        settings=(file,),
    )

    (found,) = left(facts)

    assert "until etcd" in next(kept(facts)), "a second run has to know which etcd"
    assert "no answer" in found.what
    assert "overlayctl node remove n7" in found.mend


def test_what_stays_on_purpose_is_no_residue() -> None:
    """Changed by hand, or another agent's too; and a file that nobody knows is named as what it is."""
    laid = (
        Laid(Path("/etc/overlay/agent.toml"), Fate.CHANGED),
        Laid(Path("/opt/cni/bin/overlay"), Fate.SHARED),
    )
    facts = replace(NOTHING, laid=laid, others=("the instance without a name",))

    assert list(left(facts)) == []
    sentences = list(kept(facts))
    assert len(sentences) == 3
    assert "--purge" in "".join(sentences)
    (found,) = left(replace(NOTHING, unknown=(Path("/run/overlay/core"),)))
    assert "does not know" in found.what


def test_thousands_of_routes_are_a_number() -> None:
    """Those of a large cluster; the bridge among them is named all the same."""
    routes: list[KernelObject] = [
        replace(ROUTE, dst=ip_network(f"10.{n // 256}.{n % 256}.0/24")) for n in range(5000)
    ]
    routes.append(BRIDGE)
    facts = replace(NOTHING, steps=tuple(Step(Action.DELETE, it) for it in routes))

    done, residue = list(deeds(facts)), list(left(facts))

    assert len(done) == len(residue) < 30
    assert "4980 more of kind Route" in done[-1][1]
    assert any("overlay0" in what for _, what in done)


def test_what_an_etcd_that_is_away_is_asked_with_is_not_said_to_go() -> None:
    """A dry run says what a run does: the settings' file stays."""
    file = Path("/etc/overlay/agent.toml")
    facts = replace(NOTHING, laid=(Laid(file, Fate.OURS),), settings=(file,))
    assert [what for _, what in deeds(facts)] == [f"remove {file}"]
    away = replace(facts, held=Held(True, error="no answer"))
    assert list(deeds(away)) == []
    assert [str(file) in line for line in kept(away)] == [True]


def test_another_machines_lease_is_none_of_ours_though_it_has_our_id(tmp_path: Path) -> None:
    """A cloned node's: it lives on, and its lease is no residue of the one that goes."""
    environ = {"OVERLAY_NODE_NAME": "n2", "OVERLAY_MACHINE_ID": "0" * 32}
    settings = config.load(argparse.Namespace(config=None, instance=None), environ, root=tmp_path)
    lease = Lease("10.5.1.0-24", (), node="n1", machine_id="0" * 32, etcd_lease=7)
    told = [
        (look.is_mine(it, settings), look.is_twins(it, settings))
        for it in (lease, replace(lease, node="n2"), replace(lease, machine_id="1" * 32))
    ]
    assert told == [(True, True), (True, False), (False, True)]
