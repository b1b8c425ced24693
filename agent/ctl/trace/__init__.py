"""overlayctl trace: a pod's packets inside and outside of the tunnel, live."""

from agent.ctl.trace.verb import add_arguments, trace

__all__ = ["add_arguments", "trace"]
