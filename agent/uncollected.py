"""Python's search for garbage, put off while thousands of objects are made that are all to stay.

It is started by the number of new objects and goes through all that is alive, again and again while that grows: a tenth
to a fifth of the time in which thousands of peers are judged. What it looks for, cycles, none of that work makes.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No search in any thread meanwhile; of two at once the first that ends ends it for both."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
