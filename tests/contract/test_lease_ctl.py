"""overlayctl reserve, release, node remove and leases --stale on a real etcd: what is said, done, and the exit code."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.ctl import main as overlayctl
from agent.etcd import Etcd
from agent.registry import Registry
from overlay.schema import format_lease
from tests.contract.etcd_server import Server
from tests.contract.nodes import CONFIG, NETWORK, Living, identity, network, take, tunnels

pytestmark = pytest.mark.contract

Ctl = Callable[..., tuple[int, str]]


@pytest.fixture
def registry(etcd_server: Server, prefix: str) -> Iterator[Registry]:
    """A registry with a network config."""
    store = Etcd([etcd_server.url], timeout_s=20)
    made = Registry(store, prefix)
    made.write_network(CONFIG)
    yield made
    made.close()


@pytest.fixture
def ctl(
    registry: Registry,
    etcd_server: Server,
    prefix: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Ctl:
    """(exit code, stdout and stderr) of one call on node 99."""
    words = [
        "--etcd-endpoints",
        etcd_server.url,
        "--etcd-prefix",
        prefix,
        "--run-dir",
        str(tmp_path),
    ]
    words += ["--node-name", "n99", "--machine-id", f"{99:032x}", "--etcd-timeout", "20s"]

    def call(verb: str, *given: str) -> tuple[int, str]:
        capsys.readouterr()
        code = overlayctl.main([verb, *words, *given])
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


def test_a_subnet_is_reserved_for_a_node_and_freed_again(ctl: Ctl, registry: Registry) -> None:
    """The node gets it, whoever asks before; released, it is anybody's."""
    assert ctl("reserve", "10.5.7.0/24", "--node", "n5", "--address", "198.18.0.5")[0] == 0
    code, text = ctl(
        "reserve", "10.5.7.0/24", "--node", "n5", "--address", "198.18.0.5", "--output=json"
    )
    assert (code, json.loads(text)["written"]) == (0, False)
    assert registry._etcd.range(f"{registry.prefix}/subnets/10.5.7.0-24").records[0].value == (
        b'{"PublicIP":"198.18.0.5","PublicIPv6":null,"Node":"n5"}'
    )
    assert take(registry, 1, net=NETWORK).key != "10.5.7.0-24"
    held = take(registry, 5, net=NETWORK)
    assert (held.key, held.etcd_lease) == ("10.5.7.0-24", 0)

    code, text = ctl("release", "10.5.7.0/24")
    assert (code, "is not a reservation but the lease of n5 (address 198.18.0.5" in text) == (
        2,
        True,
    )
    registry.release(held)
    code, text = ctl("release", "10.5.7.0/24")
    assert (code, "held by a reservation for n5" in text) == (0, True)
    assert "10.5.7.0-24" not in registry.snapshot().leases
    assert ctl("release", "10.5.7.0/24")[0] == 64


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("10.5.7.0/24", "--address", "127.0.0.1"), "not an address that other nodes can send to"),
        (("10.5.7.0/24", "--address", "0.0.0.0"), "not an address that other nodes can send to"),
        (("10.5.7.0/24,fd00:5:0:7::/64", "--address", "fe80::1%eth0"), "other nodes can send to"),
        (("10.5.7.0/24", "--node", "n5"), "a node has a /24 of 10.5.1.0/24 to .* and a /64 of"),
        (("10.5.7.0/25,fd00:5:0:7::/64", "--node", "n5"), "no node could take 10.5.7.0/25"),
        (("10.5.7.7/32",), "10.5.7.7/32 is a single address"),
        (("fd00:5:0:7::/64",), "flannel reads no such key"),
    ],
)
def test_what_no_node_could_take_or_read_is_not_reserved(
    ctl: Ctl, registry: Registry, words: tuple[str, ...], why: str
) -> None:
    """In a network of both families. Nothing is written; what is whole is taken as it is."""
    both = network("10.5.0.0/16", v6="fd00:5::/48")
    registry.write_network(
        b'{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:5::/48","Backend":{"Type":"vxlan"}}'
    )
    code, text = ctl("reserve", *words)
    assert (code, bool(re.search(why, text))) == (64, True), text
    assert not registry.snapshot().leases
    assert not registry.snapshot().unreadable

    assert ctl("reserve", "10.5.7.0/24,fd00:5:0:7::/64", "--node", "n5")[0] == 0
    held = registry.claim(identity(5), both, tunnels(5, v6=True), ttl_s=60)
    assert held.lease.key == "10.5.7.0-24&fd00:5:0:7::-64"


def test_what_is_held_is_not_reserved_and_the_holder_is_named(ctl: Ctl, registry: Registry) -> None:
    """Any overlap counts; so does a subnet that is not of the network."""
    held = take(registry, 1, net=NETWORK)
    wider = str(held.endpoints[0].subnet.supernet())

    code, text = ctl("reserve", wider)
    assert code == 1
    assert f"cannot be reserved, {held.key} is held by n1 (address 198.18.0.1" in text
    assert "unless renewed" in text
    code, text = ctl("reserve", "10.9.0.0/24")
    assert (code, "10.9.0.0/24 is outside of the network 10.5.0.0/16" in text) == (64, True)
    assert ctl("reserve", "nonsense")[0] == 64
    code, text = ctl("reserve", "10.5.9.0/24", "--address", "fd00::1")
    assert (code, "fd00::1 is of another family than 10.5.9.0/24" in text) == (64, True)


def test_a_living_lease_is_released_by_force_only_and_the_own_one_by_leave(
    ctl: Ctl, registry: Registry
) -> None:
    """It says whose pods it would cut off."""
    held, own = take(registry, 1, net=NETWORK), take(registry, 99, net=NETWORK)

    code, text = ctl("release", own.key)
    assert (code, "next: overlayctl leave" in text) == (64, True)
    code, text = ctl("release", held.key)
    assert (code, "overlayctl node remove n1" in text) == (2, True)
    assert ctl("release", held.key, "--force")[0] == 0
    assert list(registry.snapshot().leases) == [own.key]
    assert registry._etcd.time_to_live(held.etcd_lease) == -1


def test_a_lease_without_a_name_is_called_by_its_address(
    ctl: Ctl, registry: Registry, etcd_server: Server, prefix: str
) -> None:
    """flanneld writes no names: the command that is said can be typed."""
    record = '{"PublicIP":"198.18.0.9","BackendType":"vxlan","BackendData":{"VtepMAC":"02:00:00:00:00:09"}}'
    etcd_server.ctl("put", f"{prefix}/subnets/10.5.9.0-24", record)
    assert registry.snapshot().leases
    code, text = ctl("release", "10.5.9.0/24")
    assert code == 2
    assert "overlayctl node remove 198.18.0.9; or" in text


def test_a_node_that_answers_is_not_removed(
    ctl: Ctl, registry: Registry, etcd_server: Server
) -> None:
    """Without --force; and its record is as before."""
    living = Living(etcd_server.url, registry.prefix, 1)
    try:
        code, text = ctl("node", "remove", "n1")
        assert (code, "is alive: its agent answers" in text) == (2, True)
        lease = registry.snapshot().leases[living.claimed.lease.key]
        assert (lease.content(), lease.challenge) == (living.claimed.lease.content(), "")
    finally:
        living.stop()


def test_a_node_that_drains_an_old_subnet_is_not_removed(
    ctl: Ctl, registry: Registry, etcd_server: Server, prefix: str
) -> None:
    """It answers for the record it holds; the old one, though nobody answers for it, stays as well."""
    living = Living(etcd_server.url, registry.prefix, 1)
    old = f"{prefix}/subnets/10.4.9.0-24"
    end = replace(living.claimed.lease.endpoints[0], subnet=ip_network("10.4.9.0/24"))
    registry._etcd.put(old, format_lease(replace(living.claimed.lease, endpoints=(end,))))
    try:
        code, text = ctl("node", "remove", "n1")
        assert (code, "is alive: its agent answers" in text) == (2, True)
        assert {*registry.snapshot().leases} == {"10.4.9.0-24", living.claimed.lease.key}
    finally:
        living.stop()


def test_a_dead_node_is_removed_by_name_and_its_subnet_is_used_last(
    ctl: Ctl, registry: Registry
) -> None:
    """Record and etcd lease are gone, the mark is written; an unknown name is said."""
    held = take(registry, 1, net=NETWORK)
    code, text = ctl("node", "remove", "n1", "--output", "json")
    assert (code, json.loads(text)["records"]) == (0, [f"{held.key} is free"])
    assert registry.snapshot().leases == {}
    assert registry._etcd.time_to_live(held.etcd_lease) == -1
    mark = registry._etcd.range(f"{registry.prefix}/overlay/used/{held.key}").records[0]
    assert b'"removed"' in mark.value
    code, text = ctl("node", "remove", "n1")
    assert (code, "no lease of a node 'n1'" in text) == (64, True)


def test_two_machines_of_one_name_are_told_apart(ctl: Ctl, registry: Registry) -> None:
    """The machine id or the address names one of them."""
    first = take(registry, 1, net=NETWORK)
    double = replace(identity(2), node="n1")
    second = registry.claim(double, NETWORK, tunnels(2), ttl_s=60).lease

    code, text = ctl("node", "remove", "n1")
    assert (code, "is 2 machines" in text) == (64, True)
    assert ctl("node", "remove", "198.18.0.2", "--force")[0] == 0
    assert list(registry.snapshot().leases) == [first.key] != [second.key]


def test_what_nobody_looks_after_is_listed(ctl: Ctl, registry: Registry, prefix: str) -> None:
    """An unused reservation, a flannel record without expiry, garbage; not what is renewed."""
    store, start = registry._etcd, f"{prefix}/subnets/"
    fresh = take(registry, 1, net=NETWORK)
    foreign = format_lease(replace(fresh, node="", machine_id="", version=""))
    store.put(start + "10.5.200.0-24", b"{}")
    store.put(start + "10.5.201.0-24", foreign)
    store.put(start + "10.5.202.0-24", b"garbage")

    code, text = ctl("leases", "--stale", "--output", "json")
    rows = {row["subnet"]: row["stale"] for row in json.loads(text)}
    assert (code, rows) == (
        0,
        {
            "10.5.200.0/24": "a reservation that nobody uses",
            "10.5.201.0/24": "written by another agent, without expiry",
            "10.5.202.0-24": "unreadable",
        },
    )
    assert "stale: 3" in ctl("leases", "--stale")[1]
    code, text = ctl("leases")
    assert (code, text.splitlines()[-1]) == (
        0,
        "leases: 2, reservations: 1, unreadable: 1, conflicts: 0",
    )


def test_conflicts_are_counted_and_the_younger_one_is_marked(
    ctl: Ctl, registry: Registry, prefix: str
) -> None:
    """One VTEP MAC at two addresses: the older record stands."""
    first = take(registry, 1, net=NETWORK)
    end = replace(first.endpoints[0], underlay=tunnels(2)[first.endpoints[0].family].underlay)
    copy = format_lease(replace(first, endpoints=(end,), machine_id="b" * 32))
    registry._etcd.put(f"{prefix}/subnets/10.5.240.0-24", copy)

    code, text = ctl("leases")
    assert (code, f"contradicts the older {first.key}" in text) == (0, True)
    assert text.splitlines()[-1].endswith("conflicts: 1")


def test_leave_without_an_agent_gives_back_only_what_nobody_needs(
    ctl: Ctl, registry: Registry, etcd_server: Server, tmp_path: Path
) -> None:
    """Not the subnet of pods, nor that of a living machine with a copy of our machine id; else it does."""
    living = Living(etcd_server.url, registry.prefix, 99)
    try:
        code, text = ctl("leave")
        assert (code, "is alive: its agent answers" in text) == (2, True)
    finally:
        living.stop()
    journal = tmp_path / "attachments" / "overlay" / "pod.json"
    journal.parent.mkdir(parents=True)
    journal.write_text("{}")
    code, text = ctl("leave")
    assert (code, "1 pods are attached" in text) == (2, True)
    assert list(registry.snapshot().leases) == [living.claimed.lease.key]

    journal.unlink()
    code, text = ctl("leave")
    assert (code, f"gave back {living.claimed.lease.key}" in text) == (0, True)
    assert registry.snapshot().leases == {}


def test_without_etcd_every_verb_says_so_in_one_sentence(ctl: Ctl) -> None:
    """Exit code 2, unreachable, and nothing on stdout that a script could take for an answer."""
    away = ("--etcd-endpoints", "http://127.0.0.1:1", "--output", "json")
    for words in (
        ("leases",),
        ("leases", "--stale"),
        ("reserve", "10.5.7.0/24"),
        ("release", "10.5.7.0/24"),
        ("node", "remove", "n1"),
        ("init", "--network", "10.5.0.0/16"),
        ("leave",),
    ):
        code, text = ctl(*words, *away)
        assert (code, len(text.splitlines())) == (2, 2), text
        assert text.startswith(
            "overlayctl: etcd at http://127.0.0.1:1: connection refused\n  next: "
        )
