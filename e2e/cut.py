"""Taking a TCP port away from a namespace, both ways, and giving it back: partitions of a lab."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.netns import Namespace
from e2e.process import must

_TABLE = "inet lab_cut"


def cut(namespace: Namespace, port: int, *, silent: bool = False) -> None:
    """Nothing passes to or from ``port``; what is connected is reset, unless ``silent``: then it just hears nothing."""
    verdict = "drop" if silent else "reject with tcp reset"
    rules = "".join(
        f"  chain {hook} {{ type filter hook {hook} priority -10;\n"
        f"    tcp dport {port} {verdict}\n    tcp sport {port} {verdict}\n  }}\n"
        for hook in ("input", "output")
    )
    must(namespace.inside(["nft", "-f", "-"]), stdin=f"table {_TABLE} {{\n{rules}}}\n")
    if not silent:
        namespace.run(["ss", "-K", "dport", "=", f":{port}"])


def mend(namespace: Namespace) -> None:
    """Everything passes again; nothing cut is fine."""
    namespace.run(["nft", "delete", "table", *_TABLE.split()])


@contextmanager
def cut_off(namespace: Namespace, port: int, *, silent: bool = False) -> Iterator[None]:
    """The port is away within the block."""
    cut(namespace, port, silent=silent)
    try:
        yield
    finally:
        mend(namespace)
