"""What the kernel tells of routes while something is done."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from overlay.netlink.monitor import Monitor
from overlay.netlink.namespace import run_inside
from overlay.netlink.parse import RouteInfo


@contextmanager
def listening(space: Path) -> Iterator[list[RouteInfo]]:
    """Of all routes of a namespace, complete once the block has ended."""
    monitor, events = run_inside(space, Monitor), list[RouteInfo]()
    try:
        yield events
        records = [event.record for event in monitor.read() or []]
        events += [it for it in records if isinstance(it, RouteInfo)]
    finally:
        monitor.close()
        with suppress(EOFError):
            monitor.read()
