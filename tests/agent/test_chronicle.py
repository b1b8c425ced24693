"""Who had which address: from lines to spans, made whole after what nobody wrote, and turned over without a loss."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import chronicle
from agent.chronicle import Chronicle, missing
from agent.ctl.history import local, sentence
from agent.moment import boot_clock
from agent.spans import Asked, asked, matching, row, spans
from cni import diary, pods
from cni.diary import Line
from cni.ipam import Ipam
from cni.record import Attachment
from overlay.errors import BadInput

NOW = 1_800_000_000.0
BOOT = "this-boot"
FEW_BYTES = 20_000


def line(
    at: float, do: str = diary.ADD, *, who: str = "c1", boot: str = BOOT, ip: str = "10.5.3.7"
) -> Line:
    """Of one container."""
    beginning = do == diary.ADD
    return Line(
        at,
        do,
        "overlay",
        who,
        "eth0",
        f"default/{who}" if beginning else "",
        (ip,) if beginning else (),
        boot if beginning else "",
    )


def test_an_address_goes_from_pod_to_pod() -> None:
    """At each moment it had one holder; the end belongs to the next."""
    found = spans(
        [line(10), line(20, diary.DEL), line(20, who="c2"), line(30, diary.DEL, who="c2")]
    )
    assert [(it.first.container, it.first.at, it.until) for it in found] == [
        ("c1", 10, 20),
        ("c2", 20, 30),
    ]

    def holder(at: float) -> list[str]:
        return [it.first.container for it in matching(found, Asked("10.5.3.7", at=at), now=NOW)]

    assert [holder(at) for at in (9, 10, 19, 20, 29, 30)] == [
        [],
        ["c1"],
        ["c1"],
        ["c2"],
        ["c2"],
        [],
    ]


def test_what_was_told_twice_counts_once() -> None:
    """A carried-over beginning, a repeated DEL, an end of nobody, and a DEL told after its pod was found gone."""
    again = [
        line(10),
        line(10),
        line(12),
        line(25, diary.GONE),
        line(20, diary.DEL),
        line(21, diary.DEL),
    ]
    (one,) = spans([line(5, diary.DEL, who="x"), *again, line(10)])
    assert (one.first.at, one.until, one.how) == (10, 20, "del")


def test_a_pod_is_found_by_name_by_both_names_and_by_container() -> None:
    """A few digits of an id are none, and an address is none either."""
    (one,) = spans([line(10, who="c1c1c1c1")])
    for who, hit in (
        ("c1c1c1c1", True),
        ("default/c1c1c1c1", True),
        ("c1c1c1", True),
        ("c1c", False),
        ("fault/c1c1c1c1", False),
        ("10.5.3.7", True),
        ("10.5.3.70", False),
        ("10.5.3", False),
    ):
        assert bool(matching([one], Asked(who), now=NOW)) is hit, who


def test_since_leaves_out_what_ended_before() -> None:
    """And keeps what lasts."""
    found = spans([line(10), line(20, diary.DEL), line(30)])
    assert [it.first.at for it in matching(found, Asked("10.5.3.7", since=25), now=NOW)] == [30]
    assert [it.first.at for it in matching(found, Asked("10.5.3.7", since=15), now=NOW)] == [30, 10]


EVENTS = st.lists(
    st.builds(
        line,
        st.floats(0, 1000),
        st.sampled_from([diary.ADD, diary.ADD, diary.DEL, diary.GONE, diary.REBOOT, "?"]),
        who=st.sampled_from(["c1", "c2", "c3"]),
    ),
    max_size=20,
)


@given(lines=EVENTS, at=st.floats(0, 1000))
def test_spans_are_in_order_and_no_container_has_two_at_once(lines: list[Line], at: float) -> None:
    """Whatever the order and the clocks of those who wrote."""
    found = spans(lines)
    assert found == sorted(found, key=lambda it: it.first.at)
    assert all(it.until is None or it.until >= it.first.at for it in found)
    lasting = [it.owner for it in found if it.until is None]
    assert len(lasting) == len(set(lasting))
    assert all(
        row(it)["from"] < at + 1 for it in matching(found, Asked("10.5.3.7", at=at), now=NOW)
    )


@given(
    lines=EVENTS,
    there=st.sets(st.sampled_from(["c1", "c2", "c4"])),
    boot=st.sampled_from([BOOT, "next"]),
)
def test_once_compared_the_history_agrees_with_the_attachments(
    lines: list[Line], there: set[str], boot: str
) -> None:
    """And a second comparison adds nothing."""
    attached = [line(500, who=who, boot=boot) for who in there]

    def lasting(some: list[Line]) -> dict[tuple[str, str, str], Line]:
        known: dict[tuple[str, str, str], Line] = {}
        for one in some:
            if one.do == diary.ADD:
                known.setdefault(one.owner, one)
            else:
                known.pop(one.owner, None)
        return known

    lines += missing(lasting(lines), attached, boot=boot, now=NOW)
    assert {owner[1] for owner in lasting(lines)} == there
    assert not missing(lasting(lines), attached, boot=boot, now=NOW)


def test_a_reboot_ends_all_at_the_boot() -> None:
    """Not when somebody looks."""
    (end,) = missing({line(10).owner: line(10, boot="former")}, [], boot=BOOT, now=NOW)
    assert end.do == diary.REBOOT
    assert NOW - boot_clock() - 5 <= end.at <= NOW


class Node:
    """A history and the attachments it is compared with."""

    def __init__(self, home: Path) -> None:
        self.state, self.ipam = home / "state", Ipam(home / "run")
        self.ipam.records.mkdir(parents=True)
        self.state.mkdir()
        self.history = Chronicle(home / "run", self.state, wall=lambda: NOW, most_bytes=FEW_BYTES)

    def attach(self, who: str, ip: str) -> Attachment:
        """Its journal only: nobody wrote a line."""
        made = Attachment(
            "overlay", who, "eth0", "/x", "", (f"{ip}/24",), created=NOW - 50, boot=pods.boot_id()
        )
        self.ipam.write(made)
        return made

    def rows(self, who: str) -> list[tuple[str, str]]:
        """Container and end."""
        found = chronicle.look(self.state, Asked(who), now=NOW)
        return [(it["container"], it["end"]) for it in found["rows"]]


def test_what_nobody_wrote_is_added_and_what_went_without_a_word_is_gone(tmp_path: Path) -> None:
    """After a full disk, an upgrade, or a pod that the sweep took away."""
    node = Node(tmp_path)
    made = node.attach("c1", "10.5.3.7")
    node.history.settle()
    assert node.rows("10.5.3.7") == [("c1", "")]
    node.history.settle()
    node.ipam.release(made.owner, made)
    node.history.settle()
    assert node.rows("10.5.3.7") == [("c1", "gone")]


def test_turned_over_the_history_is_bounded_and_what_lasts_is_not_forgotten(tmp_path: Path) -> None:
    """Over three files' worth of pods that come and go."""
    node = Node(tmp_path)
    node.attach("lasting", "10.5.3.7")
    node.history.settle()
    at = 0
    for _ in range(4):
        data = b""
        while len(data) <= FEW_BYTES:
            at += 1
            data += diary.encode(line(at, who=f"c{at}", ip="10.5.3.8"))
            data += diary.encode(line(at + 1, diary.DEL, who=f"c{at}"))
        with (node.state / diary.DIRECTORY / diary.NAME).open("ab") as file:
            file.write(data)
        node.history.settle()
    files = sorted((node.state / diary.DIRECTORY).iterdir())
    assert [file.name for file in files] == [diary.NAME, diary.BEFORE]
    assert sum(file.stat().st_size for file in files) < 3 * FEW_BYTES
    assert node.rows("10.5.3.7") == [("lasting", "")]
    assert node.rows(f"c{at}"[:40])[0][1] == "del"


def test_a_full_disk_is_a_trouble_and_no_error(tmp_path: Path) -> None:
    """It goes once lines can be written again."""
    node = Node(tmp_path)
    node.attach("c1", "10.5.3.7")
    (node.state / diary.DIRECTORY).write_text("in the way")
    node.history.settle()
    assert "Not a directory" in node.history.trouble
    (node.state / diary.DIRECTORY).unlink()
    node.history.settle()
    assert not node.history.trouble
    assert node.rows("10.5.3.7") == [("c1", "")]


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"who": ""},
        {"who": 7},
        {"who": "x" * 600},
        {"who": "x", "at": "now"},
        {"who": "x", "at": -1},
    ],
)
def test_a_question_from_afar_is_checked(bad: dict[str, Any]) -> None:
    """Whoever can write to etcd can ask."""
    with pytest.raises(BadInput):
        asked(bad)
    assert asked({"who": "x", "since": 5}) == Asked("x", None, 5)


def test_a_container_that_is_attached_again_after_the_clock_was_set_back_is_told() -> None:
    """And a line that was carried over is no second attachment."""
    lines = [line(100), line(110, diary.DEL), line(50), line(50), line(60, diary.DEL)]
    assert [(it.first.at, it.until) for it in spans(lines)] == [(50, 60), (100, 110)]


def test_who_had_it_is_one_sentence() -> None:
    """With the pod, the node, from when to when, and the container."""
    (one,) = spans([line(NOW), line(NOW + 60, diary.DEL)])
    said = sentence({"node": "n2", **row(one)}, Asked("10.5.3.7", at=NOW + 1))
    assert (
        f"10.5.3.7 at {local(NOW + 1)}: default/c1 on n2, from {local(NOW)} until {local(NOW + 60)} (deleted)"
        in said
    )
    assert said.endswith("container c1")
