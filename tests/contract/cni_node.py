"""A node as the agent leaves it, in a namespace of its own, and CNI calls into it as a runtime makes them."""

import json
from collections.abc import Mapping
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

from cni import main
from cni.owner import Owner
from cni.standing import READY, Standing
from cni.steps import Steps
from overlay.netlink.namespace import run_inside
from overlay.nodefile import NodeFamily, NodePage, write_pages
from tests.contract.spaces import inside, ip
from tests.contract.waiting import until

V4 = NodeFamily(ip_interface("10.5.1.1/24"), ip_network("10.5.0.0/16"))
V6 = NodeFamily(ip_interface("fd00:5:0:1::1/64"), ip_network("fd00:5::/48"))
PLUGINS = "/usr/lib/cni"
"""Where Debian puts the reference plugins."""
OWNER = Owner("overlay", "c1", "eth0")
READY_NODE = Standing(READY)
ARGS = "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web"
NOTHING: tuple[list[str], list[str]] = ([], [])


def shown(space: Path, arguments: str) -> Any:  # noqa: ANN401 - iproute2's JSON
    """``ip -j`` in a namespace; [] where it prints nothing."""
    return json.loads(ip(space, "-j", "-d", *arguments.split()) or "[]")


class Node:
    """Calls are served in process, by the code that the agent and the full program share."""

    def __init__(
        self, space: Path, run_dir: Path, families: tuple[NodeFamily, ...] = (V4,)
    ) -> None:
        self.space, self.run_dir, self.families = space, run_dir, families
        ip(space, "link", "set", "lo", "up")
        ip(space, "link", "add", "overlay0", "address", "0a:58:0a:05:01:01", "type", "bridge")
        ip(space, "link", "set", "overlay0", "mtu", "1450", "up", "addrgenmode", "none")
        for family in families:
            nodad = ["nodad"] if family.gateway.version == 6 else []
            ip(space, "address", "add", str(family.gateway), "dev", "overlay0", *nodad)
        inside(space, "nft", "add table inet overlay")
        # A bridge's first carrier brings a kernel route of its own: have it before the test.
        ip(space, "link", "add", "w0", "type", "veth", "peer", "name", "w1")
        ip(space, "link", "set", "w1", "up")
        ip(space, "link", "set", "w0", "master", "overlay0", "up")
        until(lambda: "ff00::/8 dev overlay0" in ip(space, "-6", "route", "show", "table", "local"))
        ip(space, "link", "del", "w0")
        self.publish(mtu=1450)

    def publish(self, mtu: int, **more: Any) -> None:  # noqa: ANN401 - fields of NodePage
        """Write the node page."""
        page = NodePage(self.families, mtu=mtu, run_dir=str(self.run_dir), **more)
        write_pages(page, self.run_dir)

    def call(
        self,
        verb: str,
        pod: Path | str = "",
        *,
        container: str = OWNER.container,
        ifname: str = OWNER.ifname,
        environ: Mapping[str, str] | None = None,
        standing: Standing = READY_NODE,
        steps: Steps | None = None,
        **config: Any,  # noqa: ANN401 - any JSON
    ) -> dict[str, Any]:
        """One call; an error's JSON for a failure, {} for silence. An ``environ`` of "" is left out."""
        body = {"cniVersion": "1.1.0", "name": "overlay", "type": "overlay", **config}
        given = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": str(pod),
            "CNI_IFNAME": ifname,
            "CNI_PATH": PLUGINS,
            "CNI_ARGS": ARGS,
            **(environ or {}),
        }
        stdin = json.dumps(body).encode()
        code, stdout = run_inside(
            self.space,
            lambda: main.run(given, stdin, self.run_dir, standing=standing, steps=steps),
        )
        assert b"Traceback" not in stdout
        answer: dict[str, Any] = json.loads(stdout) if stdout else {}
        assert (code == 0) == ("code" not in answer)
        return answer

    def add(self, pod: Path, **config: Any) -> dict[str, Any]:  # noqa: ANN401 - as for `call`
        """An ADD that has to succeed."""
        answer = self.call("ADD", pod, **config)
        assert "code" not in answer, answer
        return answer

    def addresses(self) -> dict[str, str]:
        """Address → the place of its holder."""
        room = self.run_dir / "ipam"
        found = room.glob("[0-9a-f]*") if room.is_dir() else []
        return {path.name: str(path.readlink()) for path in sorted(found)}

    def journals(self) -> list[str]:
        """The places that have one."""
        room = self.run_dir / "attachments"
        return sorted(
            str(path.relative_to(room)).removesuffix(".json") for path in room.glob("*/*.json")
        )

    def links(self) -> list[str]:
        """Host ends of pods."""
        names = [link["ifname"] for link in shown(self.space, "link show")]
        return [name for name in names if name.startswith("ovl") and name != "overlay0"]

    def settle(self, ends: int) -> None:
        """Wait until that many host ends are left: the kernel takes a dead namespace's away by and by."""
        until(lambda: len(self.links()) == ends)

    def left(self) -> tuple[list[str], list[str]]:
        """Host ends of pods; allocations and journals."""
        return self.links(), [*self.addresses(), *self.journals()]
