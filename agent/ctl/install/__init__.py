"""overlayctl install: what is to be laid down, what is there, the steps between them, and all or none of them."""

from agent.ctl.install.verb import add_arguments, install

__all__ = ["add_arguments", "install"]
