"""The mesh: counts that are right whatever nodes answer, and a page that nothing can break out of."""

import base64
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent.ctl.mesh import answers, model, page
from agent.ctl.mesh.collect import Roll, collect
from agent.ctl.mesh.model import Edge, Member, Mesh
from overlay.errors import NotReady

HOSTILE = '</script><script>alert(1)</script><!--\u2028\ud800"\x1b[31m&lt;'
NAMES = [f"n{number}" for number in range(1, 6)]
MEMBERS = tuple(
    Member(f"10.5.{i}.0-24", name, (f"10.5.{i}.0/24",), "") for i, name in enumerate(NAMES)
)
KEYS = [member.key for member in MEMBERS]


def _status(**more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    peers = {"total": 4, "failing": 0}
    return {"verdict": "healthy", "version": "1", "peers": peers, "trouble": {}, **more}


def _probe(key: str, state: str = "ok", **more: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {"key": key, "state": state, "family": 4, "sent": 10, "lost": 0, "rtt_ms": 0.2, **more}


def _build(said: dict[str, Any], probed: dict[str, Any] | None = None) -> Mesh:
    return answers.build(MEMBERS, said, probed or {}, made=1.0)


def test_where_no_probes_run_the_kernels_word_counts() -> None:
    """All that were asked and answered hold the way to one another, but for what they complain about."""
    said = {key: _status() for key in KEYS}
    said[KEYS[0]] = _status(verdict="degraded", trouble={KEYS[2]: "no route", "etcd": "away"})

    found = _build(said)

    assert found.states == {"failing": 1, "ok": 19}
    assert found.bad_edges == (Edge(0, 2, "failing", why="no route"),)
    assert found.nodes[0].problem == f"{KEYS[2]}: no route"
    assert (found.nodes[0].more, found.code) == (1, 1)


def test_a_probe_counts_more_than_the_kernel() -> None:
    """State, loss and sizes as measured; a way that the kernel does not hold fails whatever was measured before."""
    said = {key: _status() for key in KEYS}
    said[KEYS[1]] = _status(trouble={KEYS[0]: "no route"})
    rows = [
        _probe(KEYS[1], "lossy", lost=3),
        _probe(KEYS[2], "black hole", largest=1400, full=1450),
    ]

    found = _build(said, {KEYS[0]: {"results": rows}, KEYS[1]: {"results": [_probe(KEYS[0])]}})

    assert [(edge.source, edge.target, edge.state) for edge in found.bad_edges] == [
        (1, 0, "failing"),
        (0, 2, "black hole"),
        (0, 1, "lossy"),
    ]
    assert (found.bad_edges[2].loss, found.bad_edges[1].largest) == (0.3, 1400)
    assert sum(found.states.values()) == 20


def test_what_a_node_says_twice_takes_no_room_of_others() -> None:
    """One row for each way and family; the rest is counted as unreadable."""
    said = {key: _status() for key in KEYS}
    rows = [_probe(KEYS[1])] * 1000 + [_probe(KEYS[1], "silent"), _probe(KEYS[1], family=6)]

    found = _build(said, {KEYS[0]: {"results": rows}})

    assert [(edge.family, edge.state) for edge in found.edges if edge.measured] == [
        (4, "ok"),
        (6, "ok"),
    ]
    assert found.garbled == 1000


def test_silent_and_foreign_nodes_are_rows_as_well() -> None:
    """flanneld's is no fault; a silent agent is one; who was not asked is neither."""
    members = [
        Member("a", "a", (), ""),
        Member("b", "b", (), "", foreign=True),
        Member("c", "c", (), ""),
    ]

    found = answers.build(members, {"a": NotReady("silent for 3 min")}, {}, made=1.0)

    assert [node.verdict for node in found.nodes] == ["silent", "flannel", "not asked"]
    assert found.nodes[0].problem == "silent for 3 min"
    assert (found.asked, found.answered, found.code) == (1, 0, 2)


def test_only_so_many_are_asked_this_node_first_and_none_of_flannels() -> None:
    """And those that are silent are not asked a second time."""
    calls: list[tuple[list[str], str]] = []

    def ask(keys: Any, verb: str, peer: str) -> Any:  # noqa: ANN401 - as far.ask_many
        assert not peer
        calls.append((list(keys), verb))
        return {key: _status() if key != "c" else NotReady("silent") for key in keys}

    members = tuple(Member(key, key, (), "", foreign=key == "b") for key in "abcde")
    found = collect(Roll(members), ask, here="d", limit=3)

    assert calls == [(["d", "a", "c"], "status"), (["d", "a"], "probes")]
    assert found.verdicts == {"silent": 1, "flannel": 1, "not asked": 1, "healthy": 2}


def test_each_measures_each_when_told_to() -> None:
    """One peer after the other, by all that speak; a row that is none is left out."""
    members = tuple(Member(key, key, (), "") for key in "abc")

    def ask(keys: Any, verb: str, peer: str) -> Any:  # noqa: ANN401 - as far.ask_many
        if verb == "status":
            return {key: _status() if key != "c" else NotReady("silent") for key in keys}
        assert peer not in keys
        return {key: {"results": [_probe(peer, "lossy", lost=1)]} for key in keys}

    found = collect(Roll(members), ask, here="a", limit=9, probe=True)

    measured = [(edge.source, edge.target) for edge in found.edges if edge.measured]
    assert measured == [(0, 1), (0, 2), (1, 0), (1, 2)]
    assert found.states == {"lossy": 4}


def test_of_many_nodes_fine_paths_are_counted_and_not_kept() -> None:
    """Bounded, and the count still right."""
    members = [Member(f"k{i}", f"n{i}", (), "") for i in range(answers.MOST_PLAIN + 1)]
    said = {member.key: _status() for member in members}
    said["k0"] = _status(trouble={"k1": "no route"})

    found = answers.build(members, said, {}, made=1.0)

    count = len(members)
    assert found.states == {"failing": 1, "ok": count * (count - 1) - 1}
    assert len(found.edges) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
ROW = st.fixed_dictionaries(
    {"key": st.sampled_from(KEYS) | JSON, "state": st.sampled_from(model.STATES) | JSON},
    optional={
        name: JSON | st.integers(0, 9) | st.floats()
        for name in ("family", "sent", "lost", "rtt_ms", "largest", "full", "at", "why", "next")
    },
)
STATUS = st.fixed_dictionaries(
    {},
    optional={
        "verdict": st.sampled_from(("healthy", "degraded", "down")) | JSON,
        "version": JSON,
        "peers": st.fixed_dictionaries({}, optional={"total": JSON, "failing": JSON}) | JSON,
        "trouble": st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), JSON, max_size=4)
        | JSON,
        "waiting_for": JSON,
    },
)
ANSWER = STATUS | st.just(NotReady(HOSTILE))
PROBES = st.fixed_dictionaries({"results": st.lists(ROW, max_size=5) | JSON}) | JSON


class _Page(HTMLParser):
    """What a browser would make of the page: its scripts, and where it points to."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.policy = ""
        self.links: list[str] = []
        self._open: dict[str, str | None] | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note it."""
        given = dict(attrs)
        self.links += [str(given[name]) for name in ("src", "href", "action") if name in given]
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            self.policy = given["content"] or ""
        if tag == "script":
            self._open = given
            self.scripts.append((given, ""))

    def handle_data(self, data: str) -> None:
        """A script's."""
        if self._open is not None:
            attributes, text = self.scripts.pop()
            self.scripts.append((attributes, text + data))

    def handle_endtag(self, tag: str) -> None:
        """Its end."""
        if tag == "script":
            self._open = None


def _facts_of(text: str) -> dict[str, Any]:
    scripts = _Page(text).scripts
    assert [given.get("type") for given, _ in scripts] == ["application/json", None]
    found: dict[str, Any] = json.loads(scripts[0][1])
    return found


@given(
    said=st.dictionaries(st.sampled_from(KEYS), ANSWER, max_size=5),
    probed=st.dictionaries(st.sampled_from(KEYS), PROBES, max_size=5),
    names=st.lists(st.text(max_size=30) | st.just(HOSTILE), min_size=5, max_size=5),
)
def test_any_answers_make_a_page_whose_counts_are_right(
    said: dict[str, Any], probed: dict[str, Any], names: list[str]
) -> None:
    """Whatever other machines say: the page parses, holds one script and one set of facts, and they agree."""
    members = [Member(key, name, (name,), name) for key, name in zip(KEYS, names, strict=True)]

    found = answers.build(members, said, probed, made=1.0, here=HOSTILE)
    facts = _facts_of(page.page(found, title=HOSTILE))

    assert sum(found.verdicts.values()) == len(members) == len(facts["nodes"])
    assert sum(found.states.values()) == len(facts["edges"])
    assert found.answered + sum(isinstance(it, NotReady) for it in said.values()) == found.asked
    assert found.asked == len(said)
    for edge in found.edges:
        assert edge.source != edge.target
        assert edge.state in model.STATES
        assert 0 <= edge.loss <= 1
        assert math.isfinite(edge.rtt_ms)
    spoken = {(edge.source, edge.target) for edge in found.edges}
    answered = [place for place, key in enumerate(KEYS) if isinstance(said.get(key), dict)]
    asked = {place for place, key in enumerate(KEYS) if key in said}
    for place in answered:  # a node that speaks speaks of all others that were asked
        assert {target for source, target in spoken if source == place} >= asked - {place}


def test_a_hostile_name_stays_text() -> None:
    """The end of a script element, a comment and what a terminal obeys: none of it is in the page as it came."""
    text = page.page(answers.build([Member("k", HOSTILE, (HOSTILE,), "")], {}, {}, made=1.0))

    assert "alert(1)</" not in text
    assert "\x1b" not in text
    assert _facts_of(text)["nodes"][0]["name"].startswith("</script><script>alert(1)</script>")


def test_the_page_points_nowhere_and_its_policy_lets_nothing_else_run() -> None:
    """No address of anything outside; the policy names exactly the script and the style that are there."""
    text = page.page(_build({}))
    parsed = _Page(text)

    assert not re.search(r"https?:|//[a-z0-9.-]+\.[a-z]{2,}|@import|url\(", text)
    assert parsed.links == ["data:,"]
    script = base64.b64encode(hashlib.sha256(parsed.scripts[1][1].encode()).digest()).decode()
    assert f"script-src 'sha256-{script}'" in parsed.policy
    assert parsed.policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in parsed.policy
    assert not re.search(r"\son[a-z]+=|style=\"|innerHTML|eval\(", text)
