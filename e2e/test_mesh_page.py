"""The page of overlayctl mesh in a real browser, which has no network at all: what an operator sees and does."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.ctl.mesh import answers, model, page
from e2e.browser import Browser
from e2e.lab import Lab
from e2e.node import wait_for
from overlay.errors import NotReady

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

COLOURS = {
    "black hole": "rgb(146, 37, 111)",
    "silent": "rgb(207, 63, 10)",
    "ok": "rgb(0, 135, 106)",
}
HOSTILE = '</script><img src=x onerror="document.title=1"><b>n5'
STROKES = """
const found = {};
for (const path of document.querySelectorAll("#figure .line[data-state]"))
  found[path.dataset.state] = getComputedStyle(path).stroke;
return found;
"""
COUNT = "return document.querySelectorAll(arguments[0]).length"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all of them: it takes a second to start."""
    with Lab() as lab:
        made = Browser(lab)
        yield made
        made.close()


def _write(path: Path, count: int) -> Path:
    """Node 1 has a black hole to node 3, node 4 is silent, node 5's name is an attack, node 6 is flanneld's."""
    members = [
        model.Member(
            f"10.5.{i}.0-24",
            HOSTILE if i == 4 else f"n{i + 1}",
            (f"10.5.{i}.0/24",),
            f"192.168.50.{i + 1}",
            foreign=i == 5,
        )
        for i in range(count)
    ]
    said: dict[str, model.Answer] = {
        member.key: NotReady("it is silent")
        if place == 3
        else {"verdict": "healthy", "version": "1", "peers": {"total": count - 1}, "trouble": {}}
        for place, member in enumerate(members)
        if not member.foreign
    }
    probed = {
        key: {"results": [_row(key, other.key, members) for other in members if other.key != key]}
        for key in said
    }
    found = answers.build(members, said, probed, made=time.time(), here="n1")
    path.write_text(page.page(found, title="10.5.0.0/16"))
    return path


def _row(source: str, target: str, members: list[model.Member]) -> dict[str, object]:
    figures: dict[str, object] = {"lost": 0, "rtt_ms": 0.25, "largest": 1450, "state": "ok"}
    if target == members[3].key:
        figures = {"lost": 10, "rtt_ms": 0, "largest": 0, "state": "silent"}
    elif (source, target) == (members[0].key, members[2].key):
        figures = {"lost": 0, "rtt_ms": 0.25, "largest": 1400, "state": "black hole"}
    return {"key": target, "family": 4, "sent": 10, "full": 1450, "at": 1.0, **figures}


@pytest.fixture
def six(browser: Browser, tmp_path: Path) -> Iterator[Browser]:
    """The page of six nodes; afterwards: nothing was asked for, and the console had nothing to say."""
    browser.resize(1400, 1000)
    browser.complaints()  # the start page's
    browser.open(_write(tmp_path / "mesh.html", 6))
    yield browser
    assert browser.run("return performance.getEntriesByType('resource')") == []
    assert browser.complaints() == []


def test_a_ring_shows_nodes_and_edges_by_their_state(six: Browser) -> None:
    """Six nodes, each state in its colour and its own dashes; a name that is an attack is a name."""
    assert six.run(COUNT, "#figure .node") == 6
    assert six.run(STROKES) == COLOURS
    dashes = "return getComputedStyle(document.querySelector(`.edge[data-state='${arguments[0]}']`)).strokeDasharray"
    assert len({six.run(dashes, state) for state in COLOURS}) == len(COLOURS)
    names = six.run(
        "return [...document.querySelectorAll('#figure .node text')].map((it) => it.textContent)"
    )
    assert names[0] == "n1"
    assert names[4] == "</script><i…"
    assert six.run("return document.title") == "Mesh of 10.5.0.0/16"
    assert six.run(COUNT, "img") == 0


def test_a_click_on_a_filter_hides_the_fine_ones(six: Browser) -> None:
    """The ok chip, the search, "only problems"; and back."""
    fine, bad = (
        ".edge[data-state='ok']",
        ".edge[data-state='black hole'], .edge[data-state='silent']",
    )
    assert six.run(COUNT, fine) > 0

    six.click("[data-chip='ok']")
    assert (six.run(COUNT, fine), six.run(COUNT, bad)) == (0, 5)
    six.click("[data-chip='ok']")
    six.click(".only")
    assert (six.run(COUNT, fine), six.run(COUNT, bad)) == (0, 5)
    six.click(".only")
    six.keys("#search", "10.5.2.0")
    assert (six.run(COUNT, fine), six.run(COUNT, bad)) == (4, 2)
    assert six.run(COUNT, ".node.dim") == 5


def test_problems_are_listed_and_lead_to_what_is_known(six: Browser) -> None:
    """By pointer in the list, by keyboard in the figure; the packet that fits is named."""
    panel = "return document.getElementById('panel').innerText"
    listed = six.run(panel)
    assert "n4 silent" in listed
    assert "4 nodes → n4 silent" in listed
    assert "n1 → n3 black hole" in listed

    six.click("#panel li:last-child button")
    assert "1,400 of 1,450 bytes" in six.run(panel)
    six.keys("#figure", "\ue014\ue014\ue007")  # right, right, Enter
    assert "10.5.1.0/24" in six.run(panel)
    assert six.run("return document.getElementById('live').textContent") == "n2: healthy"
    six.keys("#figure", "\ue00c")  # Escape
    assert six.run(panel) == listed


def test_ring_becomes_matrix_and_light_becomes_dark(six: Browser) -> None:
    """And the theme follows the machine's until somebody chooses."""
    background = "return getComputedStyle(document.body).backgroundColor"
    six.click("label:has(#view-matrix)")
    assert six.run("return document.getElementById('figure').dataset.view") == "matrix"
    assert six.run(COUNT, "#figure .cell[data-state='black hole']") == 1
    light = six.run(background)
    six.click("#theme")
    assert six.run(background) != light
    six.click("#theme")
    assert six.run(background) == light
    six.resize(1400, 1000, dark=True)
    wait_for(lambda: six.run(background) != light, "the machine's preference", timeout_s=20)


@pytest.mark.parametrize(("count", "width"), [(3, 360), (20, 1400), (200, 360), (200, 1400)])
def test_it_works_for_few_and_many_on_a_phone_and_a_wall(
    browser: Browser, tmp_path: Path, count: int, width: int
) -> None:
    """Both views draw; nothing is wider than the screen; no word from the console."""
    browser.resize(width, 800)
    browser.complaints()
    browser.open(_write(tmp_path / "mesh.html", max(count, 4)))
    for view in ("ring", "matrix"):
        browser.click(f"label:has(#view-{view})")
        assert browser.run("return document.getElementById('figure').childElementCount") > 3
        assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.complaints() == []
