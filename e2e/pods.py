"""Pods of a lab: a namespace each, attached by exec'ing the CNI plugin as a container runtime does."""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from e2e.netns import Namespace
from e2e.process import Said, run
from overlay.family import Address, Family

NEWEST_SPOKEN = "1.1.0"
"""What today's libcni speaks: it takes the highest of cniVersions up to this one."""
_HEADERS = {Family.V4: 28, Family.V6: 48}


class CniFailed(Exception):
    """The plugin refused; ``code`` and ``message`` are those of its error object."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"CNI error {code}: {message}")
        self.code, self.message = code, message


@dataclass(frozen=True, slots=True)
class Ping:
    """One ping run: counts of packets, the mean round trip in milliseconds, and what ping said."""

    sent: int
    received: int
    rtt_ms: float
    text: str

    @property
    def ok(self) -> bool:
        """Every packet came back."""
        return self.sent > 0 and self.sent == self.received

    @property
    def too_long(self) -> bool:
        """The packet was refused for its size, here or on the way."""
        return "message too long" in self.text.lower() or "frag needed" in self.text.lower()


def parse_ping(said: Said) -> Ping:
    """Read the closing lines of iputils' ping."""
    text = said.out + said.err
    counts = re.search(r"(\d+) packets transmitted, (\d+) received", text)
    mean = re.search(r"= [\d.]+/([\d.]+)/", text)
    return Ping(
        sent=int(counts[1]) if counts else 0,
        received=int(counts[2]) if counts else 0,
        rtt_ms=float(mean[1]) if mean else 0.0,
        text=text.strip(),
    )


@dataclass(slots=True)
class Pod:
    """One pod of a node. ``addresses``, IPv4 first, and ``mtu`` are known once it is attached."""

    name: str
    node: str
    namespace: Namespace
    container: str = field(default_factory=lambda: secrets.token_hex(32))
    addresses: tuple[Address, ...] = ()
    mtu: int = 0
    result: dict[str, Any] = field(default_factory=dict)

    def take(self, result: dict[str, Any]) -> None:
        """Remember what an ADD has answered, and look at what it has done."""
        self.result = result
        self.addresses = tuple(ip_interface(item["address"]).ip for item in result["ips"])
        self.mtu = self.link_mtu()

    def link_mtu(self) -> int:
        """Of its end, as it is now."""
        return int(self.namespace.query("link", "show", "eth0")[0]["mtu"])

    @property
    def address(self) -> Address:
        """The first."""
        return self.addresses[0]

    def ping(
        self,
        target: object,
        *,
        payload: int = 56,
        whole: bool = False,
        count: int = 1,
        wait_s: int = 3,
    ) -> Ping:
        """``payload`` is without the headers of IP and ICMP; ``whole`` sets DF, or sends no fragments.

        ``wait_s`` is how long an answer is waited for. A first IPv6 packet that comes while its solicitation is
        lost waits a second for the next one, and is not lost.
        """
        df = ["-M", "do"] if whole else []
        words = ["ping", "-n", "-c", str(count), "-i", "0.05", "-W", str(wait_s)]
        words += ["-s", str(payload), *df]
        return parse_ping(self.namespace.run([*words, str(target)]))

    @property
    def largest_payload(self) -> int:
        """The payload of a ping to the first address that fills the MTU exactly."""
        return self.filling(Family.of(self.address))

    def filling(self, family: Family) -> int:
        """The same for any family: the MTU without the headers of IP and ICMP."""
        return self.mtu - _HEADERS[family]


@dataclass(frozen=True, slots=True)
class Runtime:
    """One node's container runtime: reads the conflist, execs the plugin in the node's namespace."""

    namespace: Namespace
    conf_dir: Path
    bin_dir: Path

    def conflist(self) -> dict[str, Any]:
        """The first conflist by name, as go-cni picks it."""
        names = sorted(self.conf_dir.glob("*.conflist"))
        if not names:
            raise FileNotFoundError(f"no conflist in {self.conf_dir}: the node is not ready")
        found: dict[str, Any] = json.loads(names[0].read_text())
        return found

    def add(self, pod: Pod, **overrides: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
        """ADD; ``overrides`` are further keys of the plugin's config. CniFailed if refused."""
        pod.take(self.call("ADD", pod, stdin=self.config(self.conflist(), overrides)))
        return pod.result

    def delete(self, pod: Pod) -> None:
        """DEL, with the result of ADD as libcni's cache gives it back."""
        given = {"prevResult": pod.result} if pod.result else {}
        self.call("DEL", pod, stdin=self.config(self.conflist(), given))

    def call(self, verb: str, pod: Pod, *, stdin: Mapping[str, Any]) -> dict[str, Any]:
        """Exec the plugin once."""
        said = run(
            self.namespace.inside([self.bin_dir / "overlay"]),
            stdin=json.dumps(stdin),
            environ=self.environ(verb, pod),
            timeout_s=90,  # the plugin's own deadline is 60 s
        )
        if said.code == 0:
            answer: dict[str, Any] = json.loads(said.out or "{}")
            return answer
        try:
            error = json.loads(said.out)
        except json.JSONDecodeError:
            raise CniFailed(999, f"exit {said.code}: {said.out} {said.err}") from None
        raise CniFailed(int(error["code"]), f"{error['msg']} {error.get('details', '')}".strip())

    def environ(self, verb: str, pod: Pod) -> dict[str, str]:
        """What a runtime sets."""
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod.container,
            "CNI_NETNS": str(pod.namespace.path),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.bin_dir),
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={pod.name};"
            f"K8S_POD_INFRA_CONTAINER_ID={pod.container}",
        }

    @staticmethod
    def config(conflist: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
        """One plugin's configuration as libcni derives it from the list."""
        listed = [*conflist.get("cniVersions", []), conflist["cniVersion"]]
        chosen = max((text for text in listed if _order(text) <= _order(NEWEST_SPOKEN)), key=_order)
        return {"cniVersion": chosen, "name": conflist["name"], **conflist["plugins"][0], **more}


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
