"""Taking TCP ports away from a namespace, both ways, and giving them back: partitions of a lab."""

from collections.abc import Iterator
from contextlib import contextmanager

from e2e.netns import Namespace
from e2e.process import must

_TABLE = "lab_cut"


def cut(namespace: Namespace, *ports: int, silent: bool = False) -> None:
    """Nothing passes to or from these ports; what is connected is reset, or just hears nothing if ``silent``."""
    verdict = "drop" if silent else "reject with tcp reset"
    some = f"{{ {', '.join(map(str, ports))} }}"
    rules = "".join(
        f"  chain {hook} {{ type filter hook {hook} priority -10;\n"
        f"    tcp dport {some} {verdict}\n    tcp sport {some} {verdict}\n  }}\n"
        for hook in ("input", "output")
    )
    must(namespace.inside(["nft", "-f", "-"]), stdin=f"table inet {_TABLE} {{\n{rules}}}\n")
    for port in ports if not silent else ():
        namespace.run(["ss", "-K", "dport", "=", f":{port}"])


def mend(namespace: Namespace) -> None:
    """Everything passes again; nothing cut is fine."""
    namespace.run(["nft", "delete", "table", "inet", _TABLE])


@contextmanager
def cut_off(namespace: Namespace, *ports: int, silent: bool = False) -> Iterator[None]:
    """The ports are away within the block."""
    cut(namespace, *ports, silent=silent)
    try:
        yield
    finally:
        mend(namespace)
