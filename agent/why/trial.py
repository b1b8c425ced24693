"""The test of a path: packets that are really sent, from inside the pod, and only to where pods are."""

from agent.why import echo, question
from agent.why.facts import Answered
from agent.why.kernel import View
from agent.why.question import Question
from cni.record import Attachment
from overlay.family import Address, Family
from overlay.netlink import Netlink
from overlay.netlink.namespace import run_inside
from overlay.nodefile import NodePage


def tried(
    asked: Question, record: Attachment | None, path: str, page: NodePage | None
) -> Answered | None:
    """None where none is wanted, or where it would go elsewhere than to a pod.

    Whoever can write to etcd may ask for a test, and must not make pods of this node talk to the rest of the world.
    """
    other = asked.other_address
    families = page.families if page is not None else ()
    if record is None or other is None or not asked.test:
        return None
    family = Family.of(other)
    if not any(other in one.cluster for one in families if one.family is family):
        return None
    own = (question.address(text.partition("/")[0]) for text in record.addresses)
    source = next((it for it in own if it is not None and Family.of(it) is family), None)
    if source is None:
        return None
    given = record.mtu or (page.mtu if page is not None else 0)
    return run_inside(path, lambda: _sent(asked, record.ifname, (source, other), given))


def _sent(asked: Question, ifname: str, ends: tuple[Address, Address], given: int) -> Answered:
    """In the pod's namespace. Full is what the pod was given, or what a plugin chained after us has left of it."""
    with Netlink() as netlink:
        link = View(netlink).named(ifname)
    most = link.mtu if link is not None else given
    port = asked.port if asked.proto == "tcp" else 0
    return echo.tested(*ends, mtu=min(given or most, most), port=port)
