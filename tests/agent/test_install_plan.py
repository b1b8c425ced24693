"""overlayctl install, the pure part: which files, with what in them, and what happens to what is there."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ctl.install import manifest, service, steps, texts
from agent.ctl.install.items import Item, Wishes, items
from agent.ctl.install.service import Act, Service, due
from agent.ctl.install.site import shipped
from agent.ctl.install.steps import Action, Kind, Present, Step, digest, plan
from overlay.errors import BadConfig, BadInput
from overlay.marks import ONLY, Marks

MINE = texts.MARK + b" of some version"
ITEMS = (
    Item(
        Path("/bin/overlay"), "program", b"\x7fELF overlay-agent", 0o755, ours=(b"overlay-agent",)
    ),
    Item(Path("/etc/agent.toml"), "settings", b"# none\n", 0o600, ours=(), keep=True),
    Item(Path("/etc/x.network"), "network", b"# " + MINE),
    Item(Path("/bin/overlayctl"), "command", target="/opt/overlay/bin/overlayctl"),
)
CONTENTS = (b"", b"foreign", MINE, *(item.data for item in ITEMS))
WRITTEN = (MINE, *(item.data for item in ITEMS))
"""What an earlier installation may have left."""
TARGETS = ("/elsewhere/overlayctl", "/bin/true", "/opt/overlay/bin/overlayctl")

presents = st.one_of(
    st.just(Present()),
    st.just(Present(Kind.OTHER)),
    st.builds(
        Present,
        st.just(Kind.FILE),
        st.sampled_from(CONTENTS),
        st.sampled_from((0o600, 0o644, 0o755, 0o4755)),
    ),
    st.builds(Present, st.just(Kind.LINK), target=st.sampled_from(TARGETS)),
)
situations = st.tuples(*(presents for _ in ITEMS))


def carried_out(done: Sequence[Step], present: dict[Path, Present]) -> dict[Path, Present]:
    """The files after it, as the kernel would have them."""
    after = dict(present)
    for step in done:
        if step.changes:
            if step.saved:
                after[step.saved] = step.was
            item = step.item
            kind = Kind.LINK if item.target else Kind.FILE
            mode = 0 if item.target else item.mode
            after[item.path] = Present(kind, item.data, mode, item.target)
    return after


@given(situations, st.booleans(), st.lists(st.sampled_from(WRITTEN), max_size=4))
def test_a_second_run_has_nothing_to_do(
    found: tuple[Present, ...], force: bool, noted: list[bytes]
) -> None:
    """Whatever was there: what the first run did not refuse is as wanted, and no content of others is lost."""
    present = dict(zip((item.path for item in ITEMS), found, strict=True))
    known = {
        item.path: digest(Present(Kind.FILE, data))
        for item, data in zip(ITEMS, noted, strict=False)
    }

    first = plan(ITEMS, present, known, force=force)
    after = carried_out(first, present)
    done = manifest.after(manifest.Manifest(known), first, ())
    second = plan(ITEMS, after, done.files, force=force)

    assert not [step for step in second if step.changes]
    assert [step.item for step in steps.refusals(second)] == [
        step.item for step in steps.refusals(first)
    ]
    kept = {(was.data, was.target) for was in after.values()}
    assert all(
        (was.data, was.target) in kept for was in found if was.data == b"foreign" not in noted
    ), "somebody else's file is gone"


@given(situations)
def test_no_file_of_others_is_touched_without_force(found: tuple[Present, ...]) -> None:
    """What has no mark of ours and is not in the list stays."""
    present = dict(zip((item.path for item in ITEMS), found, strict=True))

    for step in plan(ITEMS, present, {}):
        foreign = step.was.kind is Kind.FILE and step.was.data in (b"foreign", b"")
        assert not (foreign and step.changes)
        assert not (step.item.keep and step.changes and step.was.kind is not Kind.ABSENT)


def test_what_was_changed_by_hand_is_replaced_and_kept_beside() -> None:
    """A network file that the last installation wrote and somebody edited."""
    item = ITEMS[2]
    edited = Present(Kind.FILE, item.data + b"MTU=9000\n", 0o644)

    (step,) = plan([item], {item.path: edited}, {item.path: digest(item)})

    assert (step.action, step.saved) == (Action.REPLACE, Path("/etc/x.network.before-overlay"))
    assert "by hand" in step.why


def test_a_setuid_bit_that_somebody_gave_is_taken_away() -> None:
    """The mode is part of what is compared."""
    item = ITEMS[0]

    (step,) = plan([item], {item.path: Present(Kind.FILE, item.data, 0o4755)}, {})

    assert step.action is Action.REPLACE


def _wishes(marks: Marks = ONLY, bridge: str = "overlay0") -> Wishes:
    return Wishes(
        marks=marks,
        bridge=bridge,
        cni_bin_dir=Path("/opt/cni/bin"),
        bin_dir=Path("/srv/venv/bin"),
        front=b"overlay-agent",
        front_kind="compiled",
        config_file=Path("/etc/overlay/agent.toml"),
        config=b"",
        tls={"etcd_keyfile": b"key"},
        units={name: shipped(name) for name in ("overlay-agent.service", "overlay-agent@.service")},
    )


def test_secrets_are_for_root_alone_and_nothing_is_setuid() -> None:
    """Settings may hold a password, and a key is one."""
    modes = {item.path.name: item.mode for item in items(_wishes())}

    assert modes["agent.toml"] == modes["client.key"] == 0o600
    assert not [name for name, mode in modes.items() if mode & 0o7022]


def test_units_start_the_agent_where_it_is() -> None:
    """Of the shipped file only the path of the program differs."""
    laid = {item.path.name: item.data.decode() for item in items(_wishes())}

    assert "ExecStart=/srv/venv/bin/overlay-agent\n" in laid["overlay-agent.service"]
    assert "ExecStart=/srv/venv/bin/overlay-agent --instance %i\n" in laid["overlay-agent@.service"]
    assert "/opt/overlay" not in laid["overlay-agent.service"]
    assert texts.unit("\nExecStart=/opt/overlay/bin/overlay-agent", Path("/a%b")) == (
        "\nExecStart=/a%%b/overlay-agent"
    )
    with pytest.raises(BadConfig):
        texts.unit(laid["overlay-agent.service"], Path("/srv/a b"))


def test_a_directory_that_the_unit_may_not_write_gets_a_drop_in() -> None:
    """The runtime's configuration elsewhere below /etc; the usual place needs none."""
    usual = items(replace(_wishes(), written=(Path("/etc/cni/net.d"), Path("/run/overlay"))))
    other = items(replace(_wishes(Marks("blue")), written=(Path("/etc/k3s/net.d"),)))

    assert not [item for item in usual if "service.d" in str(item.path)]
    (found,) = [item for item in other if "service.d" in str(item.path)]
    assert found.path.parent.name == "overlay-agent@blue.service.d"
    assert b"[Service]\nReadWritePaths=-/etc/k3s/net.d\n" in found.data


def test_a_bridge_of_any_name_is_kept_from_network_managers() -> None:
    """networkd, udev and NetworkManager are told the same devices, each agent in files of its own."""
    laid = {item.path.name: item.data.decode() for item in items(_wishes(Marks("blue"), "cni0"))}

    for name in ("05-overlay-blue.network", "05-overlay-blue.link", "05-overlay-blue.conf"):
        assert "cni0" in laid[name]
        assert "overlay.*" in laid[name]
        assert "ovl*" in laid[name]
    assert f"{Marks('blue').route_protocol} overlay-blue" in laid["overlay-blue.conf"]


@given(st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_setting_survives_the_file(text: str) -> None:
    """Quotes, line ends and whatever a password may have."""
    written = texts.settings({"etcd_password": text, "ip_masq": "false"}, "")

    assert tomllib.loads(written) == {"etcd_password": text, "ip_masq": False}


def test_what_systemd_is_asked_for_follows_from_what_it_says() -> None:
    """Nothing where all is as it should be; a restart only of what runs and is older than what was laid down."""
    fine = Service(
        True, "u", loaded=True, active="active", enabled=True, pid=7, readers=["NetworkManager"]
    )

    assert _second_words(due(fine, set(), "")) == []
    both = due(fine, {"systemd", "systemd-networkd"}, "it changes")
    assert _second_words(both) == ["daemon-reload", "restart"]
    assert _second_words(due(fine, {"NetworkManager"}, "")) == ["general"]
    fresh = due(Service(True, "u"), {"systemd"}, "")
    assert _second_words(fresh) == ["daemon-reload", "enable", "start"]


def _second_words(acts: Sequence[Act]) -> list[str]:
    return [act.words[1] for act in acts]


def test_units_are_named_after_the_instance() -> None:
    """As systemd's templates want it."""
    assert service.unit_of(Marks()) == "overlay-agent.service"
    assert service.unit_of(Marks("blue")) == "overlay-agent@blue.service"


@given(st.binary(max_size=60))
def test_a_list_of_any_bytes_is_refused_or_read(data: bytes) -> None:
    """What is deleted by it later is nothing that its text could lead to by a detour."""
    try:
        found = manifest.parse(Present(Kind.FILE, data))
    except BadInput:
        return
    assert all(path.is_absolute() for path in found.files)


def test_a_list_with_a_detour_is_refused() -> None:
    """It names what will be deleted."""
    bad = b'{"version":1,"files":{"/etc/../../home/x":"0"}}'

    with pytest.raises(BadInput, match="path"):
        manifest.parse(Present(Kind.FILE, bad))
