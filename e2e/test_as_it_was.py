"""A pod that came and went leaves no trace, in its own namespace or in the node's."""

import time

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab, bare
from e2e.netns import difference, picture
from e2e.node import Node, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

SETTLED_S = 2.5
"""Longer than IPv6 duplicate address detection, which changes link-local addresses by itself."""


def _attach_talk_detach(lab: Lab, node: Node, target: str) -> None:
    pod = lab.bare_pod(node)
    before = picture(pod.namespace)
    node.runtime.add(pod)
    assert pod.ping(target, count=3).ok
    node.runtime.delete(pod)
    assert difference(before, picture(pod.namespace)) == []


@pytest.mark.parametrize("with_agent", [True, False], ids=["agent serves", "agent killed"])
def test_add_ping_del_leaves_both_namespaces_as_they_were(*, with_agent: bool) -> None:
    """Links, addresses, routes, rules, neighbours, FDB, nft: the same through the agent and without."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", "/coreos.com/network/config", NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        lab.start_nodes(one, two)
        lab.first_pod(one)
        time.sleep(SETTLED_S)
        if not with_agent:
            one.kill_agent()
        before = picture(one.namespace)

        for _ in range(2):
            _attach_talk_detach(lab, one, two.vtep)

        time.sleep(SETTLED_S)
        wait_for(lambda: bare(one), "the bridge has no carrier", timeout_s=20)
        assert difference(before, picture(one.namespace)) == []
        assert not [path for path in (one.run_dir / "attachments").rglob("*") if path.is_file()]
