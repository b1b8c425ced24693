"""The kernel's state in our own words: read what is ours, carry out steps."""

from overlay.dataplane.apply import Dataplane

__all__ = ["Dataplane"]
