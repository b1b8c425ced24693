"""Checksum offload of a network device: is it on, switch it, and does what it sends arrive?

By the ethtool ioctl (linux/ethtool.h; what `ethtool -K DEV tx on|off` does). The probe is one UDP datagram to a
port that nobody serves: a kernel verifies the checksum before it answers "port unreachable", which comes back
as ECONNREFUSED (net/ipv4/udp.c, net/ipv6/udp.c). So any kernel at the other end will do, and nothing has to
run there.
"""

import array
import fcntl
import random
import socket
import struct
from enum import Enum

from overlay.errors import KernelRefused
from overlay.model import Address, Family

ETHTOOL_GTXCSUM, ETHTOOL_STXCSUM = 0x16, 0x17
_SIOCETHTOOL = 0x8946
"""linux/sockios.h"""
_IFREQ = struct.Struct("16sP16x")
_VALUE = struct.Struct("=II")
"""struct ethtool_value: command, data."""
ANSWER_WITHIN_S = 0.4
_PORTS = (33434, 33934)
"""traceroute's: nobody serves them, and many firewalls know what they are for."""
_WORDS = b"overlay: does a checksum survive this device?"


class Checksum(Enum):
    """Who is to compute the probe's UDP checksum."""

    DEVICE = "by the device, or whoever is below it"
    KERNEL = "by the kernel, before the device sees the packet"


def tx_checksum(device: str) -> bool:
    """Whether a device is trusted with the checksums of what is sent.

    Raises:
        KernelRefused: there is no such device, or it does not say.
    """
    return bool(_ask(device, ETHTOOL_GTXCSUM, 0))


def set_tx_checksum(device: str, on: bool) -> None:
    """Let the device compute checksums, or have the kernel do it.

    Raises:
        KernelRefused: the device does not do what it was told.
    """
    _ask(device, ETHTOOL_STXCSUM, int(on))
    if tx_checksum(device) is not on:
        raise KernelRefused(f"{device} does not change its tx-checksum", errno=95)


def arrives(device: str, local: Address, peer: Address, checksum: Checksum) -> bool:
    """Send one datagram from ``local`` through a device; True if the peer's kernel found its checksum right.

    False is no proof: the packet or the answer may be lost, filtered or rate-limited.
    """
    family = socket.AF_INET if Family.of(local) is Family.V4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.settimeout(ANSWER_WITHIN_S)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode() + b"\0")
            probe.bind((str(local), 0))
            probe.connect((str(peer), random.randint(*_PORTS)))
            if checksum is Checksum.KERNEL:
                # A datagram that is put together from two pieces is summed up while it is copied.
                probe.send(_WORDS, socket.MSG_MORE)
                probe.send(b"")
            else:
                probe.send(_WORDS)
            probe.recv(1)
    except ConnectionRefusedError:
        return True
    except OSError:  # no answer, or no way to send
        return False
    return True  # somebody serves that port after all


def _ask(device: str, command: int, value: int) -> int:
    data = array.array("B", _VALUE.pack(command, value))
    request = _IFREQ.pack(device.encode(), data.buffer_info()[0])
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            fcntl.ioctl(sock, _SIOCETHTOOL, request)
    except OSError as error:
        raise KernelRefused(
            f"checksum offload of {device}: {error.strerror}", errno=error.errno or 0
        ) from error
    return int(_VALUE.unpack(data.tobytes())[1])
