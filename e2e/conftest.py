"""What all rings of whole nodes share: what is built is built once per session."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e import images, libcni, systemdimage
from e2e.cluster import Cluster
from e2e.etcdserver import CONFIG_KEY, NETWORK
from e2e.flannelnode import CONFIG, Left, Maker, maker
from e2e.images import Images
from e2e.lab import MEMORY, Lab
from e2e.machines import Site
from e2e.node import Node
from e2e.systemdnode import SystemdNode

LONGEST = (
    *("test_demo", "test_repair", "test_etcd_faults"),
    *("test_killed_between_batches", "test_probe", "test_systemd", "test_soak"),
)
"""Files that keep one process busy the longest: begun last, one of them would have the others wait for its end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, with `--dist loadfile --no-loadscope-reorder`: xdist itself counts a file's tests."""
    ranks = {f"{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """The program may come from anywhere; it is never part of this repository."""
    parser.addoption(
        "--flanneld",
        default=os.environ.get("FLANNELD", ""),
        metavar="PATH",
        help="run the flannel cases against this flanneld instead of a replay of what it does",
    )


@pytest.fixture(scope="session")
def flanneld_program(request: pytest.FixtureRequest) -> Path | None:
    """The real flanneld, if one was given."""
    given = str(request.config.getoption("--flanneld"))
    if not given:
        return None
    path = Path(given).resolve()
    if not os.access(path, os.X_OK):
        raise pytest.UsageError(f"--flanneld {given}: no such program")
    return path


@pytest.fixture
def flannel_lab() -> Iterator[Lab]:
    """An etcd with flannel's config, and no node."""
    with Lab() as made:
        made.etcd.start()
        made.etcd.ctl("put", "/coreos.com/network/config", CONFIG)
        yield made


@pytest.fixture
def flanneld(flannel_lab: Lab, flanneld_program: Path | None) -> Maker:
    """Makes a node's flanneld."""
    return maker(flannel_lab, flanneld_program)


@pytest.fixture
def left(flannel_lab: Lab, flanneld: Maker) -> Left:
    """What an agent finds at a take-over."""
    return Left(flannel_lab, flanneld)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What all workers have shared goes with the run."""
    if not hasattr(session.config, "workerinput"):
        systemdimage.remove(os.getpid())


@pytest.fixture(scope="session")
def machine_layer(request: pytest.FixtureRequest) -> Path:
    """What the disks of all machines of this run have in common."""
    worker = hasattr(request.config, "workerinput")
    return systemdimage.of_this_run(os.getppid() if worker else os.getpid())


@pytest.fixture(scope="session")
def built_images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """pause and busybox."""
    directory: Path = tmp_path_factory.mktemp("images")
    return images.build(directory)


@pytest.fixture(scope="session")
def libcni_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client on Debian's libcni."""
    return libcni.build(tmp_path_factory.mktemp("libcni"))


@pytest.fixture
def nodes(site: Site) -> list[SystemdNode]:
    """The machines of the module's cluster."""
    return site[1]


@pytest.fixture
def lab(site: Site) -> Lab:
    """Of the module's cluster; modules without one have a lab of their own."""
    return site[0]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """An etcd of three members."""
    with Lab(root=MEMORY) as lab:
        made = Cluster(lab)
        made.start()
        yield made


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Lab, Node, Node]]:
    """Two nodes that are ready."""
    with Lab() as lab:
        lab.etcd.start()
        lab.etcd.ctl("put", CONFIG_KEY, NETWORK)
        one, two = lab.add_node("n1"), lab.add_node("n2")
        lab.start_nodes(one, two)
        yield lab, one, two
