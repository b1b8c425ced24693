"""The text of our nft table: flannel's order of rules, both families by one loop."""

from ipaddress import ip_network

from overlay.rules import render_inet

V4 = (ip_network("10.5.0.0/16"), ip_network("10.5.3.0/24"))
V6 = (ip_network("fd00:5::/48"), ip_network("fd00:5:0:3::/64"))


def _rules(text: str, chain: str) -> list[str]:
    body = text.split(f"chain {chain} {{\n", 1)[1].split("\n\t}", 1)[0]
    return [line.strip().split(" comment ")[0] for line in body.splitlines()][1:]


def test_masquerading_follows_flannels_order() -> None:
    """The first rule that matches decides, so the order is the promise."""
    text = render_inet([V4], masquerade=True, fully_random=True)

    assert _rules(text, "postrouting") == [
        "meta mark & 0x4000 == 0x4000 return",
        "ip saddr 10.5.3.0/24 ip daddr 10.5.0.0/16 return",
        "ip saddr 10.5.0.0/16 ip daddr 10.5.3.0/24 return",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.3.0/24 return",
        "ip saddr 10.5.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.5.0.0/16 ip daddr 10.5.0.0/16 masquerade fully-random",
    ]


def test_no_chain_stands_in_the_way_of_each_packet() -> None:
    """NAT is asked once for a connection; a chain of accepts for forwarded packets would decide nothing."""
    text = render_inet(
        [V4, V6], masquerade=True, fully_random=False, draining=[("overlay.1", V4[1])]
    )

    hooks = [line.strip() for line in text.splitlines() if " hook " in line]
    assert hooks == ["type nat hook postrouting priority srcnat; policy accept;"]


def test_the_families_are_treated_alike() -> None:
    """What IPv4 gets, IPv6 gets, with its own words."""
    text = render_inet([V4, V6], masquerade=True, fully_random=False)
    rules = _rules(text, "postrouting")[1:]

    translated = [
        rule.replace("ip ", "ip6 ")
        .replace("10.5.3.0/24", "fd00:5:0:3::/64")
        .replace("10.5.0.0/16", "fd00:5::/48")
        .replace("224.0.0.0/4", "ff00::/8")
        for rule in rules[:5]
    ]

    assert rules[5:] == translated


def test_without_masquerading_nothing_is_rewritten() -> None:
    """The chain stays, empty, so that switching it off takes the rules away."""
    text = render_inet([V4], masquerade=False, fully_random=True)

    assert _rules(text, "postrouting") == []


def test_the_table_is_replaced_in_one_transaction() -> None:
    """add, delete, define: correct whether or not the table is there, and no other table is named."""
    lines = render_inet([V4], masquerade=True, fully_random=True).splitlines()

    assert lines[:3] == [
        "add table inet overlay",
        "delete table inet overlay",
        "table inet overlay {",
    ]
    assert not any("flush" in line for line in lines)


def test_every_brace_closes_on_a_line_of_its_own() -> None:
    """nft 1.0.6 (Debian 12) does not read a closing brace after a statement."""
    text = render_inet([V4, V6], masquerade=True, fully_random=True)

    assert all(line.strip() == "}" for line in text.splitlines() if "}" in line)


def test_every_rule_says_why_it_is_there() -> None:
    """An operator who lists the table sees the reason beside each rule."""
    text = render_inet([V4, V6], masquerade=True, fully_random=True)

    rules = [line for line in text.splitlines() if line.startswith("\t\t") and "type " not in line]
    assert rules
    assert all(' comment "' in rule for rule in rules)


def test_pods_of_an_earlier_network_keep_their_addresses_towards_each_other() -> None:
    """The network config changed; what leaves by the tunnel from old pods is not masqueraded."""
    old = ip_network("10.9.3.0/24")
    text = render_inet([V4], masquerade=True, fully_random=False, draining=[("overlay.1", old)])

    rules = _rules(text, "postrouting")
    assert rules[1] == 'oifname "overlay.1" ip saddr 10.9.3.0/24 return'
    assert "ip saddr != 10.9.3.0/24 ip daddr 10.9.3.0/24 return" in rules
    assert rules.index("ip saddr 10.9.3.0/24 ip daddr != 224.0.0.0/4 masquerade") > 1
