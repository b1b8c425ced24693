"""What is asked of a node about a path: which pod, which other address. Validated, for it comes over a socket. Pure."""

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from overlay.errors import BadInput
from overlay.family import Address


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """``pod`` by name, address or the beginning of a container id. Without ``other``: only who that is.

    ``peer`` is the underlay address of the other's node where it is known from etcd; ``test``: send real packets.
    ``answering``: the other one calls, this node's pod answers (its packets belong to an established connection).
    """

    pod: Annotated[str, Meta(min_length=1, max_length=300)]
    other: Annotated[str, Meta(max_length=64)] = ""
    peer: Annotated[str, Meta(max_length=64)] = ""
    proto: Literal["icmp", "tcp", "udp"] = "icmp"
    port: Annotated[int, Meta(ge=0, le=65535)] = 0
    test: bool = False
    answering: bool = False

    @property
    def other_address(self) -> Address | None:
        """Of the other pod."""
        return address(self.other)

    @property
    def peer_address(self) -> Address | None:
        """Of its node."""
        return address(self.peer)


def address(text: str) -> Address | None:
    """None for what is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def read(body: Mapping[str, Any]) -> Question:
    """From a request.

    Raises:
        BadInput: a field is missing or impossible.
    """
    try:
        found = msgspec.convert(dict(body), type=Question)
    except (msgspec.ValidationError, RecursionError) as error:
        raise BadInput(f"the question about a path cannot be read: {error}") from error
    if found.other and found.other_address is None:
        raise BadInput(f"other is {found.other!r}, which is no address")
    return found
