"""Where in the keys under P/subnets a record can stand that overlaps given subnets: a few ranges of text.

A claim has to know that nothing overlaps what it takes; it need not know that nobody anywhere claimed anything.
Keys begin with the dotted IPv4 address, so a record that begins inside a subnet shares its text up to an octet,
and one that encloses it has one of at most 32 exact beginnings. Of an IPv6 subnet nothing follows for the text (it
stands behind the IPv4 part, where there is one): then only the whole range will do.
"""

from collections.abc import Sequence
from ipaddress import IPv4Network

from overlay.model import Subnet

MOST_PREFIXES = 16
"""More texts than these are not worth telling apart: the next coarser octet is taken. etcd takes 128 compares."""
Range = tuple[str, str]
"""[first, last) of keys, without what stands before the address."""


def ranges(subnets: Sequence[Subnet]) -> list[Range] | None:
    """Every key of a record that overlaps lies in one of these; None: only the whole range is sure to hold all."""
    if len(subnets) != 1 or not isinstance(subnets[0], IPv4Network):
        return None
    return [*_beginning_inside(subnets[0]), *_enclosing(subnets[0])]


def _beginning_inside(subnet: IPv4Network) -> list[Range]:
    """Records whose network address lies in the subnet, and some near it."""
    for octets in (3, 2, 1):
        bits = 8 * octets
        count = 1 << max(0, bits - subnet.prefixlen)
        if count <= MOST_PREFIXES:
            first = int(subnet.network_address) >> (32 - bits)
            texts = [_dotted(first + number, octets) for number in range(count)]
            return [(text, text[:-1] + "/") for text in texts]  # '/' follows '.' in ASCII
    return [("0", ":")]  # every address begins with a digit


def _enclosing(subnet: IPv4Network) -> list[Range]:
    """Shorter prefixes that hold the subnet, alone or with an IPv6 one behind '&'; '\\'' follows '&'.

    Who writes by hand may write a length with a zero in front: such a key is read, so it counts.
    """
    wider = [subnet.supernet(new_prefix=length) for length in range(subnet.prefixlen)]
    texts = {
        f"{net.network_address}-{spelled}"
        for net in wider
        for spelled in (f"{net.prefixlen}", f"{net.prefixlen:02}")
    }
    return [(text, text + "'") for text in sorted(texts)]


def _dotted(number: int, octets: int) -> str:
    parts = [str(number >> (8 * place) & 255) for place in reversed(range(octets))]
    return ".".join(parts) + "."
