"""One node's agent asked from another, through etcd, with real agents: alive, dead, and without etcd."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from e2e.lab import Lab
from e2e.node import Node, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ASK = """
import argparse, json, sys
from agent import config
from agent.ctl import far
from overlay.errors import OverlayError
parser = argparse.ArgumentParser()
config.add_arguments(parser)
settings = config.load(parser.parse_args(["--config", sys.argv[1]]), {})
found = far.ask_many(settings, sys.argv[4:], sys.argv[3], timeout_s=float(sys.argv[2]))
print(json.dumps({k: f"{type(v).__name__}: {v}" if isinstance(v, OverlayError) else v for k, v in found.items()}))
"""


def asked(asker: Node, verb: str, *nodes: Node, within_s: int = 10) -> list[Any]:
    """The answers, or the errors as text."""
    keys = [node.subnet.replace("/", "-") for node in nodes]
    words: list[str | Path] = [sys.executable, "-c", ASK, asker.config_file]
    words += [str(within_s), verb, *keys]
    said = asker.namespace.run(words)
    assert said.code == 0, said.err
    found = json.loads(said.out)
    return [found[key] for key in keys]


def test_both_nodes_answer_each_other_and_themselves(pair: tuple[Lab, Node, Node]) -> None:
    """Own and far in one call; nothing is left in etcd."""
    lab, one, two = pair

    def names(asker: Node) -> list[str]:
        answers = asked(asker, "status", one, two)
        return [answer["node"] if isinstance(answer, dict) else answer for answer in answers]

    for asker in (one, two):  # what is asked while a node's watch is not yet open is not heard
        wait_for(lambda: names(asker) == ["n1", "n2"], "both answer", timeout_s=30)  # noqa: B023
    assert "leave" in asked(one, "leave", two)[0]
    assert not lab.etcd.ctl(
        "get", "--prefix", "--keys-only", "/coreos.com/network/overlay/a"
    ).strip()
    assert two.status()["lease"]


def test_a_dead_agent_an_etcd_that_is_away_and_both_back(pair: tuple[Lab, Node, Node]) -> None:
    """Each is named; the own agent answers without etcd."""
    lab, one, two = pair
    two.kill_agent()
    assert asked(one, "status", two, within_s=2)[0].startswith(
        "NotReady: n2 did not answer within 2 s: its agent is down"
    )

    lab.etcd.stop()
    own, far = asked(one, "status", one, two)
    assert own["node"] == "n1"
    assert far.startswith("StoreUnavailable")

    lab.etcd.start()
    two.start_agent()
    two.wait_ready()

    def answers() -> bool:
        return [isinstance(it, dict) for it in asked(two, "status", one, two)] == [True, True]

    wait_for(answers, "both answer", timeout_s=60)
