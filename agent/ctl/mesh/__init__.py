"""overlayctl mesh: what all nodes say of themselves and of one another, as a table or a page."""

from agent.ctl.mesh.verb import add_arguments, mesh

__all__ = ["add_arguments", "mesh"]
