"""arena: what is big is given back to the kernel, however much was freed before."""

import ctypes
import subprocess
import sys

import pytest

FREED_BEFORE = """
import ctypes
from agent import arena

arena.share()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes = [ctypes.c_size_t], [ctypes.c_void_p]


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "mapped", "mapped_bytes")] + [
        (f"more{number}", ctypes.c_size_t) for number in range(5)
    ]


libc.mallinfo2.restype = Mallinfo
block = libc.malloc(8 << 20)
libc.free(block)
before = libc.mallinfo2().mapped
block = libc.malloc(arena.MAPPED_BYTES)
print(libc.mallinfo2().mapped - before)
libc.free(block)
print(libc.mallinfo2().mapped - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc >= 2.33"
)
def test_a_big_block_is_a_mapping_of_its_own_even_after_a_bigger_one_was_freed() -> None:
    """In a process of its own: the limits hold for good."""
    said = subprocess.run(
        [sys.executable, "-c", FREED_BEFORE], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["1", "0"]
