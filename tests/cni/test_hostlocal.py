"""host-local's files: what is written there is whole, or not there."""

import resource
from pathlib import Path

import pytest

from cni import hostlocal
from cni.owner import Owner
from overlay.errors import AddressTaken

OWNER = Owner("overlay", "c1", "eth0")


def test_a_disk_that_takes_nothing_leaves_no_empty_file(tmp_path: Path) -> None:
    """An empty one would be somebody else's for ever after."""
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # a write then fails, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            hostlocal.reserve(tmp_path, "10.5.1.2", OWNER)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
    assert hostlocal.reserve(tmp_path, "10.5.1.2", OWNER)


def test_an_allocation_is_made_once_and_never_over_anothers(tmp_path: Path) -> None:
    """In the very bytes that host-local writes."""
    assert hostlocal.reserve(tmp_path, "10.5.1.2", OWNER)
    assert not hostlocal.reserve(tmp_path, "10.5.1.2", OWNER)
    with pytest.raises(AddressTaken, match=r"10\.5\.1\.2 of eth0 of container c2"):
        hostlocal.reserve(tmp_path, "10.5.1.2", Owner("overlay", "c2", "eth0"))
    assert [path.name for path in tmp_path.iterdir()] == ["10.5.1.2"]
    assert (tmp_path / "10.5.1.2").read_bytes() == b"c1\r\neth0"
