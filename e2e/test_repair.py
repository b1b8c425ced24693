"""Whatever touches the kernel is mended within a second or so, and said in one line. One lab, damage after damage."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.etcdserver import NETWORK
from e2e.lab import Lab
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.process import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

CONFIG_KEY = "/coreos.com/network/config"
MENDED = "mended what others changed: "
PATIENCE_S = 20.0
"""For a machine that others use as well; what it took is printed."""
UPLINK = "ip route replace default via 192.168.50.254"


@dataclass(frozen=True, slots=True)
class Stage:
    """Two nodes with a pod each; ``words`` are what damages are told."""

    lab: Lab
    one: Node
    two: Node
    here: Pod
    there: Pod
    words: dict[str, str]

    def reaches(self) -> bool:
        """A ping that does not wait long."""
        words = ["ping", "-n", "-c", "1", "-W", "0.2", str(self.there.address)]
        return self.here.namespace.run(words).code == 0

    def whole(self) -> bool:
        """Traffic flows, and the agent sees nothing to do."""
        return self.reaches() and not self.one.tell("plan")["steps"]

    def damage(self, script: str) -> None:
        """As an operator, or a program, would do it."""
        self.one.namespace.must("sh", "-ec", script.format(**self.words))


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One lab for all."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        lab.start_nodes(one, two)
        here, there = lab.add_pod(one), lab.add_pod(two)
        rows = one.namespace.query("neigh", "show", "dev", "overlay.1")
        mac = next(row["lladdr"] for row in rows if row["dst"] == two.vtep)
        words = {
            "subnet": two.subnet,
            "vtep": two.vtep,
            "mac": mac,
            "underlay": one.address,
            "own": f"{one.vtep}/32",
            "gateway": f"{one.vtep.rpartition('.')[0]}.1/24",
        }
        made = Stage(lab, one, two, here, there, words)
        wait_for(made.whole, "a ping before any damage", timeout_s=PATIENCE_S)
        yield made


DAMAGES = {
    "route deleted": ("ip route del {subnet}", "route {subnet} was deleted: put back"),
    "route replaced by another program's": (
        "ip route replace {subnet} via 192.168.50.254 dev eth0 proto dhcp",
        "route {subnet} led via 192.168.50.254 dev eth0: put back; changes=1 likely=a DHCP client",
    ),
    "route altered": (
        "ip route replace {subnet} dev overlay.1",
        "route {subnet} led dev overlay.1 by protocol 3: set right",
    ),
    "neighbour deleted": ("ip neigh del {vtep} dev overlay.1", "neighbour {vtep} dev overlay.1"),
    "neighbour altered": (
        "ip neigh replace {vtep} lladdr 02:00:00:00:00:77 nud permanent dev overlay.1",
        "neighbour {vtep} dev overlay.1 had mac 02:00:00:00:00:77: set right",
    ),
    "neighbour no more permanent": (
        "ip neigh replace {vtep} lladdr {mac} nud reachable dev overlay.1",
        "neighbour {vtep} dev overlay.1 was no more permanent: put back",
    ),
    "fdb entry deleted": (
        "bridge fdb del {mac} dev overlay.1",
        "fdb entry {mac} dev overlay.1 was deleted: put back",
    ),
    "fdb entry altered": (
        "bridge fdb replace {mac} dev overlay.1 dst 192.168.50.77 self permanent",
        "fdb entry {mac} dev overlay.1 had underlay 192.168.50.77: set right",
    ),
    "fdb entry added": (
        "bridge fdb add 02:00:00:00:00:99 dev overlay.1 dst 192.168.50.77 self permanent",
        "fdb entry 02:00:00:00:00:99 dev overlay.1 was not ours to have: taken away",
    ),
    "device's MAC changed": (
        "ip link set overlay.1 address 02:00:00:00:00:55",
        "device overlay.1 had mac 02:00:00:00:00:55",
    ),
    "device's MTU changed": ("ip link set overlay.1 mtu 1300", "device overlay.1 had mtu 1300"),
    "device down": ("ip link set overlay.1 down", "device overlay.1 was down, "),
    "device down and up": (
        "ip link set overlay.1 down; ip link set overlay.1 up",
        "device overlay.1 was set down and is as it was again, but lost ",
    ),
    "device's addresses flushed": (
        "ip addr flush dev overlay.1",
        "address {own} dev overlay.1 was deleted",
    ),
    "device's address added": (
        "ip addr add 10.77.0.1/24 dev overlay.1",
        "address 10.77.0.1/24 dev overlay.1 was not ours to have: taken away",
    ),
    "device's mark lost": (
        "ip link set overlay.1 alias mine",
        "device overlay.1 lost our mark (its alias)",
    ),
    "device deleted": ("ip link del overlay.1", "device overlay.1 was deleted, "),
    "bridge's addresses flushed": (
        "ip addr flush dev overlay0",
        "address {gateway} dev overlay0 was deleted",
    ),
    "bridge's MAC changed": (
        "ip link set overlay0 address 02:00:00:00:00:56",
        "bridge overlay0 had mac 02:00:00:00:00:56: set right",
    ),
    "bridge's MTU changed": ("ip link set overlay0 mtu 1280", "bridge overlay0 had mtu 1280"),
    "bridge down": ("ip link set overlay0 down", "bridge overlay0 was down"),
    "forwarding switched off": (
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        "sysctl net.ipv4.ip_forward had value 0: set right",
    ),
    "forwarding switched off on one link": (
        "echo 0 > /proc/sys/net/ipv4/conf/overlay0/forwarding",
        "sysctl net.ipv4.conf.overlay0.forwarding had value 0: set right",
    ),
    "router advertisements accepted": (
        "echo 1 > /proc/sys/net/ipv6/conf/overlay0/accept_ra",
        "sysctl net.ipv6.conf.overlay0.accept_ra had value 1: set right",
    ),
    "nft table deleted": (
        "nft delete table inet overlay",
        "nft table inet overlay was deleted: put back; changes=1 likely=nft (the kernel names it",
    ),
    "nft chain flushed": (
        "nft flush chain inet overlay postrouting",
        "nft table inet overlay was altered: set right; changes=1 likely=nft",
    ),
    "nft chain added": (
        "nft add chain inet overlay mine",
        "nft table inet overlay was altered: set right",
    ),
    "nft rule added": (
        "nft insert rule inet overlay postrouting drop",
        "nft table inet overlay was altered: set right",
    ),
    "nft ruleset flushed": ("nft flush ruleset", "nft table inet overlay was deleted: put back"),
    "all of a peer at once": (
        "ip route del {subnet}; ip neigh del {vtep} dev overlay.1; bridge fdb del {mac} dev overlay.1",
        "route {subnet} was deleted: put back",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_mended_and_said_in_one_line(stage: Stage, name: str) -> None:
    """By what the kernel tells (switches: by looking), long before the next full comparison."""
    script, words = DAMAGES[name]
    expected = words.format(**stage.words)
    before = len(stage.one.log_text())

    stage.damage(script)

    def told() -> list[str]:
        return [line for line in stage.one.log_text()[before:].splitlines() if MENDED in line]

    begun = time.monotonic()
    wait_for(lambda: bool(told()), f"a line about: {name}", timeout_s=PATIENCE_S)
    wait_for(stage.whole, f"repair of: {name}", timeout_s=PATIENCE_S, also=stage.one.log_tail)
    print(f"repaired in {time.monotonic() - begun:.2f} s: {name}")
    (line,) = told()
    assert expected in line


def test_events_that_were_lost_are_made_up_for_by_reading_all(stage: Stage) -> None:
    """More events than the socket holds while the agent stands still, and the one that matters among them."""
    stage.one.send(signal.SIGSTOP)
    stage.one.namespace.ip(*(f"link set lo alias burst{number}" for number in range(8_000)))
    stage.damage("ip route del {subnet}")
    stage.one.send(signal.SIGCONT)

    begun = time.monotonic()
    wait_for(stage.whole, "repair without an event", timeout_s=PATIENCE_S)
    print(f"repaired in {time.monotonic() - begun:.2f} s: lost events")
    assert "kernel events were lost" in stage.one.log_text()


def test_a_mac_that_is_changed_as_soon_as_the_device_is_made_is_ours_again(stage: Stage) -> None:
    """As systemd-udevd does it by MACAddressPolicy=persistent: the agent wins, and keeps its peers."""
    rival = "until ip link set overlay.1 address 02:00:00:00:00:57 2>/dev/null; do :; done"
    stage.damage(f"ip link del overlay.1; {rival}")

    wait_for(stage.whole, "our MAC", timeout_s=PATIENCE_S, also=stage.one.log_tail)
    (link,) = stage.one.namespace.query("link", "show", "overlay.1")
    assert f"overlay.1 mac {link['address']}" in stage.one.tell("status")["devices"]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(f"ip link set eth0 down; ip link set eth0 up; {UPLINK}", id="flapped"),
        pytest.param(
            "ip addr flush dev eth0; ip addr add {underlay}/24 dev eth0; " + UPLINK, id="flushed"
        ),
    ],
)
def test_an_underlay_that_goes_and_comes_back_takes_nothing_with_it(
    stage: Stage, script: str
) -> None:
    """The tunnel device keeps its entries, and the subnet stays the same."""
    subnet = stage.one.subnet
    stage.damage(script)

    begun = time.monotonic()
    wait_for(stage.whole, "traffic after the underlay", timeout_s=PATIENCE_S)
    print(f"repaired in {time.monotonic() - begun:.2f} s: underlay")
    assert stage.one.subnet == subnet


def test_drift_tells_what_was_undone_and_remembers_it_over_a_restart(stage: Stage) -> None:
    """Newest first, counted; a node that nobody touched says so, since when."""
    said = stage.two.overlayctl("drift")
    assert (said.code, said.out[:30]) == (0, "nothing has been undone since ")
    before = stage.one.tell("drift")
    lasts = [entry["last"] for entry in before["entries"]]
    assert lasts == sorted(lasts, reverse=True)
    assert f"route {stage.two.subnet}" in [entry["object"] for entry in before["entries"]]
    assert before["last_day"] >= len(before["entries"]) > 10

    stage.one.stop_agent()
    stage.one.start_agent()
    stage.one.wait_ready(peers=1)

    after = stage.one.ask("drift")  # the file's way, and JSON's
    assert (after["entries"], after["since"]) == (before["entries"], before["since"])
    assert stage.one.tell("status")["mended_last_day"] == before["last_day"]
    table = stage.one.overlayctl("drift")
    assert "nft table inet overlay" in table.out
    assert "LIKELY BY" in table.out


def test_an_underlay_address_that_changes_is_learnt_by_the_peers(stage: Stage) -> None:
    """The record is written anew, and pods reach one another again."""
    two, address = stage.two, f"{stage.two.address.rpartition('.')[0]}.202"
    two.namespace.must(
        "sh", "-ec", f"ip addr flush dev eth0; ip addr add {address}/24 dev eth0; {UPLINK}"
    )

    def learnt() -> bool:
        fdb = stage.one.namespace.must("bridge", "fdb", "show", "dev", "overlay.1")
        return f"{stage.words['mac']} dst {address}" in fdb and stage.reaches()

    took = wait_for(learnt, "peers know the new address", timeout_s=60, also=two.log_tail)
    print(f"repaired in {took:.2f} s: underlay address of the peer")
    assert f"{stage.two.address} " not in stage.one.namespace.must("bridge", "fdb", "show")


def test_a_fight_is_throttled_named_and_shown_and_holds_up_nothing_else(stage: Stage) -> None:
    """A program that deletes our table whenever it is there; by the kernel's word it is nft."""
    one = stage.one
    loop = "while :; do nft delete table inet overlay 2>/dev/null || :; sleep 0.1; done"
    rival = Daemon("rival", one.namespace.inside(["sh", "-c", loop]), stage.lab.work / "rival.log")
    stage.lab.track(rival)
    try:
        wait_for(
            lambda: "fight over nft table inet overlay" in one.tell("status")["trouble"],
            "a fight",
            timeout_s=PATIENCE_S,
        )
        stage.damage("ip route del {subnet}")
        wait_for(lambda: bool(one.routes_to(stage.two.subnet)), "the route", timeout_s=PATIENCE_S)
        why = one.tell("status")["trouble"]["fight over nft table inet overlay"]
        assert "likely: nft (the kernel names it, pid " in why
        assert "next: let it replace its own table only: grep -rn 'flush ruleset'" in why
        assert one.overlayctl("drift").code == 1
    finally:
        rival.end(signal.SIGKILL)
    wait_for(stage.whole, "the table, once the pause is over", timeout_s=60)
    assert one.log_text().count("nft table inet overlay undone ") == 1
