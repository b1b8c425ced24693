"""Policy rules that lead pods' packets elsewhere are named, and no others, however many there are."""

from contextlib import closing
from pathlib import Path

import pytest

from overlay.dataplane import obstacles
from overlay.dataplane.obstacles import Needs
from overlay.netlink import Netlink
from overlay.netlink.namespace import run_inside
from tests.contract.spaces import inside
from tests.contract.test_obstacles import ME, NETWORK

pytestmark = pytest.mark.contract

NODE = (
    "ip link set lo up",
    "ip link add eth0 type veth peer name far0",
    "ip link set far0 up",
    "ip link set eth0 up",
    "ip addr add 192.0.2.1/24 dev eth0",
    "ip route add default via 192.0.2.254",
    "ip link add overlay0 type bridge",
    "ip link add pod0 type veth peer name pod1",
    "ip link set pod0 master overlay0 up",
    "ip link set pod1 up",
    "ip link set overlay0 up",
    "ip addr add 10.5.1.1/24 dev overlay0",
    "ip -6 addr add fd00:5:0:1::1/64 dev overlay0 nodad",
    "ip link add overlay.1 type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0",
    "ip link set overlay.1 up",
    "ip route add 10.5.2.0/24 via 10.5.2.0 dev overlay.1 onlink proto 158",
    "ip -6 route add fd00:5:0:2::/64 via fd00:5:0:2:: dev overlay.1 onlink proto 158",
    "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
)


def seen(space: Path, *commands: str) -> str:
    """What is named of rules on a node after these commands, and why; empty if nothing is."""
    for command in (*NODE, *commands):
        inside(space, *command.split())

    def ask() -> str:
        with closing(Netlink()) as netlink:
            found = obstacles.look(netlink, Needs(NETWORK, ME))
        return "; ".join(f"{it.what}: {it.why}" for it in found if it.what.startswith("rule "))

    return run_inside(space, ask)


@pytest.mark.parametrize(
    ("commands", "named"),
    [
        (
            ["ip route add default via 192.0.2.9 table 77", "ip rule add lookup 77 pref 100"],
            "rule 100 lookup 77",
        ),
        (
            [
                "ip route add blackhole 10.5.2.0/24 table 77",
                "ip rule add to 10.5.0.0/16 lookup 77 pref 100",
            ],
            "rule 100 lookup 77",
        ),
        (["ip rule add to 10.5.0.0/16 blackhole pref 100"], "rule 100"),
        (["ip rule add from 10.5.1.0/24 prohibit pref 100"], "rule 100"),
    ],
    ids=["table", "blackhole in a table", "blackhole", "prohibit"],
)
def test_a_rule_that_diverts_is_named(space: Path, commands: list[str], named: str) -> None:
    """With the commands that show it."""
    said = seen(space, *commands)
    assert said.startswith(f"{named}: ")
    assert "packets of the pod network 10.5.0.0/16" in said
    assert "look: ip rule" in said


def test_a_rule_of_ipv6_is_named(space: Path) -> None:
    """The same by the other family."""
    said = seen(space, "ip -6 rule add to fd00:5::/48 unreachable pref 100")
    assert said.startswith("rule 100: ")
    assert "(unreachable)" in said
    assert "look: ip -6 rule" in said


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [
            "ip route add default via 192.0.2.9 table 77",
            "ip rule add fwmark 0x200 lookup 77 pref 9",
            "ip rule add to 100.64.0.0/10 lookup 77 pref 10",
            "ip rule add iif eth0 lookup 77 pref 11",
        ],
        [
            "ip route add default via 192.0.2.9 table 77",
            "ip rule add lookup main suppress_prefixlength 0 pref 50",
            "ip rule add lookup 77 pref 60",
        ],
        ["ip rule add fwmark 0x200 lookup 77 pref 9", "sysctl -qw net.ipv4.ip_forward=0"],
    ],
    ids=["none", "of others", "behind ours, as wg-quick has it", "none, but no forwarding"],
)
def test_a_rule_that_diverts_nothing_is_no_obstacle(space: Path, commands: list[str]) -> None:
    """Marks, other destinations, other interfaces; and what is refused for another reason."""
    assert seen(space, *commands) == ""
