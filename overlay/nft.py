"""The only door to nftables: libnftables in process, by ctypes (Debian: libnftables1).

A subprocess per change would cost milliseconds and leave the kernel work to its exit; the library takes
the same text as ``nft -f`` and applies a whole buffer as one transaction.
"""

import ctypes
import errno
import os
import threading

from overlay.errors import KernelRefused

LIBRARY = "libnftables.so.1"
_OUTPUT_STATELESS = 1 << 2  # NFT_CTX_OUTPUT_STATELESS, nftables/libnftables.h
_OUTPUT_HANDLES, _OUTPUT_JSON = 1 << 3, 1 << 4
_ABSENT = os.strerror(errno.ENOENT)


class Nft:
    """One library context, bound to the network namespace it was made in. Thread-safe.

    Raises:
        KernelRefused: the library is not there.
    """

    def __init__(self) -> None:
        try:
            lib = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise KernelRefused(
                f"{LIBRARY} cannot be loaded: {error}",
                errno=errno.ENOENT,
                hint="apt-get install libnftables1",
            ) from error
        lib.nft_ctx_new.restype = ctypes.c_void_p
        lib.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
        lib.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        self._lib = lib
        lib.nft_ctx_free.restype = None
        self._context = ctypes.c_void_p(lib.nft_ctx_new(0))
        self._lock = threading.Lock()
        self._set(_OUTPUT_STATELESS)
        lib.nft_ctx_buffer_output(self._context)
        lib.nft_ctx_buffer_error(self._context)

    def close(self) -> None:
        """Free the context (and its socket); again is harmless."""
        with self._lock:
            if self._context:
                self._lib.nft_ctx_free(self._context)
                self._context = ctypes.c_void_p()

    def run(self, text: str) -> str:
        """Apply a buffer, all or nothing; returns what nft printed.

        Raises:
            KernelRefused: nft's own words.
        """
        with self._lock:
            return self._run(text)

    def listing(self, table: str) -> tuple[str, str] | None:
        """A table with its counters as JSON, and as text with the handles of its rules; None if there is none.

        Raises:
            KernelRefused: nft's own words.
        """
        with self._lock:
            try:
                self._set(_OUTPUT_JSON)
                structure = self._run(f"list table {table}")
                self._set(_OUTPUT_HANDLES)
                return structure, self._run(f"list table {table}")
            except KernelRefused as error:
                if _ABSENT in str(error):
                    return None
                raise
            finally:
                self._set(_OUTPUT_STATELESS)

    def _set(self, flags: int) -> None:
        if self._context:
            self._lib.nft_ctx_output_set_flags(self._context, flags)

    def _run(self, text: str) -> str:
        if not self._context:
            raise KernelRefused("nft was closed", errno=errno.EBADF)
        code = self._lib.nft_run_cmd_from_buffer(self._context, text.encode())
        output = self._lib.nft_ctx_get_output_buffer(self._context) or b""
        words = self._lib.nft_ctx_get_error_buffer(self._context) or b""
        if code:
            raise KernelRefused(
                f"nft refused: {words.decode(errors='replace').strip()}", errno=errno.EINVAL
            )
        return str(output.decode(errors="replace"))

    def list_table(self, table: str) -> str | None:
        """A table as nft prints it, without counters; None if there is none.

        Only that is asked for: "list tables" of nft 1.0.6 fetches every set of every table, and begins again when
        somebody changes anything meanwhile, so that beside a busy kube-proxy it would never end.
        """
        try:
            return self.run(f"list table {table}")
        except KernelRefused as error:
            if _ABSENT in str(error):
                return None
            raise

    def has_table(self, table: str) -> bool:
        """Whether a table is there."""
        return self.list_table(table) is not None
