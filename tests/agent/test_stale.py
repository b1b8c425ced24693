"""stale: who looks after a record, told by how long ago it was renewed."""

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from agent.holders import Facts, span
from agent.stale import why_stale
from overlay.model import Endpoint, Lease

END = Endpoint(ip_network("10.5.1.0/24"), ip_address("192.0.2.1"), "02:00:00:00:00:01", 1)
OURS = Lease("10.5.1.0-24", (END,), "vxlan", "n1", "a" * 32, "0.1.0", 7, 5, 5)
FLANNEL = replace(OURS, node="", machine_id="", version="")
RESERVED = replace(FLANNEL, endpoints=(Endpoint(END.subnet),), etcd_lease=0)
DAY = 86400.0


@pytest.mark.parametrize(
    ("lease", "left", "why"),
    [
        (OURS, DAY - 610, ""),
        (OURS, DAY - 1300, "not renewed for 21 min"),
        (FLANNEL, DAY - 80000, ""),
        (FLANNEL, 1000.0, "not renewed for 23 h 43 min"),
        (replace(OURS, etcd_lease=0), None, ""),
        (replace(FLANNEL, etcd_lease=0), None, "written by another agent, without expiry"),
        (RESERVED, None, "a reservation that nobody uses"),
        (OURS, None, "expires now"),
    ],
)
def test_a_record_is_stale_once_its_writer_has_missed_its_time(
    lease: Lease, left: float | None, why: str
) -> None:
    """Our agents renew every ten minutes at the latest, flanneld an hour before the end."""
    terms = {} if left is None else {lease.key: left}
    facts = Facts({lease.key: lease}, {}, {}, terms, dict.fromkeys(terms, DAY))
    assert why_stale(lease, facts) == why


def test_a_time_for_people() -> None:
    """Two units at most."""
    assert (span(83000), span(250), span(12)) == ("23 h 3 min", "4 min", "12 s")
