"""Every kind of finding is explained, documented and planted by a test."""

import ast
import re
from pathlib import Path

from agent.ctl.doctor.catalogue import AREAS, KINDS
from agent.ctl.doctor.checks import CHECKS

ROOT = Path(__file__).resolve().parents[3]
DOC = ROOT / "docs" / "doctor.md"
PLANTING = (*ROOT.glob("tests/agent/doctor/*.py"), *ROOT.glob("tests/contract/test_doctor*.py"))
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \|", re.MULTILINE)


def test_the_document_has_a_row_for_each_finding_and_each_check_and_no_other() -> None:
    """docs/doctor.md is where an operator, or a rule of a monitoring system, looks an id up."""
    rows = _ROW.findall(DOC.read_text())
    assert len(rows) == len(set(rows))
    assert set(rows) == set(KINDS) | {check.name for check in CHECKS}


def test_each_finding_is_planted_by_a_test() -> None:
    """Its id stands in one, as a value of its own."""
    named = {
        node.value
        for path in PLANTING
        if path.resolve() != Path(__file__).resolve()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(set(KINDS) - named) == []


def test_areas_and_ids_are_unambiguous() -> None:
    """No id in two areas; checks and findings share no id; every check is of an area that there is."""
    assert len(KINDS) == sum(len(kinds) for kinds in AREAS.values())
    assert not set(KINDS) & {check.name for check in CHECKS}
    assert {check.area for check in CHECKS} <= AREAS.keys()


def test_each_finding_that_code_makes_is_in_the_catalogue_and_the_other_way_round() -> None:
    """By the first word of each call of found()."""
    folder = ROOT / "agent" / "ctl" / "doctor"
    sources = [path for path in folder.glob("*.py") if path.name != "catalogue.py"]
    words = {
        node.value
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert sorted(set(KINDS) - words) == []
