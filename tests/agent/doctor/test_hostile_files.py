"""Files of others may hold anything: the readers of the doctor say what they understand, and never fail."""

from hypothesis import given
from hypothesis import strategies as st

from agent.ctl import programs
from agent.ctl.doctor import (
    agentside,
    conflists,
    executable,
    forwarding,
    limits,
    networkd,
    overlap,
    places,
    runtimes,
    store,
)
from agent.ctl.doctor.finding import found

LINES = st.lists(
    st.one_of(
        st.text(max_size=30),
        st.sampled_from(
            [
                "[Match]",
                "[match]",
                "Name=overlay*",
                "Name=!",
                "[Link]",
                "Unmanaged",
                "[keyfile]",
                "unmanaged-devices=interface-name:",
                "[Network]",
                "ManageForeignRoutes",
                "[plugins]",
                "imports = ['*']",
                "imports = [1]",
                "[plugins.cri]",
                "cni = 1",
                "[crio.network]",
                "plugin_dirs = 3",
                "net.ipv4.ip_forward = 0",
                "-net/ipv4/ip_forward=",
                "Max open files",
                "1 2 3 4 5 - x",
                "0: 00000000:2118 x x x x x x x 7",
                "%(x)s",
            ]
        ),
    ),
    max_size=8,
)
TEXT = LINES.map("\n".join)


@given(TEXT)
def test_text_of_any_kind_is_read_without_an_error(text: str) -> None:
    """Every reader takes every text."""
    runtimes.containerd(runtimes.CONTAINERD, {runtimes.CONTAINERD: text})
    runtimes.crio("c", [text, text])
    runtimes.imports(text)
    for device in (networkd.Device("overlay0", "bridge"), networkd.Device("", "")):
        networkd.judge(
            networkd.Facts(
                True, True, (device,), {"a": text}, {"a": text}, {"a": text}, {"a": text}
            )
        )
    forwarding.at_boot({"a": text}, "net/ipv4/ip_forward")
    overlap.pools(text)
    overlap.sockets(text, 8472)
    places.mounted(text)
    limits.entries(text)
    limits.open_files(text)
    programs.properties(text)
    agentside.last_words(text)
    store.too_old(text)
    document = conflists.parsed(text)
    assert document is None or isinstance(conflists.plugins(document), list)
    found("agent-degraded", "warning", text, text)


@given(st.binary(max_size=200), st.booleans())
def test_bytes_of_any_kind_are_some_executable(data: bytes, script: bool) -> None:
    """Settings or none, never an error."""
    executable.identify(b"#!/usr/bin/python3\n" + data if script else data, data)
