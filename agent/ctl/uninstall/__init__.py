"""overlayctl uninstall: what is here of ours, what is done about it, and what is left, by looking again."""

from agent.ctl.uninstall.verb import add_arguments, uninstall

__all__ = ["add_arguments", "uninstall"]
