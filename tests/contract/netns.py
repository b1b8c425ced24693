"""A throw-away network namespace, and iproute2 as the independent oracle inside it."""

import json
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from overlay.netlink.namespace import run_inside

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Namespace:
    """A named network namespace. ``path`` can be opened or given to Netlink.in_namespace."""

    name: str

    @property
    def path(self) -> Path:
        """Where `ip netns` keeps it."""
        return Path("/run/netns") / self.name

    def run(self, work: Callable[[], Result]) -> Result:
        """Run a function inside, in a thread of its own that ends there."""
        return run_inside(self.path, work)

    def ip(self, arguments: str) -> Any:  # noqa: ANN401 - iproute2's JSON
        """``ip -j`` inside; the decoded answer, an empty list where it printed nothing."""
        return self._json(f"ip -n {self.name} -j -d {arguments}")

    def bridge(self, arguments: str) -> Any:  # noqa: ANN401 - iproute2's JSON
        """``bridge -j`` inside."""
        return self._json(f"bridge -n {self.name} -j -d {arguments}")

    def command(self, line: str, *, stdin: str | None = None) -> str:
        """Any command inside; its output. Fails the test if it fails."""
        words = ["ip", "netns", "exec", self.name, *line.split()]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return done.stdout

    def _json(self, line: str) -> Any:  # noqa: ANN401 - iproute2's JSON
        done = subprocess.run(line.split(), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return json.loads(done.stdout or "[]")


@contextmanager
def namespace(prefix: str = "ct") -> Iterator[Namespace]:
    """Make one, and delete it with all that is in it."""
    made = Namespace(f"{prefix}-{secrets.token_hex(4)}")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=True)
