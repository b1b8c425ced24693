"""The echo at the end of overlayctl why, on a real kernel."""

from ipaddress import ip_address
from itertools import count

import pytest

from agent.why.echo import Echo
from overlay.netlink.namespace import run_inside
from tests.contract.spaces import inside, ip, namespace

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("text", ["127.0.0.1", "::1"])
def test_an_answer_that_waits_in_the_socket_is_one(text: str) -> None:
    """On a machine that lets us run a second later only; and where none has come, none is waited for then."""
    address = ip_address(text)
    with namespace() as space:
        ip(space, "link", "set", "lo", "up")
        stalled = iter(count(0.0, 1.0)).__next__
        assert run_inside(space, lambda: Echo(address, address, clock=stalled).once(84)) is not None
        chain = "{ type filter hook input priority 0; policy drop; }"
        inside(space, "nft", f"add table inet t; add chain inet t c {chain}")
        assert run_inside(space, lambda: Echo(address, address, clock=stalled).once(84)) is None
