"""systemd-networkd, udev and NetworkManager: whose files say that our devices are theirs."""

from dataclasses import replace

from agent.ctl.doctor.networkd import Device, Facts, judge, matching, unmanaged

BRIDGE, TUNNEL = Device("overlay0", "bridge"), Device("overlay.1", "vxlan")
POD, ETH = Device("ovl0000000", "veth"), Device("eth0", "", ours=False)
CATCH_ALL = "[Match]\nName=*\n\n[Network]\nDHCP=yes\n"
WIRED = "[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n"
OURS = "[Match]\nName=overlay.* overlay-v6.* ovl* ovl6.* overlay0\n\n[Link]\nUnmanaged=yes\n"
DEFAULT_LINK = (
    "[Match]\nOriginalName=*\n[Link]\nNamePolicy=keep kernel\nMACAddressPolicy=persistent\n"
)
FACTS = Facts(networkd=True, devices=(BRIDGE, TUNNEL, POD, ETH))
ETC = "/etc/systemd/network"


def ids(facts: Facts) -> list[str]:
    """What is found."""
    return [one.id for one in judge(facts)]


def test_a_file_that_fits_our_devices_is_named_unless_one_before_it_leaves_them_alone() -> None:
    """networkd takes the first by name; then its deleting of foreign routes matters, too."""
    caught = replace(FACTS, networks={f"{ETC}/50-all.network": CATCH_ALL})
    findings = judge(caught)
    assert [one.id for one in findings] == ["networkd-manages"] * 3 + ["networkd-routes"]
    assert f"{ETC}/50-all.network fits overlay0" in findings[0].title
    ours = {**caught.networks, f"{ETC}/05-overlay.network": OURS}
    assert ids(replace(caught, networks=ours)) == []
    assert ids(replace(caught, networkd=False)) == []


def test_routes_by_the_underlay_are_in_danger_only_where_there_are_any() -> None:
    """Direct routing, and a managed underlay; a drop-in that says no ends it."""
    wired = replace(FACTS, networks={f"{ETC}/20-wired.network": WIRED})
    assert ids(wired) == []
    direct = replace(wired, direct=True)
    assert ids(direct) == ["networkd-routes"]
    no = {"/etc/systemd/networkd.conf.d/a.conf": "[Network]\nManageForeignRoutes=no\n"}
    assert ids(replace(direct, conf=no)) == []


def test_udevs_persistent_macs_matter_for_a_device_that_has_a_made_up_one() -> None:
    """By the kernel's own word for it; the agent states each MAC, so only others' devices have such."""
    links = {"/usr/lib/systemd/network/99-default.link": DEFAULT_LINK}
    made_up = replace(FACTS, networkd=False, links=links, devices=(replace(BRIDGE, assigned="1"),))
    assert ids(made_up) == ["mac-policy"]
    assert ids(replace(made_up, devices=(replace(BRIDGE, assigned="3"),))) == []
    none = "[Match]\nOriginalName=overlay*\n[Link]\nMACAddressPolicy=none\n"
    assert ids(replace(made_up, links={**links, "/etc/systemd/network/10-o.link": none})) == []


def test_networkmanager_has_to_be_told() -> None:
    """All three names; by [keyfile], += included, or by a [device] section; "except" takes back."""
    running = replace(FACTS, networkd=False, manager=True)
    assert ids(running) == ["networkmanager"]
    assert "overlay0, overlay.1, ovl0000000" in judge(running)[0].title
    for text in (
        "[keyfile]\nunmanaged-devices=interface-name:overlay*;interface-name:ovl*\n",
        "[keyfile]\nunmanaged-devices+=interface-name:overlay.*;interface-name:ovl*;interface-name:overlay0\n",
        "[device-overlay]\nmatch-device=interface-name:ovl*,interface-name:overlay*\nmanaged=0\n",
    ):
        assert ids(replace(running, nm={"a": text})) == [], text
    almost = "[keyfile]\nunmanaged-devices=interface-name:*;except:interface-name:overlay0\n"
    assert not unmanaged({"a": almost}, "overlay0")
    assert unmanaged({"a": almost}, "overlay.1")


def test_a_match_that_asks_for_more_than_names_is_taken_not_to_fit() -> None:
    """A driver, a path: not known here, and no false alarm is made of it; neither of a broken file."""
    assert matching({"a": "[Match]\nName=*\nDriver=virtio\n"}, BRIDGE) is None
    assert matching({"a": "[Match]\nName=!eth0\n"}, BRIDGE) == "a"
    assert matching({"a": "[Match]\nKind=bridge\n"}, BRIDGE) == "a"
    assert matching({"a": "no section at all", "b": "[Match]\n"}, BRIDGE) is None
