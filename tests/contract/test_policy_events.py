"""The kernel tells of policy rules, and we read it right."""

from contextlib import suppress
from pathlib import Path

import pytest

from overlay.dataplane.obstacles import Needs
from overlay.netlink.monitor import Monitor
from overlay.netlink.namespace import run_inside
from overlay.netlink.policy import PolicyRule
from tests.contract.spaces import ip
from tests.examples import ME, NETWORK

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("flag", ["-4", "-6"])
def test_a_policy_rule_that_comes_or_goes_calls_for_a_look(space: Path, flag: str) -> None:
    """A VPN adds one at any moment, with routes to everywhere, which are none of our ranges."""
    needs = Needs(NETWORK, ME)
    monitor = run_inside(space, Monitor)
    try:
        for verb in ("add", "del"):
            ip(space, flag, "rule", verb, "not", "fwmark", "51820", "lookup", "51820", "pref", "90")
            events = monitor.read(10) or []
            (rule,) = (it.record for it in events if isinstance(it.record, PolicyRule))
            assert (rule.priority, rule.mark, rule.inverted) == (90, 51820, True)
            assert rule.deleted == (verb == "del")
            assert needs.concerns(rule)
    finally:
        monitor.close()
        with suppress(EOFError):
            monitor.read()
