"""Hostile input for the CNI plugin: seeds as runtimes send them, mutated by a seeded generator.

Fed to `cni.main.run` in process, in a network namespace of its own with a bridge and a pod, so that some
get as far as the kernel. Whatever comes in, the answer is an exit code and either JSON or nothing, and
never the code for a fault of ours.
"""

import json
import random
import string
import time
from collections.abc import Callable, Mapping
from ipaddress import ip_interface, ip_network
from typing import Any

from cni import main as plugin
from cni.protocol import VERSIONS, Verb
from cni.results import INTERNAL_ERROR
from e2e.lab import Lab
from overlay import nodefile
from overlay.netlink.namespace import run_inside
from overlay.nodefile import NodeFamily, NodePage

MOST_S = 60.0
SAY_EVERY = 20_000
BRIDGE = "hostile0"
VERBS = (*(verb.value for verb in Verb), "", "add", "ADD\n", "DEL ", "\udc80", "X" * 5000)
_NASTY: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 63, 1 << 200, 1e308, "", "\0", "..", "/", "../../etc/passwd", "\ud800",
    "a" * 300, "ovl\n", "é", [], {}, [[]], [None], {"": {}}, "10.0.0.1", "::1/129", "overlay.io/x",
)  # fmt: skip
_KEYS = (
    "cniVersion", "name", "type", "mtu", "bridge", "ipMasq", "runDir", "dns", "ipam", "prevResult",
    "args", "runtimeConfig", "capabilities", "cni.dev/valid-attachments", "cni.dev/attachments",
    "ips", "mac", "nameservers", "search", "interfaces", "routes", "containerID", "ifname",
)  # fmt: skip
_TEXT = string.printable + "\0\x7f\x80é\u2028\udcff😀"  # U+DCFF: how os.environ gives the byte 0xff


class Fault(Exception):
    """An input that the plugin did not survive; the text has it."""


class Hostile:
    """One run; ``fed`` counts inputs, ``served`` those that the plugin accepted."""

    def __init__(self, lab: Lab, *, seed: int, say: Callable[[str], None]) -> None:
        self.fed = self.served = 0
        self.seed, self._random, self._say = seed, random.Random(seed), say
        self._lab, self._run_dir = lab, lab.work / "hostile"
        self._pod = ""

    def run(self, count: int) -> None:
        """Feed ``count`` inputs, or what fits into a minute.

        Raises:
            Fault: the plugin failed over one.
        """
        space, pod = self._lab.add_space("hostile"), self._lab.add_space("hostile-pod")
        space.ip(f"link add {BRIDGE} type bridge", f"link set {BRIDGE} up")
        self._pod = str(pod.path)
        self._page()
        run_inside(space.path, lambda: self._feed(count))

    def _page(self) -> None:
        family = NodeFamily(ip_interface("10.98.0.1/24"), ip_network("10.98.0.0/16"))
        page = NodePage((family,), 1450, bridge=BRIDGE, run_dir=str(self._run_dir))
        nodefile.write_pages(page, self._run_dir)

    def _feed(self, count: int) -> None:
        begun = time.monotonic()
        while self.fed < count and time.monotonic() - begun < MOST_S:
            environ, stdin = self._environ(), self._stdin()
            if fault := self._one(environ, stdin):
                raise Fault(
                    f"seed {self.seed}, input {self.fed}: {fault}; environ {environ!r}, "
                    f"stdin {stdin[:2000]!r}"
                )
            self.fed += 1
            if self.fed % SAY_EVERY == 0:
                self._say(f"hostile inputs: {self.fed} of {count}, {self.served} of them served")

    def _one(self, environ: Mapping[str, str], stdin: bytes) -> str:
        """What is wrong with the answer to one input, or nothing."""
        try:
            code, said = plugin.run(environ, stdin, self._run_dir)
        except Exception as error:  # it promises never to raise
            return f"{type(error).__name__}: {error}"
        self.served += code == 0
        fault = _fault(code, said)
        return f"{fault}: {said[:1000]!r}" if fault else ""

    # --- the generator ----------------------------------------------------------------------------

    def _environ(self) -> Mapping[str, str]:
        pick = self._random.choice
        container = pick(["c1", "c2", "c3", self._text(), "a" * 300])
        seeds = {
            "CNI_COMMAND": pick(VERBS) if self._often(0.1) else pick(VERBS[: len(Verb)]),
            "CNI_CONTAINERID": container,
            "CNI_IFNAME": pick(["eth0", "eth0", "net1", "lo", "eth0/..", "sixteen-letters-"]),
            "CNI_NETNS": pick(
                [self._pod, self._pod, "/proc/self/ns/net", "/proc/self/ns/uts", "/dev/null", "/"]
            ),
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": pick(
                [
                    "",
                    f"IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container}",
                    f"IP=10.98.0.{self._random.randrange(300)}",
                    "MAC=02:00:00:00:00:01",
                    ";;=;",
                    self._text(),
                ]
            ),
        }
        if self._often(0.2):
            del seeds[pick(list(seeds))]
        if self._often(0.2):  # never the path of a namespace: a mutant could be somebody else's
            name = pick([key for key in seeds if key != "CNI_NETNS"])
            seeds[name] = self._mutated(seeds[name])
        return seeds

    def _stdin(self) -> bytes:
        config: dict[str, Any] = {
            "cniVersion": self._random.choice(VERSIONS),
            "name": self._random.choice(["overlay", "overlay", "other"]),
            "type": "overlay",
        }
        for _ in range(self._random.choice([0, 0, 1, 2, 4])):
            config[self._random.choice(_KEYS)] = self._value(3)
        text = json.dumps(config, ensure_ascii=self._often(0.7))
        data = text.encode(errors="surrogatepass")
        match self._random.randrange(8):
            case 0:
                return self._bytes_mutated(data)
            case 1 if self._often(0.1):
                return b"[" * self._random.randrange(1, 100_000)
            case 1 if self._often(0.1):
                return self._random.randbytes(self._random.randrange(2000))
        return data

    def _value(self, depth: int) -> object:
        kind = self._random.randrange(6) if depth else 0
        if kind == 4:
            keys = [self._random.choice(_KEYS) for _ in range(self._random.randrange(4))]
            return {key: self._value(depth - 1) for key in keys}
        if kind == 5:
            return [self._value(depth - 1) for _ in range(self._random.randrange(4))]
        if kind == 3:
            return self._text()
        return self._random.choice(_NASTY)

    def _text(self) -> str:
        return "".join(self._random.choices(_TEXT, k=self._random.randrange(20)))

    def _mutated(self, text: str) -> str:
        place = self._random.randrange(len(text) + 1)
        return text[:place] + self._random.choice(_TEXT) + text[place + self._random.randrange(3) :]

    def _bytes_mutated(self, data: bytes) -> bytes:
        for _ in range(self._random.randrange(1, 4)):
            place = self._random.randrange(len(data) + 1)
            new = self._random.randbytes(self._random.randrange(3))
            data = data[:place] + new + data[place + self._random.randrange(4) :]
        return data

    def _often(self, share: float) -> bool:
        return self._random.random() < share


def _fault(code: int, said: bytes) -> str:
    """What is wrong with an answer, or nothing."""
    if not said:
        return "" if code == 0 else f"exit code {code} without an error object"
    try:
        answer = json.loads(said)
    except ValueError:
        return "stdout is no JSON"
    if not isinstance(answer, dict):
        return "stdout is no JSON object"
    if code == 0:
        return "" if "cniVersion" in answer else "a result without cniVersion"
    number, message = answer.get("code"), answer.get("msg")
    if number == INTERNAL_ERROR:
        return "an internal error"
    if not isinstance(number, int) or not isinstance(message, str) or not message:
        return "an error object without code or msg"
    return ""
