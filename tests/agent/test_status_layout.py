"""One screen, whatever the agent says: the oldest trouble first, each with the next command."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.ctl.status.down import in_words
from agent.ctl.status.layout import LINES, MOST_TROUBLES, laid_out
from agent.ctl.status.screen import still
from overlay import __version__

NOW = 1_800_000_000.0


def answer(**more: Any) -> dict[str, Any]:  # noqa: ANN401
    """A healthy node's."""
    return {
        "node": "n1",
        "verdict": "healthy",
        "version": __version__,
        "subnets": ["10.5.3.0/24"],
        "addresses": [{"subnet": "10.5.3.0/24", "used": 12, "free": 241}],
        "lease": {"key": "10.5.3.0-24", "ttl_s": 86400.0, "renewed_s_ago": 12.0, "how": "new"},
        "etcd": {
            "state": "connected",
            "since": "2026-11-29 12:00:00 UTC",
            "endpoints": ["http://192.0.2.1:2379"],
            "revision": 77,
            "heard_s_ago": 3.0,
        },
        "underlay": "eth0 192.0.2.7 mtu 1500",
        "devices": ["overlay.1 mac 02:00:00:00:00:01"],
        "mtu": 1450,
        "mtu_why": "eth0 1500 - 50 for VXLAN over IPv4",
        "peers": {
            "total": 9,
            "ok": 9,
            "failing": 0,
            "unreadable": 0,
            "kept": 0,
            "not_served": 0,
            "versions": {__version__: 9},
        },
        "attachments": 12,
        "pods": {"faults": {}, "mended": 0, "collected": 0},
        "changes": 34,
        "mended": 0,
        "mended_last_day": 0,
        "notices": [],
        "waiting_for": "",
        "trouble": {},
        "trouble_since": {},
        **more,
    }


def shown(told: dict[str, Any], width: int = 100) -> list[str]:
    """As text."""
    return [line.plain for line in laid_out(told, width=width, now=NOW)]


def troubled(count: int, text: str = "its entry is refused: no route") -> dict[str, Any]:
    """A node with so many, the first the oldest."""
    names = [f"10.5.{100 + n}.0-24" for n in range(count)]
    return answer(
        verdict="degraded",
        trouble={name: f"{text} {name}" for name in names},
        trouble_since={name: NOW - 7200 + n for n, name in enumerate(names)},
    )


def test_a_healthy_node_is_said_in_a_few_lines() -> None:
    """What it is, and nothing that is not."""
    lines = shown(answer())
    assert lines[0] == "● n1 is healthy"
    assert any("10.5.3.0/24 (12 addresses used, 241 free)" in line for line in lines)
    assert any("9 known, 9 ok, 0 failing" in line for line in lines)
    assert not any("!" in line for line in lines)
    assert max(map(len, lines)) <= 100


def test_a_few_troubles_are_told_in_full_with_their_age_and_command() -> None:
    """The command that the sentence names, or the one that shows more of its kind."""
    told = answer(
        trouble={
            "etcd": "traffic goes on, but etcd is away",
            "x": "is bent; next: ip link " + "x" * 60,
        },
        trouble_since={"etcd": NOW - 3720, "x": NOW - 5},
    )
    lines = shown(told)
    text = " ".join(line.strip() for line in lines)
    assert "● n1 is healthy: 2 troubles, the oldest for 1 h 2 min" in lines
    assert "! etcd: traffic goes on, but etcd is away (for 1 h 2 min) next: overlayctl etcd" in text
    assert f"! x: is bent (for 5 s) next: ip link {'x' * 60}" in text


def test_a_long_command_is_folded_and_not_cut() -> None:
    """Nothing of it is lost while there is room."""
    lines = shown(answer(trouble={"x": f"bent; next: {' '.join(['word'] * 40)}"}))
    assert " ".join(lines).count("word") == 40
    assert max(map(len, lines)) <= 100


def test_ten_troubles_fit_on_a_screen_and_the_others_are_counted() -> None:
    """24 lines of 100 columns; the oldest are shown."""
    told = troubled(47, "its entry is refused by the kernel: " + "because " * 20)
    lines = shown(told)
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= 100
    kept = [line for line in lines if line.startswith("  ! ")]
    assert len(kept) == MOST_TROUBLES
    assert "10.5.100.0-24" in kept[0]
    assert all("→ overlayctl peers" in line for line in kept)
    assert lines[-1] == "  … and 37 more: overlayctl peers"


def test_what_the_agent_did_not_send_is_counted_as_well() -> None:
    """An answer names some hundred at most."""
    lines = shown({**troubled(12), "trouble_more": 4700})
    assert lines[-1] == "  … and 4702 more: overlayctl peers"
    assert "4712 troubles" in lines[0]


def test_other_versions_are_counted() -> None:
    """Our own agent against overlayctl, and what the peers' records say."""
    told = answer(version="0.0.8")
    told["peers"]["versions"] = {"0.0.8": 4, "0.0.9": 3, "flannel": 1}
    (line,) = [line for line in shown(told) if "version" in line]
    assert line.endswith(
        f"0.0.8 (overlayctl is {__version__}); of the peers 3 run 0.0.9, 1 runs flannel"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    odd=st.dictionaries(
        st.sampled_from(sorted(answer().keys() - {"trouble", "notices", "verdict"})), JSON
    ),
    names=st.dictionaries(st.text(min_size=1, max_size=30), st.text(max_size=300), max_size=60),
    notices=st.lists(st.text(max_size=200), max_size=30),
)
def test_whatever_another_agent_answers_it_is_one_harmless_screen(
    odd: dict[str, Any], names: dict[str, str], notices: list[str]
) -> None:
    """An older or newer one, or bytes that somebody put into etcd."""
    since = odd.pop("trouble_since", {})
    told = {**answer(**odd), "trouble": names, "notices": notices}
    told["trouble_since"] = since if isinstance(since, dict) else {}
    lines = shown(told)
    assert len(lines) <= LINES
    assert all(line.isprintable() for line in lines)


def test_what_only_grows_older_is_no_news() -> None:
    """``--watch`` in a pipe tells what changed."""
    assert still("  ! etcd: away (for 3 s)") == still("  ! etcd: away (for 1 h 2 min)")
    assert still("● n1 is degraded: 1 trouble, the oldest for 3 s") == still(
        "● n1 is degraded: 1 trouble, the oldest for 9 s"
    )
    assert still("  peers       9 known, 1 failing") != still("  peers       9 known, 2 failing")


def test_systemds_view_in_words() -> None:
    """As `systemctl show` prints it."""
    failed = {
        "LoadState": "loaded",
        "ActiveState": "failed",
        "SubState": "failed",
        "Result": "watchdog",
        "NRestarts": "3",
        "StateChangeTimestamp": "Sun 2026-11-29 14:02:11 UTC",
    }
    assert in_words(failed) == (
        "failed (failed) since Sun 2026-11-29 14:02:11 UTC (watchdog), restarted 3 times"
    )
    assert in_words({"LoadState": "not-found"}) == "no unit of systemd: overlayctl install"
    assert in_words({}) == ""
