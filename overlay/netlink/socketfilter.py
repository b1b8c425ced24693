"""A classic BPF program on a socket: the kernel drops what it refuses before anybody wakes for it."""

import socket
import struct
from array import array

_SO_ATTACH_FILTER = 26
"""asm-generic/socket.h"""
_STEP_BYTES = 8
"""struct sock_filter, linux/filter.h"""


def attach(sock: socket.socket, program: bytes) -> None:
    """``program`` is a run of struct sock_filter; raises OSError if the kernel refuses it."""
    code = array("B", program)
    address, size = code.buffer_info()
    fprog = struct.pack("@HP", size // _STEP_BYTES, address)
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
