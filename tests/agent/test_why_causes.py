"""What a lost packet, a stray gateway and the node's own addresses are put down to."""

from agent.why.facts import Answered, Candidate, Neighbour, Taken, Way
from agent.why.judge import judge
from agent.why.records import Store
from tests.agent.test_why import ENTER, change, first, link, pod, verdict
from tests.agent.why_facts import end, facts, passed, store


def test_a_gateway_that_is_not_the_bridge() -> None:
    """Its neighbour entry is right for it: the route is what is wrong. Any address of the bridge is a gateway."""
    stray = Way("10.5.2.2", "eth0", "10.5.1.9", "unicast", 254)
    mend = f"{ENTER} ip route replace default via 10.5.1.1 dev eth0"
    assert first(verdict(pod(1, 2, way=stray))) == ("n1", "route in the pod", mend)
    narrow = Candidate("route", 254, 32, "unicast", "eth0", False, "ip route del 10.5.2.2/32")
    told = verdict(pod(1, 2, way=change(stray, candidates=[narrow])))
    assert first(told) == ("n1", "route in the pod", f"{ENTER} ip route del 10.5.2.2/32")
    second = link(pod(1, 2, way=stray), "bridge", addresses=["10.5.1.1/24", "10.5.1.9/24"])
    assert verdict(second).first is None


def test_a_lost_echo_puts_the_blame_on_what_may_be_its_cause() -> None:
    """And a small MTU is no link's doing below what IPv6 needs: no command to cripple one."""
    rate = Taken("rule may be what drops it", False, "nft delete rule x", "nft -a list chain x")
    near = facts(
        1, 2, forward_out=[rate], test=Answered(small=False, small_size=84, why="no answer")
    )
    told = verdict(near)
    assert told.broken
    assert first(told) == ("n1", "rules of forwarding", "nft -a list chain x")
    static = Neighbour("192.168.50.2", "02:00:00:00:00:99", "PERMANENT")
    near = facts(1, 2, tunnel_neighbour=static, test=Answered(small=False, why="lost"))
    assert first(verdict(near)) == (
        "n1",
        "underlay neighbour",
        "ip neigh del 192.168.50.2 dev eth0",
    )
    tiny = Answered(small=True, small_size=84, full=False, full_size=1450, largest=1000)
    assert first(verdict(facts(1, 2, test=tiny)))[2].startswith("overlayctl trace ")


def test_an_echo_proves_nothing_of_rules_about_udp() -> None:
    """No datagram is sent as a test, so what may drop it stays unknown."""
    rate = Taken("rule may be what drops it", False, "nft delete rule x", "nft -a list chain x")
    ends = end(1, facts(1, 2, forward_out=[rate], test=passed())), end(2, facts(2, 1))
    assert judge(*ends, store(), same_node=False, proto="tcp").first is None
    told = judge(*ends, store(), same_node=False, proto="udp").first
    assert told is not None
    assert (told.name, told.state) == ("rules of forwarding", "unknown")


def test_an_address_of_the_node_is_no_pod_and_no_route_is_to_be_changed_for_it() -> None:
    """A gateway, a VTEP: the kernel keeps what arrives for it."""
    told = verdict(far=facts(2, 1, pod=None, into=Way("10.5.2.1", "lo", "", "local", 255)))
    assert first(told) == ("n2", "route to the pod", "overlayctl ipam show")


def test_without_etcd_the_kernel_says_whether_there_is_a_tunnel() -> None:
    """With host-gw there is no VXLAN device to be missed."""
    ours = Candidate("route", 254, 24, "unicast", "eth0", True, "")
    out = Way("10.5.2.2", "eth0", "192.168.50.2", "unicast", 254, candidates=[ours])
    told = verdict(facts(1, 2, vxlan=None, out=out), known=Store(fault="etcd is away"))
    assert "VXLAN device" not in [hop.name for hop in told.hops if hop.where == "n1"]
    assert not told.broken
