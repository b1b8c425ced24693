"""What one node sees of the way between a pod of its own and another address: a snapshot, as it travels. Pure.

The same facts serve both ends of a path and both directions. They may come from another node, so whatever is decoded
is bounded and of the right type; nothing in them is trusted beyond that.
"""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from overlay.errors import BadInput

VERSION = 1
MOST_BYTES = 512 * 1024
Text = Annotated[str, Meta(max_length=600)]
Short = Annotated[str, Meta(max_length=128)]
Count = Annotated[int, Meta(ge=0, le=1 << 48)]


class Link(msgspec.Struct, frozen=True, omit_defaults=True):
    """A link. ``carrier`` is False where its other end is down; ``vni``, ``port``, ``local`` are a VXLAN device's."""

    name: Short
    kind: Short = ""
    mac: Short = ""
    mtu: Count = 0
    up: bool = False
    carrier: bool = False
    alias: Text = ""
    master: Short = ""
    addresses: Annotated[list[Short], Meta(max_length=64)] = []
    vni: Count = 0
    port: Count = 0
    local: Short = ""


class Candidate(msgspec.Struct, frozen=True, omit_defaults=True):
    """A route of any table, or a policy rule, that the destination falls into; ``undo`` are ip's words to delete it."""

    what: Text
    table: Count
    prefix: Count
    kind: Short
    link: Short = ""
    ours: bool = False
    undo: Text = ""


class Way(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the kernel would send a packet: ``error`` in its own words where nowhere."""

    to: Short
    link: Short = ""
    via: Short = ""
    kind: Short = ""
    table: Count = 0
    mtu: Count = 0
    error: Text = ""
    code: Count = 0
    candidates: Annotated[list[Candidate], Meta(max_length=16)] = []


class Neighbour(msgspec.Struct, frozen=True, omit_defaults=True):
    """A row of `ip neigh`; ``state`` in its words."""

    address: Short
    mac: Short = ""
    state: Short = ""


class Taken(msgspec.Struct, frozen=True, omit_defaults=True):
    """A firewall rule that takes, or (not ``sure``) may take, the packet."""

    said: Text
    sure: bool
    mend: Text
    look: Text = ""


Rules = Annotated[list[Taken], Meta(max_length=32)]


class Pod(msgspec.Struct, frozen=True, omit_defaults=True):
    """This node's pod. ``enter`` is the command that runs another inside it; ``fault``: it cannot be looked into."""

    name: Text = ""
    container: Text = ""
    ifname: Short = ""
    address: Short = ""
    """With its prefix length, as given."""
    bridge: Short = ""
    host_link: Short = ""
    given_mtu: Count = 0
    enter: Text = ""
    fault: Text = ""
    link: Link | None = None
    way: Way | None = None
    neighbour: Neighbour | None = None
    leaving: Rules = []
    entering: Rules = []


class Answered(msgspec.Struct, frozen=True, omit_defaults=True):
    """Packets really sent from the pod. A size of 0 is not known; ``why`` something did not come back."""

    small: bool
    small_size: Count = 0
    full: bool = False
    full_size: Count = 0
    largest: Count = 0
    rtt_ms: float = 0.0
    why: Text = ""
    port: Text = ""
    """Of the TCP connection: "connected", "refused", or what the kernel said; "" where none was tried."""


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """One node's side; ``pod`` is None where the node has none that was meant.

    ``out``, ``neighbour``, ``fdb``: the way to the other pod. ``tunnel``…: the way to its node, by the underlay.
    ``into`` and ``pod_neighbour``: the way of what arrives. The rules are named by the hook and by whose packets they
    judge.
    """

    version: Count = VERSION
    node: Short = ""
    subnets: Annotated[list[Short], Meta(max_length=8)] = []
    mtu: Count = 0
    agent: Text = ""
    """"" if it answers, else why not."""
    pod: Pod | None = None
    bridge: Link | None = None
    gateway: Short = ""
    veth: Link | None = None
    vxlan: Link | None = None
    vxlan_name: Short = ""
    switches: dict[Short, Short] = {}
    out: Way | None = None
    neighbour: Neighbour | None = None
    fdb: Annotated[list[Short], Meta(max_length=8)] | None = None
    tunnel: Way | None = None
    tunnel_link: Link | None = None
    tunnel_neighbour: Neighbour | None = None
    into: Way | None = None
    pod_neighbour: Neighbour | None = None
    forward_out: Rules = []
    forward_in: Rules = []
    tunnel_out: Rules = []
    tunnel_in: Rules = []
    bridge_out: Rules = []
    bridge_in: Rules = []
    test: Answered | None = None
    unread: Annotated[list[Text], Meta(max_length=16)] = []


class Found(msgspec.Struct, frozen=True, omit_defaults=True):
    """An attachment that a name, an address or a container id may mean."""

    pod: Text = ""
    container: Text = ""
    addresses: Annotated[list[Short], Meta(max_length=8)] = []


def plain(facts: Facts | Found) -> Any:  # noqa: ANN401 - what JSON can hold
    """As the agent answers it."""
    return msgspec.to_builtins(facts)


def read(answer: object) -> Facts:
    """What another node answered.

    Raises:
        BadInput: it is no facts of a version that we read.
    """
    try:
        found = msgspec.convert(answer, type=Facts)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadInput(f"the node's answer cannot be read: {error}") from error
    if found.version != VERSION:
        raise BadInput(f"the node's answer is of version {found.version}, we read {VERSION}")
    return found
