"""A node of the contract ring as the doctor sees it: an underlay, directories, other programs' files."""

import argparse
import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from agent import config, recalled
from agent.ctl.doctor import survey
from agent.ctl.doctor.finding import Finding
from agent.ctl.doctor.look import Look
from agent.ctl.programs import Said
from overlay.netlink.namespace import run_inside

NOBODY = "http://127.0.0.1:9"
"""The discard port: nothing listens there."""
MACHINE = "0" * 32
DIRECT = '{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan","DirectRouting":true}}'
UNDERLAY = (
    "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1; "
    "ip link set lo up; ip link add eth0 type veth peer name far0; ip link set far0 up; ip link set eth0 up; "
    "ip addr add 192.168.50.1/24 dev eth0; ip route add default via 192.168.50.254; "
    "ip link add overlay0 type bridge; ip link set overlay0 alias overlay:bridge up"
)
T = TypeVar("T")


class SickNode:
    """``home`` holds its directories; ``root`` is where other programs' files are planted."""

    def __init__(self, space: Path | None, home: Path) -> None:
        self._space, self.home, self.root = space, home, home / "root"
        for name in ("run", "state", "net.d", "bin", "root"):
            (home / name).mkdir(exist_ok=True)
        self.config_file = home / "agent.toml"
        self.config_file.touch()
        self.programs: dict[str, str] = {}
        """What other programs print, by the words of the command; the rest is absent."""
        if space is not None:
            self.shell(UNDERLAY)
            self.remember(DIRECT)

    @classmethod
    def without_namespace(cls, home: Path) -> "SickNode":
        """For what is looked at from here: etcd on loopback."""
        return cls(None, home)

    @property
    def space(self) -> Path:
        """Its network namespace."""
        assert self._space is not None
        return self._space

    def shell(self, line: str) -> None:
        """As root in its network namespace; has to succeed."""
        words = ["nsenter", f"--net={self.space}", "sh", "-ec", line]
        done = subprocess.run(words, check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{line}: {done.stdout}{done.stderr}"

    def remember(self, network: str) -> None:
        """The network config of the agent's last copy: etcd is away."""
        page = {
            "format": recalled.FORMAT,
            "machine_id": MACHINE,
            "prefix": "/coreos.com/network",
            "endpoints": [NOBODY],
            "network": network,
        }
        (self.home / "state" / recalled.FILE_NAME).write_text(json.dumps(page))

    def plant(self, path: str, text: str) -> Path:
        """Another program's file."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def plant_executable(self, name: str) -> None:
        """A plugin in the directory of executables."""
        path = self.home / "bin" / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)

    def inside(self, work: Callable[[], T]) -> T:
        """In its network namespace, if it has one."""
        return work() if self._space is None else run_inside(self._space, work)

    def look(self, **settings: object) -> Look:
        """Fresh eyes."""
        return Look(
            self.settings(settings), root=self.root, config_file=self.config_file, run=self._run
        )

    def examine(self, *only: str, **settings: object) -> list[Finding]:
        """What the doctor finds, but for what is well."""
        look = self.look(**settings)
        found = self.inside(lambda: survey(look.settings, look=look, only=only))
        return [one for one in found if one.severity != "ok"]

    def ids(self, *only: str, **settings: object) -> list[str]:
        """The same by id."""
        return [one.id for one in self.examine(*only, **settings)]

    def words(self, further: Mapping[str, object] = {}) -> list[str]:
        """The settings as flags."""
        given: dict[str, object] = {
            "node_name": "n1",
            "machine_id": MACHINE,
            "run_dir": self.home / "run",
            "state_dir": self.home / "state",
            "cni_conf_dir": self.home / "net.d",
            "cni_bin_dir": self.home / "bin",
            "etcd_endpoints": NOBODY,
            **further,
        }
        pairs = (("--" + key.replace("_", "-"), str(value)) for key, value in given.items())
        return [word for pair in pairs for word in pair]

    def settings(self, further: Mapping[str, object]) -> config.Config:
        """Of nothing but these: no file of the machine is read."""
        parser = argparse.ArgumentParser()
        config.add_arguments(parser)
        return config.load(
            parser.parse_args(self.words(further)), {"OVERLAY_CONFIG": str(self.config_file)}
        )

    def _run(self, arguments: tuple[str, ...], *, timeout_s: float = 10.0) -> Said:
        del timeout_s
        said = self.programs.get(" ".join(arguments))
        return Said(127, "", "absent") if said is None else Said(0, said)
