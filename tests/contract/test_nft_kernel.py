"""libnftables against a real kernel: our table loads whole or not at all, and nobody else's is touched."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from overlay.dataplane.ruleset import Rulesets
from overlay.errors import KernelRefused
from overlay.model import Ruleset
from overlay.netlink.namespace import run_inside
from overlay.nft import Nft
from overlay.rules import TABLE, render_inet
from tests.contract.spaces import inside

pytestmark = pytest.mark.contract
V4 = (ip_network("10.5.0.0/16"), ip_network("10.5.3.0/24"))
V6 = (ip_network("fd00:5::/48"), ip_network("fd00:5:0:3::/64"))


@pytest.mark.parametrize("masquerade", [True, False])
@pytest.mark.parametrize("fully_random", [True, False])
def test_the_kernel_takes_every_form_of_our_table(
    space: Path, masquerade: bool, fully_random: bool
) -> None:
    """Both families, each option; loading it again over itself works too."""
    text = render_inet([V4, V6], masquerade=masquerade, fully_random=fully_random)
    with closing(run_inside(space, Nft)) as nft:
        nft.run(text)
        nft.run(text)
        listing = nft.list_table(TABLE)

    assert listing is not None
    assert ("masquerade" in listing) is masquerade
    assert ("fully-random" in listing) is (masquerade and fully_random)
    assert listing.count("comment") == text.count("comment")
    assert inside(space, "nft", "-s", "list", "table", "inet", "overlay") == listing


def test_a_bad_transaction_changes_nothing_and_says_why(space: Path) -> None:
    """Good commands beside a bad one are not applied either."""
    with closing(run_inside(space, Nft)) as nft:
        with pytest.raises(KernelRefused, match=r"nft refused: .*No such file"):
            nft.run("add table inet overlay\ndelete table inet no_such_table\n")

        assert nft.list_table(TABLE) is None


def test_a_listing_has_neither_counters_nor_names_of_services(space: Path) -> None:
    """Both change by themselves: packets come, and /etc/services is somebody's file."""
    with closing(run_inside(space, Nft)) as nft:
        nft.run(
            "add table inet t; add chain inet t c; add rule inet t c udp dport 53 counter packets 7 bytes 9"
        )
        listing = nft.list_table("inet t")

    assert listing is not None
    assert "udp dport 53 counter" in listing
    assert "packets 7" not in listing


def test_an_absent_table_is_none(space: Path) -> None:
    """Absence is an answer, not an error; a longer name is another table."""
    inside(space, "nft", "add", "table", "inet", "overlay2")
    with closing(run_inside(space, Nft)) as nft:
        assert nft.list_table(TABLE) is None


def test_other_programs_thousands_of_sets_and_changes_hold_up_no_look_at_ours(space: Path) -> None:
    """A look that fetches theirs begins again at each of their changes: it would not end before they do."""
    sets = "".join(
        f"set s{n} {{ type ipv4_addr; elements = {{ 10.0.0.1 }}\n}}\n" for n in range(1500)
    )
    with closing(run_inside(space, Nft)) as nft, closing(run_inside(space, Nft)) as other:
        other.run(f"table ip foreign {{\n{sets}}}\n")
        nft.run(render_inet([V4], masquerade=True, fully_random=True))
        begun, looked = threading.Event(), threading.Event()

        def change() -> bool:
            """True if the looks ended while it was at it."""
            end = time.monotonic() + 30
            while not looked.wait(0.02) and time.monotonic() < end:
                other.run("add element ip foreign s1 { 10.0.0.2 }\n")
                other.run("delete element ip foreign s1 { 10.0.0.2 }\n")
                begun.set()
            return looked.is_set()

        with ThreadPoolExecutor() as pool:
            changing = pool.submit(change)
            assert begun.wait(30)
            for _ in range(5):
                assert nft.list_table(TABLE)
                assert nft.list_table("inet absent") is None
            looked.set()
            assert changing.result(), "the look ended only after the last change"


def test_a_freshly_started_agent_knows_its_table(space: Path, tmp_path: Path) -> None:
    """The digests on disk tell an untouched table from a changed one and from an older wish."""
    wanted = Ruleset(TABLE, render_inet([V4], masquerade=True, fully_random=True))
    digests = tmp_path / "nft.json"
    with closing(run_inside(space, lambda: Rulesets(digests))) as first:
        assert first.read(wanted) is None
        first.write(wanted, delete=False)
        assert first.changes == 1

    with closing(run_inside(space, lambda: Rulesets(digests))) as second:
        assert second.read(wanted) == wanted
        assert second.changes == 0
        other = Ruleset(TABLE, render_inet([V4], masquerade=False, fully_random=True))
        assert second.read(other) not in (None, other)

        inside(space, "nft", "flush", "chain", "inet", "overlay", "postrouting")
        assert second.read(wanted) not in (None, wanted)


def test_damaged_digests_only_cost_a_reload(space: Path, tmp_path: Path) -> None:
    """What cannot be read is as if it were not there."""
    wanted = Ruleset(TABLE, render_inet([V4], masquerade=True, fully_random=True))
    digests = tmp_path / "nft.json"
    with closing(run_inside(space, lambda: Rulesets(digests))) as rulesets:
        rulesets.write(wanted, delete=False)
        digests.write_bytes(b'{"half')

        assert rulesets.read(wanted) not in (None, wanted)

        rulesets.write(wanted, delete=False)
        assert rulesets.read(wanted) == wanted


def test_digests_that_cannot_be_written_keep_no_table_from_being_loaded(
    space: Path, tmp_path: Path
) -> None:
    """As on a full /run: the loop that mends does not end, and does not load it again and again."""
    wanted = Ruleset(TABLE, render_inet([V4], masquerade=True, fully_random=True))
    digests = tmp_path / "nft.json"
    (digests / "in the way").mkdir(parents=True)
    with closing(run_inside(space, lambda: Rulesets(digests))) as rulesets:
        rulesets.write(wanted, delete=False)
        assert rulesets.read(wanted) == wanted

        inside(space, "nft", "flush", "chain", "inet", "overlay", "postrouting")
        assert rulesets.read(wanted) not in (None, wanted)


def test_other_peoples_tables_stay(space: Path, tmp_path: Path) -> None:
    """Loading and deleting ours leaves the rest of the ruleset as it was."""
    inside(space, "nft", "add", "table", "inet", "filter")
    inside(space, "nft", "add", "table", "ip", "overlay")
    before = inside(space, "nft", "list", "ruleset")
    wanted = Ruleset(TABLE, render_inet([V4, V6], masquerade=True, fully_random=True))
    with closing(run_inside(space, lambda: Rulesets(tmp_path / "nft.json"))) as rulesets:
        rulesets.write(wanted, delete=False)
        rulesets.write(wanted, delete=True)
        rulesets.write(wanted, delete=True)

    assert inside(space, "nft", "list", "ruleset") == before
