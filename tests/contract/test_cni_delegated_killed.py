"""Another IPAM plugin gives the addresses, and we are killed: its address is given back as well."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.contract import spaces
from tests.contract.cni_node import Node
from tests.contract.faults import Ended, Faulty, points
from tests.contract.spaces import difference, picture

pytestmark = [pytest.mark.contract, pytest.mark.timeout(120)]


@pytest.mark.parametrize("call", ["symlink", "rename", "sendto"])
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_another_ipam_plugins_address_is_given_back_as_well(
    space: Path, tmp_path: Path, verb: str, call: str
) -> None:
    """host-local keeps files of its own: the DEL after a kill empties them, too."""
    store = tmp_path / "host-local"
    ipam = {
        "type": "host-local",
        "dataDir": str(store),
        "ranges": [[{"subnet": "usePodCidr"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    faulty = Faulty(Node(space, tmp_path / "run"), cniVersion="1.0.0", ipam=ipam)
    before = picture(space)
    with ExitStack() as stack:

        def attempt(number: int) -> Ended:
            pods.append(stack.enter_context(spaces.namespace()))
            if verb == "DEL":
                assert "ips" in faulty.call("ADD", pods[-1], f"c{number}")
            fault = f"{call}:signal=KILL:when={number}"
            return faulty.attempt(fault, verb, pods[-1], f"c{number}")

        pods: list[Path] = []
        for number, _ in points(attempt):
            assert faulty.call("DEL", pods[-1], f"c{number}") == {}
            assert _held_by_host_local(store) == []
            assert faulty.links() == []
        assert faulty.call("DEL", pods[-1], f"c{len(pods)}") == {}

    assert _held_by_host_local(store) == []
    faulty.sweep()
    assert faulty.files() == []
    assert difference(before, picture(space)) == []


def _held_by_host_local(store: Path) -> list[str]:
    names = [path.name for path in store.rglob("*") if path.is_file()]
    return [name for name in names if name[0].isdigit()]
