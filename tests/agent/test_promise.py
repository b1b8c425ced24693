"""promise: why pages cannot be written is said in words that stay the same, with what to do."""

import errno

from agent.promise import worded
from overlay.errors import NotReady


def _error(number: int, name: str | None) -> OSError:
    return OSError(number, "because", name)


def test_the_words_name_the_directory_and_not_a_temporary_file() -> None:
    """They are compared, so that the journal has them once."""
    first, again = (
        _error(errno.ENOSPC, f"/etc/cni/net.d/.10-overlay.conflist.{it}") for it in "ab"
    )
    assert worded(first) == worded(again) == "/etc/cni/net.d: because"
    assert worded(_error(errno.EIO, None)) == "because"
    assert worded(NotReady("no underlay")) == "no underlay"


def test_a_directory_that_the_unit_may_not_write_comes_with_its_mend() -> None:
    """The unit's sandbox leaves only the usual one open."""
    said = worded(_error(errno.EROFS, "/etc/kubernetes/net.d/.x"))
    assert said.startswith("/etc/kubernetes/net.d: because; next: overlayctl install")
    assert "ReadWritePaths=" in said
