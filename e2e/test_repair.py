"""Whatever touches the kernel is mended within a second or so, and said in one line. One lab, damage after damage."""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from e2e.damagednode import BRIDGE, DEVICE, NFT, POD, SWITCHES
from e2e.damagedpeers import FDB, NEIGHBOURS, ROUTES
from e2e.damages import Side, three_nodes
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.lab import Lab
from e2e.netns import difference
from e2e.node import Node, wait_for
from e2e.process import Daemon

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

PATIENCE_S = 40.0
"""For a machine that others use as well, where a fight may have begun by now; what it took is printed."""
UPLINK = "ip route replace default via 192.168.50.254"
UNDERLAY = {
    "flapped": f"ip link set eth0 down; ip link set eth0 up; {UPLINK}",
    "flushed": f"ip addr flush dev eth0; ip addr add {{underlay}}/24 dev eth0; {UPLINK}",
    "renamed": f"ip link set eth0 down; ip link set eth0 name net0; ip link set net0 up; {UPLINK}",
    "renamed back": f"ip link set net0 down; ip link set net0 name eth0; ip link set eth0 up; {UPLINK}",
}
"""What comes later counts on what came before."""
TOLD = {
    "nft flush chain inet overlay postrouting": "nft table inet overlay",
    "ip route del {subnet}": "route {subnet}",
}
DAMAGES = ROUTES | NEIGHBOURS | FDB | DEVICE | BRIDGE | POD | SWITCHES | NFT


@dataclass(frozen=True, slots=True)
class Stage:
    """Two nodes with a pod each, damaged in turn, so that no object is fought over; ``calm`` is left alone."""

    lab: Lab
    sides: tuple[Side, Side]
    calm: Node

    @property
    def one(self) -> Side:
        """The first."""
        return self.sides[0]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """One lab for all."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        one, two, calm = three_nodes(lab)
        for side in (one, two):
            wait_for(side.whole, "pings before any damage", timeout_s=PATIENCE_S)
        yield Stage(lab, (one, two), calm)


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_mended_and_said_in_one_line(stage: Stage, name: str) -> None:
    """By what the kernel tells (switches: by looking), long before the next full comparison.

    That it is damage, and that nobody but the agent mends it, is seen while the agent stands still.
    """
    damage = DAMAGES[name]
    side = stage.sides[list(DAMAGES).index(name) % 2]
    before, said, at = side.picture(), len(side.node.log_text()), time.time()

    with side.node.still():
        side.damage(damage.script)
        assert side.hurt(damage.harm, before), "this does no harm"

    def told() -> list[str]:
        return [line for line in side.node.log_text()[said:].splitlines() if damage.thing in line]

    def differs() -> str:
        return "\n".join([*difference(before, side.picture()), side.node.log_tail()])

    begun = time.monotonic()
    wait_for(lambda: bool(told()), f"a line about: {name}", timeout_s=PATIENCE_S, also=differs)
    wait_for(side.whole, f"repair of: {name}", timeout_s=PATIENCE_S, also=differs)
    print(f"repaired in {time.monotonic() - begun:.2f} s: {name}")
    wait_for(
        lambda: not difference(before, side.picture()),
        f"a kernel as it was before: {name}",
        timeout_s=PATIENCE_S,
        also=differs,
    )
    (line,) = told()
    assert damage.says.format(**side.words) in line
    assert any(entry["last"] >= at for entry in side.node.tell("drift")["entries"])


def test_events_that_were_lost_are_made_up_for_by_reading_all(stage: Stage) -> None:
    """More events than the socket holds while the agent stands still, and the one that matters among them."""
    side = stage.one
    with side.node.still():
        side.node.namespace.ip(*(f"link set lo alias burst{number}" for number in range(8_000)))
        side.damage("ip route del {subnet}")

    begun = time.monotonic()
    wait_for(side.whole, "repair without an event", timeout_s=PATIENCE_S)
    print(f"repaired in {time.monotonic() - begun:.2f} s: lost events")
    assert "kernel events were lost" in side.node.log_text()


def test_a_mac_that_is_changed_as_soon_as_the_device_is_made_is_ours_again(stage: Stage) -> None:
    """As systemd-udevd does it by MACAddressPolicy=persistent: the agent wins, and keeps its peers."""
    side = stage.one
    rival = "until ip link set overlay.1 address 02:00:00:00:00:57 2>/dev/null; do :; done"
    side.damage(f"ip link del overlay.1; {rival}")

    wait_for(side.whole, "our MAC", timeout_s=PATIENCE_S, also=side.node.log_tail)
    (link,) = side.node.namespace.query("link", "show", "overlay.1")
    assert f"overlay.1 mac {link['address']}" in side.node.tell("status")["devices"]


@pytest.mark.parametrize("script", UNDERLAY.values(), ids=UNDERLAY)
def test_an_underlay_that_goes_and_comes_back_takes_nothing_with_it(
    stage: Stage, script: str
) -> None:
    """The tunnel device keeps its entries or gets them again, and the subnet stays the same."""
    side = stage.one
    subnet = side.node.subnet
    with side.node.still():
        side.damage(script)

    begun = time.monotonic()
    wait_for(
        side.whole, "traffic after the underlay", timeout_s=PATIENCE_S, also=side.node.log_tail
    )
    print(f"repaired in {time.monotonic() - begun:.2f} s: underlay")
    assert side.node.subnet == subnet


def test_drift_tells_what_was_undone_and_remembers_it_over_a_restart(stage: Stage) -> None:
    """Newest first, counted; a node that nobody touched says so, since when."""
    said = stage.calm.overlayctl("drift")
    assert (said.code, said.out[:30]) == (0, "nothing has been undone since ")
    node, begun = stage.one.node, time.time()
    for script, undone in TOLD.items():
        stage.one.damage(script)
        wait_for(
            lambda it=undone: _undone_since(node, begun)[:1] == [it.format(**stage.one.words)],  # type: ignore[misc]
            f"the youngest is {undone}",
            timeout_s=PATIENCE_S,
            also=node.log_tail,
        )
    wait_for(stage.one.whole, "all of it mended", timeout_s=PATIENCE_S, also=node.log_tail)
    before = node.tell("drift")
    lasts = [entry["last"] for entry in before["entries"]]
    assert lasts == sorted(lasts, reverse=True)
    assert before["last_day"] >= len(before["entries"]) >= len(TOLD)

    node.stop_agent()
    node.start_agent()
    stage.lab.record()
    node.wait_ready(peers=2)

    after = node.ask("drift")  # the file's way, and JSON's
    assert (after["entries"], after["since"]) == (before["entries"], before["since"])
    assert node.tell("status")["mended_last_day"] == before["last_day"]
    table = node.overlayctl("drift")
    assert "nft table inet overlay" in table.out
    assert "LIKELY BY" in table.out


def _undone_since(node: Node, moment: float) -> list[str]:
    """What was undone, the youngest first."""
    entries = node.tell("drift")["entries"]
    return [str(entry["object"]) for entry in entries if entry["last"] >= moment]


def test_an_underlay_address_that_changes_is_learnt_by_the_peers(stage: Stage) -> None:
    """The record is written anew, and pods reach one another again."""
    one, two = stage.one, stage.sides[1].node
    old, address = two.address, f"{two.address.rpartition('.')[0]}.202"
    script = f"ip addr flush dev eth0; ip addr add {address}/24 dev eth0; {UPLINK}"
    two.namespace.must("sh", "-ec", script)

    def learnt() -> bool:
        fdb = one.node.namespace.must("bridge", "fdb", "show", "dev", "overlay.1")
        return f"{one.words['mac']} dst {address}" in fdb and one.reaches()

    took = wait_for(learnt, "peers know the new address", timeout_s=60, also=two.log_tail)
    print(f"repaired in {took:.2f} s: underlay address of the peer")
    assert f"{old} " not in one.node.namespace.must("bridge", "fdb", "show")


def test_a_fight_is_throttled_named_and_shown_and_holds_up_nothing_else(stage: Stage) -> None:
    """A program that deletes our table whenever it is there; by the kernel's word it is nft."""
    side, one = stage.one, stage.one.node
    warning = "nft table inet overlay undone "
    before = one.log_text().count(warning)
    loop = "while :; do nft delete table inet overlay 2>/dev/null || :; sleep 0.1; done"
    rival = Daemon("rival", one.namespace.inside(["sh", "-c", loop]), stage.lab.work / "rival.log")
    stage.lab.track(rival)
    try:
        wait_for(
            lambda: "fight over nft table inet overlay" in one.tell("status")["trouble"],
            "a fight",
            timeout_s=PATIENCE_S,
        )
        side.damage("ip route del {subnet}")
        subnet = side.words["subnet"]
        wait_for(lambda: bool(one.routes_to(subnet)), "the route", timeout_s=PATIENCE_S)
        why = one.tell("status")["trouble"]["fight over nft table inet overlay"]
        assert "likely: nft (the kernel names it, pid " in why
        assert "next: let it replace its own table only: grep -rn 'flush ruleset'" in why
        assert one.overlayctl("drift").code == 1
    finally:
        rival.end(signal.SIGKILL)
    wait_for(side.whole, "the table, once the pause is over", timeout_s=60)
    assert one.log_text().count(warning) - before <= 1  # the damages above may be the same fight
