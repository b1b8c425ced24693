"""netnotice: a config that changes under a running node is said once, and taken up by the next start only."""

import pytest

from agent.netnotice import NetworkNotice
from overlay.netconfig import parse_network

OLD = b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}'


@pytest.fixture
def notice() -> NetworkNotice:
    """Of a node that runs with OLD and has heard so."""
    made = NetworkNotice()
    made.runs_with(parse_network(OLD))
    made.heard(OLD)
    assert made.text == ""
    return made


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (
            b'{"Network":"10.6.0.0/16","Backend":{"Type":"vxlan"}}',
            "(Network 10.5.0.0/16 -> 10.6.0.0/16)",
        ),
        (
            b'{"Network":"10.5.0.0/16","SubnetLen":26,"Backend":{"Type":"vxlan"}}',
            "SubnetLen 24 -> 26",
        ),
        (
            b'{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","VNI":7,"Port":4789}}',
            "(Backend.VNI 1 -> 7, Backend.Port 8472 -> 4789)",
        ),
        (
            b'{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","Backend":{"Type":"vxlan"}}',
            "Subnets 10.5.1.0/24 to",
        ),
        (
            b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48",'
            b'"Backend":{"Type":"vxlan"}}',
            "IPv6Network none -> fd00:5::/48",
        ),
    ],
)
def test_a_change_is_named_with_both_values(
    notice: NetworkNotice, caplog: pytest.LogCaptureFixture, raw: bytes, what: str
) -> None:
    """Once, however often it is heard; gone when it is taken back."""
    for _ in range(3):
        notice.heard(raw)

    assert what in notice.text
    assert notice.text.endswith("applied at the next restart of overlay-agent")
    assert len(caplog.records) == 1
    notice.heard(OLD)
    assert notice.text == ""


def test_the_same_config_in_other_words_is_no_change(notice: NetworkNotice) -> None:
    """Values are compared, not bytes."""
    notice.heard(b'{"network": "10.5.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}')

    assert notice.text == ""


@pytest.mark.parametrize(("raw", "what"), [(None, "was deleted"), (b"{", "cannot be used")])
def test_a_config_that_is_no_good_changes_nothing(
    notice: NetworkNotice, raw: bytes | None, what: str
) -> None:
    """The node runs on, and says why it could not start again."""
    notice.heard(raw)

    assert what in notice.text
