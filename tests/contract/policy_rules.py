"""Policy rules of other programs that are in nobody's way."""

BESIDE = (
    "ip route add default via 192.0.2.254 table 51820",
    "ip rule add lookup main suppress_prefixlength 0 pref 900",
    "ip rule add not fwmark 51820 lookup 51820 pref 901",
    "ip route add 10.5.0.0/16 via 192.0.2.9 table 100",
    "ip rule add fwmark 0x200/0xf00 lookup 100 pref 9",
    "ip rule add from 192.0.2.1 lookup 100 pref 10",
    "ip rule add to 192.0.2.0/24 lookup 100 pref 11",
    "ip rule add iif far0 lookup 100 pref 12",
    "ip rule add uidrange 1000-1000 lookup 100 pref 13",
    "ip route add 100.64.0.7 via 192.0.2.9 table 52",
    "ip route add throw 10.5.0.0/16 table 52",
    "ip route add 10.5.0.0/17 via 10.5.2.0 dev overlay.1 onlink table 52",
    "ip rule add lookup 52 pref 14",
    "ip rule add lookup 53 pref 15",
    "ip rule add pref 16 to 10.5.0.0/16 lookup main",
    "ip rule add lookup 100 pref 17",
)
"""As wg-quick, Cilium, a host with two uplinks and Tailscale make them; behind the rule 16 it is too late."""
