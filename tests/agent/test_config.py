"""config: flags over environment over file over defaults, and errors that name key, value and source."""

import argparse
from pathlib import Path

import pytest

from agent import config
from overlay.errors import BadConfig

BASE = {"OVERLAY_NODE_NAME": "n1", "OVERLAY_MACHINE_ID": "0" * 32}


def load(
    args: list[str], environ: dict[str, str] | None = None, *, file: Path | None = None
) -> config.Config:
    """What an agent started so would use."""
    parser = argparse.ArgumentParser()
    config.add_arguments(parser)
    where = ["--config", str(file)] if file else []
    return config.load(parser.parse_args([*where, *args]), {**BASE, **(environ or {})})


def test_each_source_wins_over_the_one_below(tmp_path: Path) -> None:
    """flags > env > file > defaults."""
    file = tmp_path / "agent.toml"
    file.write_text('bridge = "file0"\nlog_level = "debug"\netcd_prefix = "/file"\n')

    found = load(
        ["--bridge", "flag0"], {"OVERLAY_BRIDGE": "env0", "OVERLAY_ETCD_PREFIX": "/env"}, file=file
    )

    assert (found.bridge, found.etcd_prefix, found.log_level) == ("flag0", "/env", "DEBUG")
    assert found.lease_ttl == 24 * 3600


def test_toml_lists_numbers_and_booleans_are_understood(tmp_path: Path) -> None:
    """Each TOML type a person would use for a setting works."""
    file = tmp_path / "agent.toml"
    file.write_text(
        'etcd_endpoints = ["http://a:1", "http://b:2"]\nip_masq = false\nresync_interval = 5\n'
    )

    found = load([], file=file)

    assert found.etcd_endpoints == ("http://a:1", "http://b:2")
    assert (found.ip_masq, found.resync_interval) == (False, 5.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('bridgge = "x"', ["bridgge", "'x'", "did you mean bridge"]),
        ('bridge = "far-too-long-a-name"', ["bridge", "far-too-long-a-name", "interface name"]),
        ('lease_ttl = "soon"', ["lease_ttl", "'soon'", "duration"]),
        ('lease_ttl = "1s"', ["lease_ttl", "'1s'", "shorter than 5s"]),
        ('lease_ttl = "99999999h"', ["lease_ttl", "longer than a year"]),
        (f'etcd_timeout = "{"9" * 400}"', ["etcd_timeout", "longer than a year"]),
        ('etcd_endpoints = "ftp://x"', ["etcd_endpoints", "ftp://x"]),
        ('run_dir = "/"', ["run_dir", "others keep their files there"]),
        ('state_dir = "/var/lib/"', ["state_dir", "/var/lib/", "below it"]),
        ('cni_conf_dir = "net.d"', ["cni_conf_dir", "not an absolute path"]),
        ('public_ip = "300.1.1.1"', ["public_ip", "300.1.1.1"]),
        ('public_ip = "2001:db8::5"', ["not an IPv4 address", "public_ipv6"]),
        ('public_ipv6 = "192.0.2.9"', ["not an IPv6 address", "public_ip"]),
        ('iface_can_reach = "192.0.2.1,192.0.2.2"', ["more than one address of a family"]),
        ('public_ip = "127.0.0.1"', ["other nodes can send to"]),
        ('public_ipv6 = "fe80::1%eth0"', ["other nodes can send to"]),
        ('public_ipv6 = "::ffff:192.0.2.9"', ["other nodes can send to"]),
        ("ip_masq = 'maybe'", ["ip_masq", "maybe", "true nor false"]),
        ("bridge = { a = 1 }", ["bridge", "must be text"]),
        ("bridge = ", ["not TOML"]),
    ],
)
def test_a_bad_file_is_one_error_naming_key_value_and_file(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    """The operator can go straight to the line."""
    file = tmp_path / "agent.toml"
    file.write_text(text)

    with pytest.raises(BadConfig) as caught:
        load([], file=file)

    for word in [*words, str(file)]:
        assert word in str(caught.value)


def test_an_unknown_variable_is_refused() -> None:
    """A typo in a unit file is not silently ignored."""
    with pytest.raises(BadConfig, match=r"OVERLAY_BRIGDE.*did you mean bridge"):
        load([], {"OVERLAY_BRIGDE": "x"})


def test_from_the_instance_follows_what_two_agents_must_not_share(tmp_path: Path) -> None:
    """Each default, and only the defaults; without a name all is as it was."""
    file = tmp_path / "blue.toml"
    file.write_text('instance = "blue"\nrun_dir = "/run/mine"\n')

    blue, only = load([], file=file), load([])

    assert (blue.bridge, str(blue.run_dir), str(blue.state_dir)) == (
        "ovl-blue",
        "/run/mine",
        "/var/lib/overlay-blue",
    )
    assert (only.bridge, str(only.run_dir), str(only.state_dir)) == (
        "overlay0",
        "/run/overlay",
        "/var/lib/overlay",
    )
    assert (only.instance, blue.marks.table) == ("", "inet overlay-blue")


@pytest.mark.parametrize("name", ["Blue", "a_b", "-a", "a-", "a b", "twelve-chars", "a/b"])
def test_a_bad_instance_name_is_refused(tmp_path: Path, name: str) -> None:
    """It becomes part of the names of links, files and tables."""
    file = tmp_path / "agent.toml"
    file.write_text(f'instance = "{name}"\n')
    with pytest.raises(BadConfig, match=r"instance = .*not 1 to 11 of a-z, 0-9 and -"):
        load([], file=file)


def test_an_instance_that_is_named_on_the_command_line_has_a_file_of_its_own() -> None:
    """It is never taken for the first one's."""
    for flags, environ in ((["--instance", "no-such"], {}), ([], {"OVERLAY_INSTANCE": "no-such"})):
        with pytest.raises(BadConfig, match=r"/etc/overlay/no-such\.toml does not exist"):
            load(flags, environ)


def test_a_named_file_that_is_absent_is_an_error(tmp_path: Path) -> None:
    """Only the default file may be missing."""
    with pytest.raises(BadConfig, match="does not exist"):
        load([], file=tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("", "127.0.0.1:10158"),
        ('metrics_listen = ""', "None"),
        ('metrics_listen = "[::1]:80"', "[::1]:80"),
        ('instance = "blue"', "None"),
        ('instance = "blue"\nmetrics_listen = "127.0.0.1:9"', "127.0.0.1:9"),
    ],
)
def test_where_metrics_are_shown(tmp_path: Path, line: str, shown: str) -> None:
    """On the loopback; of a named instance only where it is said, for one port is for one agent."""
    file = tmp_path / "agent.toml"
    file.write_text(line)

    assert str(load(["--config", str(file)], {}).metrics_listen) == shown


@pytest.mark.parametrize(
    "text", ["10158", ":10158", "localhost:1", "127.0.0.1:0", "::1:80", "1.2.3:4"]
)
def test_a_bad_address_to_listen_at_is_refused(text: str) -> None:
    """A name could be another address tomorrow; nothing before the port would be all addresses."""
    with pytest.raises(BadConfig, match="metrics_listen"):
        load(["--metrics-listen", text], {})
