"""The page that the agent leaves for others, as far as there is one."""

from pathlib import Path

from overlay.errors import NotReady
from overlay.nodefile import NodePage, read_page


def page(run_dir: Path) -> NodePage | None:
    """None where no agent has been ready yet."""
    try:
        return read_page(run_dir)
    except NotReady:
        return None
