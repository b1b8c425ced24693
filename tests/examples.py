"""A network and a node that several tests speak of."""

from ipaddress import ip_address, ip_network

from overlay.desired import Me, Vtep
from overlay.model import Backend, Network, Pool

NETWORK = Network(
    pools=(
        Pool(ip_network("10.5.0.0/16"), 24, ip_network("10.5.1.0/24"), ip_network("10.5.255.0/24")),
    ),
    backend=Backend(),
)
ME = Me(
    lease_key="10.5.1.0-24",
    vteps=(
        Vtep(
            ip_network("10.5.1.0/24"),
            "overlay.1",
            "02:00:00:00:00:01",
            ip_address("192.0.2.1"),
            "eth0",
            1450,
        ),
    ),
    bridge="overlay0",
)

HOSTILE_WORDS = (
    "$(touch pwned)",
    "`touch pwned`",
    "a b",
    "*",
    "; reboot",
    "x\ny",
    "",
    "-rf",
    "\x1b[31m",
)
"""What a name may be that comes from etcd or from a runtime, and a shell must not see."""
