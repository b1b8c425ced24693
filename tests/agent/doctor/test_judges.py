"""The judges of the doctor: facts in, findings out. A row for each thing planted, and what is well is silent."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from agent.ctl.doctor import (
    agentside,
    clock,
    conflists,
    executable,
    firewall,
    forwarding,
    kernel,
    limits,
    overlap,
    paths,
    places,
    store,
)
from agent.ctl.doctor.finding import Finding
from agent.ctl.doctor.limits import Table
from agent.ctl.doctor.look import Configured
from agent.rulesets import Ruleset
from overlay.model import Backend
from tests.agent.doctor.planted import (
    DAY,
    DIRS,
    MEMBER,
    NETWORK,
    PLACE,
    PLANTED,
    PLUGIN,
    TUNNEL,
    agent_found,
    dated,
    etcd_found,
    forwarded,
    rp_filters,
    tunnel_mtu,
    unit,
)

WELL: list[Callable[[], list[Finding]]] = [
    lambda: kernel.judge(kernel.Facts()),
    forwarded,
    lambda: forwarded(switches=rp_filters("2", "1"), direct=True),
    etcd_found,
    lambda: etcd_found(replace(MEMBER, version="3.4.34")),
    lambda: etcd_found(replace(MEMBER, version="3.6.0")),
    lambda: tunnel_mtu(1500, Backend(mtu=1500)),
    lambda: conflists.judge(DIRS),
    lambda: executable.judge(PLUGIN),
    lambda: places.judge([PLACE, replace(PLACE, options=frozenset({"noexec"}))]),
    lambda: clock.judge(clock.Facts(2e9, ((1e9, "a file"),), None)),
    lambda: limits.judge(
        [Table("conntrack-full", "conntrack", 5, 100, ""), Table("fd-limit", "x", 9, 0, "")]
    ),
    lambda: dated(0, 900 * DAY),
    lambda: store.judge_config(Configured(NETWORK, answered=True), "/p"),
    agent_found,
    lambda: paths.judge([{"state": "ok"}, {"state": "unknown"}]),
]


@pytest.mark.parametrize(("kind", "severity", "planted"), PLANTED, ids=[row[0] for row in PLANTED])
def test_a_planted_trouble_is_found_with_its_reason_and_its_mend(
    kind: str, severity: str, planted: Callable[[], list[Finding]]
) -> None:
    """The id and severity; every finding says why it matters and what to do."""
    findings = planted()
    assert (kind, severity) in [(one.id, one.severity) for one in findings]
    assert all(one.title and one.why and one.mend and one.area for one in findings)


@pytest.mark.parametrize("judged", WELL)
def test_what_is_well_is_not_told(judged: Callable[[], list[Finding]]) -> None:
    """No false alarm."""
    assert judged() == []


def test_only_an_agent_that_is_installed_and_silent_makes_the_node_down() -> None:
    """Its failed unit shows its last words; a preflight is not down."""
    failed = agent_found(**unit(ActiveState="failed", Result="exit-code"), last="unknown key ifcae")
    assert failed[0].down
    assert "unknown key ifcae" in failed[0].title
    assert not agent_found(unit={}, status=None, ran=False)[0].down
    journal = (
        "systemd[1]: Started\noverlay-agent: unknown key ifcae\n  next: overlay-agent --help\n"
    )
    assert agentside.last_words(journal) == "overlay-agent: unknown key ifcae"


def test_the_last_file_decides_what_a_switch_is_at_boot() -> None:
    """By order; comments, other switches, and the other spellings of sysctl.d(5)."""
    path = "net/ipv4/ip_forward"
    files = {
        "a": "net.ipv4.ip_forward=1\n",
        "b": "# net.ipv4.ip_forward=1\n-net/ipv4/ip_forward = 0\n",
    }
    assert forwarding.at_boot(files, path) == ("b", "0")
    assert forwarding.at_boot({"a": "net.ipv4.conf.all.forwarding=0"}, path) == ("a", "0")
    assert forwarding.at_boot({"a": "net.ipv6.conf.*.forwarding=0"}, path) is None
    assert forwarding.at_boot({**files, "c": "net.ipv4.ip_forward = 1"}, path) == ("c", "1")


def test_small_readers_of_proc() -> None:
    """Capabilities, limits, neighbours, sockets, mounts: as the kernel writes them."""
    assert kernel.lacks("Name:\tx\nCapEff:\t000001fffeffffff\n") == ()
    assert kernel.lacks("CapEff:\t0000000000001000\n") == ("CAP_SYS_ADMIN",)
    assert (
        limits.open_files(
            "Limit  Soft\nMax open files            1024                 524288               files\n"
        )
        == 1024
    )
    assert (
        limits.open_files(
            "Max open files            unlimited            unlimited            files\n"
        )
        == 0
    )
    assert limits.entries("entries  allocs\n0000001f  00000004 \n0000001f  00000000 \n") == 31
    line = "  411: 00000000:2118 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0 0"
    assert overlap.sockets(f"head\n{line}\n", 8472) == {"4711": "[*]"}
    assert overlap.sockets(f"head\n{line}\n", 4789) == {}
    mount = "36 35 0:30 / /run rw,nosuid,noexec shared:15 - tmpfs tmpfs rw,size=1000k,mode=755"
    assert places.mounted(mount)["/run"][0] == "tmpfs"
    assert "noexec" in places.mounted(mount)["/run"][1]


def test_a_silent_peer_is_told_from_both_sides_and_many_are_counted() -> None:
    """The direction that is dead follows from what the other side hears."""
    rows = [{"state": "silent", "key": str(n), "node": f"n{n}", "heard": n == 1} for n in range(12)]
    there = {
        "0": paths.view({"heard": True}),
        "1": paths.view({"heard": False}),
        "2": paths.view(None, "no answer"),
    }
    titles = [one.title for one in paths.judge(rows, there)]
    assert titles[0].endswith("it is the answers that are lost on their way here")
    assert "its own arrive here" in titles[1]
    assert titles[1].endswith("ours do not arrive")
    assert titles[2].endswith("(no answer)")
    assert titles[-1] == "and 2 more peers"


def test_rules_that_cannot_be_understood_are_said_to_be_unjudged() -> None:
    """Silence would say that they are harmless."""
    (finding,) = firewall.judge(firewall.Facts(Ruleset(unread=["more than 256 tables"]), TUNNEL))
    assert (finding.id, finding.severity) == ("rules-unread", "note")
    assert "more than 256 tables" in finding.title
