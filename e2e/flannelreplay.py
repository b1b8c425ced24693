"""What flanneld does at a start, by ip(8), iptables(8) and etcdctl, for a lab without the program.

In the order of flanneld v0.28 (main.go, pkg/backend/vxlan, pkg/subnet/etcd/local_manager.go,
pkg/trafficmngr/iptables), with its conditions: where it would end, this raises CommandFailed.
"""

import json
import secrets
import shutil
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from e2e import flannel
from e2e.etcdserver import PREFIX
from e2e.lab import Lab
from e2e.node import Node
from e2e.process import CommandFailed, Daemon

FIRST_SUBNET = "10.5.72.0/24"
"""What is taken where flanneld would draw one."""
DEVICE = f"flannel.{flannel.VNI}"


class Replayed:
    """One node's flanneld; between its calls only a process of its name lives."""

    def __init__(self, lab: Lab, node: Node) -> None:
        self.env = node.work / "flannel-subnet.env"
        self._lab, self._etcd, self._node, self._space = lab, lab.etcd, node, node.namespace
        self._process: Daemon | None = None

    def start(self) -> None:
        """Device, lease, address, peers, rules, subnet.env."""
        config = json.loads(self._etcd.ctl("get", "--print-value-only", f"{PREFIX}/config"))
        mac = self._device()
        subnet = self._acquire(config["Network"], mac)
        self._configure(subnet, config["Network"])
        for other, found in flannel.leases(self._etcd).items():
            if other != subnet and found.get("BackendType") == "vxlan":
                data = found["BackendData"]
                flannel.program(
                    self._space, other, data["VtepMAC"], found["PublicIP"], device=DEVICE
                )
        self._rules(config["Network"], subnet)
        self._write_env(config["Network"], subnet)
        self._live()

    def learn(self, subnet: str) -> None:
        """EventAdded."""
        found = flannel.leases(self._etcd)[subnet]
        mac = found["BackendData"]["VtepMAC"]
        flannel.program(self._space, subnet, mac, found["PublicIP"], device=DEVICE)

    def stop(self) -> None:
        """It leaves everything."""
        if self._process is not None:
            self._process.end()
            self._process = None

    def _live(self) -> None:
        """A process of its name, which does nothing."""
        program = self._node.work / "flanneld"
        program.unlink(missing_ok=True)
        shutil.copy("/bin/sleep", program)
        words = self._space.inside([program, "600"])
        self._process = Daemon("flanneld", words, self._node.work / "flanneld.log")
        self._lab.track(self._process)

    # --- the parts ------------------------------------------------------------------------------------

    def _device(self) -> str:
        """ensureLink and vxlanLinksIncompat of pkg/backend/vxlan/device.go; returns the MAC."""
        mac = "da:1a:" + ":".join(f"{byte:02x}" for byte in secrets.token_bytes(4))
        making = (
            f"ip link add {DEVICE} address {mac} mtu {flannel.MTU} type vxlan id {flannel.VNI} dev eth0 "
            f"local {self._node.address} dstport {flannel.PORT} nolearning"
        ).split()
        said = self._space.run(making)
        if said.code:
            if "File exists" not in said.err:
                raise CommandFailed(said.err)
            found = [it for it in self._space.query("link", "show") if it["ifname"] == DEVICE]
            if not found:  # LinkByName fails: "failed to create vxlan device: Link not found"
                raise CommandFailed(f"flanneld would end: {said.err.strip()}, and no {DEVICE}")
            if not self._fits(found[0]["linkinfo"]):
                self._space.ip(f"link del {DEVICE}")
                self._space.must(*making)
        row: dict[str, Any] = self._space.query("link", "show", DEVICE)[0]
        return str(row["address"])

    def _fits(self, info: dict[str, Any]) -> bool:
        data = info.get("info_data", {})
        return (
            info["info_kind"] == "vxlan"
            and data["id"] == flannel.VNI
            and data["link"] == "eth0"
            and data["local"] == self._node.address
            and data["port"] == flannel.PORT
            and "group" not in data
            and not data.get("l2miss")
            and not data.get("gbp")
        )

    def _acquire(self, network: str, mac: str) -> str:
        """findLeaseByIP, else the subnet of subnet.env if nobody has it, else a free one; then the put."""
        found = flannel.leases(self._etcd)
        mine = [net for net, it in found.items() if it["PublicIP"] == self._node.address]
        before = self._before()
        if mine and ip_network(mine[0]).subnet_of(ip_network(network)):  # type: ignore[arg-type]
            subnet = mine[0]
        elif before and before not in found:
            subnet = before
        else:
            subnet = FIRST_SUBNET
        flannel.put(self._etcd, subnet, flannel.record(self._node.address, mac))
        return subnet

    def _before(self) -> str:
        if not self.env.exists():
            return ""
        lines = dict(line.split("=", 1) for line in self.env.read_text().splitlines())
        return str(ip_network(lines["FLANNEL_SUBNET"], strict=False))

    def _configure(self, subnet: str, network: str) -> None:
        """EnsureV4AddressOnLink: other addresses inside the network go; then UP."""
        wanted = subnet.partition("/")[0]
        rows = self._space.query("-4", "addr", "show", "dev", DEVICE)
        present = [info["local"] for row in rows for info in row.get("addr_info", [])]
        for address in present:
            if address != wanted and ip_network(address).subnet_of(ip_network(network)):  # type: ignore[arg-type]
                self._space.ip(f"addr del {address}/32 dev {DEVICE}")
        if wanted not in present:
            self._space.ip(f"addr add {wanted}/32 dev {DEVICE}")
        self._space.ip(f"link set {DEVICE} up")

    def _rules(self, network: str, subnet: str) -> None:
        """--ip-masq and --iptables-forward-rules."""
        masquerade = "-j MASQUERADE --random-fully"
        lines = [
            "*nat",
            ":FLANNEL-POSTRTG - [0:0]",
            '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
            "-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN",
            f"-A FLANNEL-POSTRTG -s {subnet} -d {network} -j RETURN",
            f"-A FLANNEL-POSTRTG -s {network} -d {subnet} -j RETURN",
            f"-A FLANNEL-POSTRTG ! -s {network} -d {subnet} -j RETURN",
            f"-A FLANNEL-POSTRTG -s {network} ! -d 224.0.0.0/4 {masquerade}",
            f"-A FLANNEL-POSTRTG ! -s {network} -d {network} {masquerade}",
            "COMMIT",
            "*filter",
            ":FLANNEL-FWD - [0:0]",
            '-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD',
            f"-A FLANNEL-FWD -s {network} -j ACCEPT",
            f"-A FLANNEL-FWD -d {network} -j ACCEPT",
            "COMMIT",
        ]
        if "FLANNEL-POSTRTG" not in self._space.must("iptables-save"):
            said = self._space.run(["iptables-restore", "--noflush"], stdin="\n".join(lines) + "\n")
            if said.code:
                raise CommandFailed(said.err)

    def _write_env(self, network: str, subnet: str) -> None:
        gateway = ip_network(subnet).network_address + 1
        length = subnet.partition("/")[2]
        self.env.write_text(
            f"FLANNEL_NETWORK={network}\nFLANNEL_SUBNET={gateway}/{length}\n"
            f"FLANNEL_MTU={flannel.MTU}\nFLANNEL_IPMASQ=true\n"
        )


def flannels_subnet(env: Path) -> str:
    """The node's subnet as subnet.env says it."""
    lines = dict(line.split("=", 1) for line in env.read_text().splitlines())
    return str(ip_network(lines["FLANNEL_SUBNET"], strict=False))
