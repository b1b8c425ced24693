"""A machine's directories for a node of a lab: what is written there is seen by that node's commands alone.

A mount namespace for each command, with an overlay over each directory; its upper layer lies in the node's work
directory, which therefore has to be on a tmpfs (``Lab(root=MEMORY)``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.node import Node
from e2e.process import Said, run

DIRECTORIES = ("/etc", "/opt", "/usr/local", "/var/lib")
_SCRIPT = """\
set -e
mount --make-rprivate /
if [ -d /run/systemd ]; then mount -t tmpfs tmpfs /run/systemd; fi
for directory in $DIRECTORIES; do
    name=$(echo "$directory" | tr / -)
    work=$UPPER/.$name-$$
    mkdir -p "$UPPER/$name" "$work"
    mount -t overlay overlay -o "lowerdir=$directory,upperdir=$UPPER/$name,workdir=$work" "$directory"
done
exec "$@"
"""
"""Where systemd runs the machine, it is hidden: a node of a lab has none, and must not talk to the machine's.

A work directory for each command: a mount empties it, of which two at once fail, and takes it from those before.
"""


@dataclass(frozen=True, slots=True)
class OwnFiles:
    """Of one node."""

    node: Node

    @property
    def upper(self) -> Path:
        """What differs from the machine's."""
        return self.node.work / "files"

    def inside(self, words: Sequence[str | Path]) -> list[str | Path]:
        """The command that runs ``words`` on this node, with these files."""
        wrapped = ["unshare", "--mount", "--", "sh", "-c", _SCRIPT, "sh", *words]
        return self.node.namespace.inside(wrapped)

    @property
    def environ(self) -> Mapping[str, str]:
        """What `inside` needs."""
        return {"DIRECTORIES": " ".join(DIRECTORIES), "UPPER": str(self.upper)}

    def run(self, words: Sequence[str | Path]) -> Said:
        """Run it, whatever its exit code."""
        return run(self.inside(words), environ=self.environ, timeout_s=60)

    def differing(self) -> list[str]:
        """Files that are not as the machine has them, and directories that it has not."""
        return [
            str(path.relative_to(self.upper))
            for name in DIRECTORIES
            for path in sorted((self.upper / name.replace("/", "-")).rglob("*"))
            if not path.is_dir() or not self._original(path, name).is_dir()
        ]

    def _original(self, path: Path, name: str) -> Path:
        return Path(name) / path.relative_to(self.upper / name.replace("/", "-"))
