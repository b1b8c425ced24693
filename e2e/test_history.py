"""Who had an address, when, and on which node: asked anywhere, written with and without an agent, over a reboot."""

import shutil
import time
from typing import Any

import pytest

from cni import diary, pods
from e2e.lab import Lab
from e2e.node import Node, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


def rows(node: Node, *words: str) -> list[tuple[str, str, str]]:
    """Node, container and end, the youngest first."""
    found: Any = node.ask("history", *words)
    return [(it["node"], it["container"], it["end"]) for it in found["rows"]]


def test_both_nodes_know_who_had_it_and_when(pair: tuple[Lab, Node, Node]) -> None:
    """The address is n2's; the second pod is attached and detached while n2 has no agent."""
    lab, one, two = pair
    first = lab.add_pod(two)
    ip, between = str(first.address), time.time()
    wait_for(lambda: bool(rows(one, ip)), "n1 has asked n2", timeout_s=40)
    lab.remove_pod(first)
    two.kill_agent()
    late = lab.add_pod(two)
    lab.remove_pod(late)

    assert rows(two, late.container) == [("n2", late.container, "del")]
    silent = one.overlayctl("history", ip, "--timeout", "1")
    assert silent.code == 2
    assert "n2 did not answer within 1 s" in silent.out

    two.start_agent()
    two.wait_ready(peers=1)
    at = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(between))
    for asker in (one, two):  # n2 may not hear at once
        wait_for(lambda: rows(asker, ip) == [("n2", first.container, "del")], "so", timeout_s=40)  # noqa: B023
        said = asker.overlayctl("history", ip, "--at", at)
        assert said.code == 0
        assert f"{first.name} on n2, from " in said.out
        assert "(deleted)" in said.out
    assert rows(one, f"default/{late.name}") == [("n2", late.container, "del")]
    assert one.overlayctl("history", ip, "--at", "2001-01-01").code == 1


def test_a_reboot_ends_all_and_the_next_holder_is_told_apart(pair: tuple[Lab, Node, Node]) -> None:
    """The run directory is gone, the history is not; garbage in it is counted."""
    lab, _, two = pair
    pod = lab.add_pod(two)
    ip = str(pod.address)
    wait_for(lambda: bool(rows(two, ip)), "it is written down", timeout_s=40)
    two.kill_agent()
    shutil.rmtree(two.run_dir)
    journal = two.work / "state" / diary.DIRECTORY / diary.NAME
    journal.write_bytes(
        journal.read_bytes().replace(pods.boot_id().encode(), b"a-former-boot") + b"\n{torn"
    )

    two.start_agent()
    two.wait_ready(peers=1)

    wait_for(
        lambda: rows(two, pod.container) == [("n2", pod.container, "reboot")], "ended", timeout_s=40
    )
    assert "1 lines of the history could not be read" in two.overlayctl("history", ip).out
