"""Pods as flannel's CNI plugin attaches them: Debian's bridge and host-local with what it hands to them.

Also steady pings, which count what a change of the node's rulers costs.
"""

import json
import re
import signal
import socket
from pathlib import Path

from e2e.debianplugins import SHIPPED
from e2e.lab import Lab
from e2e.netns import Namespace
from e2e.node import Node, wait_for
from e2e.pods import Pod
from e2e.process import CommandFailed, Daemon, run
from overlay.netlink.namespace import run_inside

CBR0 = "cbr0"
"""The network's name in flannel's own conflist."""
LATER = 20
"""Pings of a second."""


class BridgedPods:
    """The delegate's configuration as flannel's plugin makes it of subnet.env (flannel.go, v1.9)."""

    def __init__(self, lab: Lab, node: Node, env: Path) -> None:
        self.data_dir = node.work / "host-local"
        self._lab, self._node, self._env = lab, node, env

    @property
    def network_dir(self) -> Path:
        """Where host-local keeps this network's addresses."""
        return self.data_dir / CBR0

    def add(self) -> Pod:
        """ADD."""
        pod = self._lab.bare_pod(self._node)
        pod.take(json.loads(self._call("ADD", pod)))
        return pod

    def delete(self, pod: Pod) -> None:
        """DEL, as a runtime does that remembers the configuration of the ADD."""
        self._call("DEL", pod)

    def _call(self, verb: str, pod: Pod) -> str:
        environ = {**self._node.runtime.environ(verb, pod), "CNI_PATH": str(SHIPPED)}
        words = self._node.namespace.inside([SHIPPED / "bridge"])
        said = run(words, stdin=json.dumps(self._config()), environ=environ)
        if said.code:
            raise CommandFailed(f"bridge {verb}: {said.out}{said.err}")
        return said.out

    def _config(self) -> dict[str, object]:
        lines = dict(line.split("=", 1) for line in self._env.read_text().splitlines())
        gateway, _, length = lines["FLANNEL_SUBNET"].partition("/")
        subnet = f"{gateway.rpartition('.')[0]}.0/{length}"
        return {
            "cniVersion": "0.3.1",
            "name": CBR0,
            "type": "bridge",
            "ipMasq": lines["FLANNEL_IPMASQ"] != "true",
            "mtu": int(lines["FLANNEL_MTU"]),
            "isGateway": True,
            "isDefaultGateway": True,
            "hairpinMode": True,
            "ipam": {
                "type": "host-local",
                "dataDir": str(self.data_dir),
                "ranges": [[{"subnet": subnet}]],
                "routes": [{"dst": lines["FLANNEL_NETWORK"]}],
            },
        }


class Steady:
    """Pings 20 times a second from a namespace until `end`."""

    def __init__(self, lab: Lab, space: Namespace, target: object) -> None:
        self._log = lab.work / f"ping-{space.name}-{target}.log"
        words = ["ping", "-n", "-i", "0.05", "-W", "1", str(target)]
        self._daemon = Daemon("ping", space.inside(words), self._log)
        lab.track(self._daemon)

    @property
    def received(self) -> set[int]:
        """The numbers of those that came back so far."""
        return {int(found) for found in re.findall(r"icmp_seq=(\d+) ttl=", self._log.read_text())}

    def end(self) -> tuple[int, list[int]]:
        """(how many came back, the numbers of those that did not) so far, and for half a second more.

        On a busy machine some are late: what has not come when a second of later ones has is lost.
        """
        last = max(self.received, default=0) + LATER
        wait_for(
            lambda: max(self.received, default=0) >= last, "a second of pings more", timeout_s=30
        )
        self._daemon.end(signal.SIGINT)
        came = self.received
        return len(came), sorted(set(range(1, last - LATER // 2)) - came)


def seen_from(pod: Pod, there: Namespace, address: object) -> str:
    """Whom a datagram of the pod seems to come from, for a listener ``there``."""
    with there_socket(there) as listener:
        port = listener.getsockname()[1]
        pod.namespace.must("bash", "-c", f"echo >/dev/udp/{address}/{port}")
        listener.settimeout(5)
        return str(listener.recvfrom(16)[1][0])


def there_socket(there: Namespace) -> socket.socket:
    """A UDP socket that lies in a namespace."""

    def bound() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", 0))
        return made

    return run_inside(there.path, bound)
