"""overlayctl in a process that stays: one node's operator, for tests that ask very often.

What it saves is Python's start, 0.3 s each time; the command line and the answer are those of the program.

    python -m e2e.console        a JSON list of arguments per line; answers {"code", "out", "err"} per line
"""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

from agent.ctl.main import main as overlayctl
from e2e.netns import Namespace
from e2e.process import CommandFailed, Said, conversation


class Operator:
    """At a node; a client of its lab."""

    def __init__(self, namespace: Namespace) -> None:
        words = namespace.inside([Path(sys.executable), "-m", "e2e.console"])
        self._child = conversation(words)

    @property
    def pid(self) -> int | None:
        """While it runs."""
        return self._child.pid

    def says(self, *arguments: str) -> Said:
        """Run overlayctl to its end."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps(arguments) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise CommandFailed(f"the operator's process ended at overlayctl {arguments}")
        return Said(**json.loads(line))

    def close(self) -> None:
        """End it."""
        self._child.kill()
        self._child.wait(10)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()


def main() -> int:
    """Until the other side has no more questions."""
    answers = sys.stdout
    for line in sys.stdin:
        out, err = io.StringIO(), io.StringIO()
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = overlayctl(json.loads(line))
        except SystemExit as end:  # argparse
            code = int(end.code or 0)
        said = {"code": code, "out": out.getvalue(), "err": err.getvalue()}
        print(json.dumps(said), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
