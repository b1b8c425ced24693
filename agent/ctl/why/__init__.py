"""overlayctl why: the first hop between two pods that does not let their packets through."""

from agent.ctl.why.command import add_arguments, why

__all__ = ["add_arguments", "why"]
