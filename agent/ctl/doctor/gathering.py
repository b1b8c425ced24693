"""What goes into the support archive, and where it comes from."""

import argparse
import contextlib
import importlib.metadata
import io
import json
import platform
import re
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from agent.config import Config
from agent.ctl.doctor import conflists, runtimes
from agent.ctl.doctor.bundle import Archive
from agent.ctl.doctor.finding import Finding
from agent.ctl.doctor.look import PROC, Look, read_text
from agent.ctl.doctor.redaction import Redactor
from agent.ctl.verbs import VERBS
from overlay import __version__
from overlay.dataplane.filters import listings
from overlay.errors import OverlayError

OWN_VERBS = ("status", "peers", "plan", "drift", "etcd", "leases")
JOURNAL_LINES = "5000"
PROGRAMS = {
    "kernel/links": ("ip", "-d", "-s", "link"),
    "kernel/addresses": ("ip", "address"),
    "kernel/routes-4": ("ip", "-4", "route", "show", "table", "all"),
    "kernel/routes-6": ("ip", "-6", "route", "show", "table", "all"),
    "kernel/rules-4": ("ip", "-4", "rule"),
    "kernel/rules-6": ("ip", "-6", "rule"),
    "kernel/neighbours": ("ip", "-s", "neigh"),
    "kernel/fdb": ("bridge", "fdb"),
    "kernel/udp-sockets": ("ss", "-lunp"),
    "host/disks": ("df", "-h"),
    "host/inodes": ("df", "-i"),
    "host/time": ("timedatectl",),
    "versions/ip": ("ip", "-V"),
    "versions/nft": ("nft", "--version"),
    "versions/containerd": ("containerd", "--version"),
}
_PACKAGES = ("overlay-network", "grpcio", "protobuf", "python3-etcd3", "msgspec", "tenacity")
_SWITCHES = ("rp_filter", "forwarding", "accept_ra", "disable_ipv6")
_PLAIN = re.compile(r"[^A-Za-z0-9.-]+")
WITHIN_S = 10.0


def bundle(look: Look, findings: Sequence[Finding], path: Path) -> int:
    """Gather, and write the archive; returns its size."""
    archive = Archive(redactor(look))
    archive.add("findings.json", json.dumps([one.plain() for one in findings], indent=2))
    archive.add("versions/overlay.json", json.dumps(versions(look), indent=2))
    for verb in OWN_VERBS:
        archive.ask(f"overlayctl/{verb}.json", partial(said, verb, look.settings), json=True)
    for name, words in PROGRAMS.items():
        archive.ask(f"{name}.txt", partial(_run, look, words))
    unit = look.unit()
    journal = ("journalctl", "-u", unit, "-n", JOURNAL_LINES, "--no-pager", "-o", "short-iso")
    archive.ask("agent/journal.txt", lambda: _run(look, journal), tail=True)
    archive.ask("agent/unit.txt", lambda: _run(look, ("systemctl", "cat", unit)))
    archive.ask("agent/unit-state.txt", lambda: _run(look, ("systemctl", "show", unit)))
    own = look.settings.marks.table
    archive.ask("kernel/nft.txt", lambda: "\n".join(text for _, text in listings(also=[own])))
    archive.ask("kernel/switches.txt", lambda: "\n".join(_switches(look)))
    for name, text, is_json in files(look):
        archive.add(name, text, json=is_json)
    top = f"overlay-{_PLAIN.sub('-', look.settings.node_name)}-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}"
    return archive.write(path, top)


def redactor(look: Look) -> Redactor:
    """It knows the settings' password, and all that the files gathered have under names that say so."""
    its = look.settings
    made = Redactor([its.etcd_password])
    if its.etcd_keyfile:
        made.learn(read_text(Path(its.etcd_keyfile)) or "")
    for _, text, is_json in files(look):
        with contextlib.suppress(ValueError, RecursionError):
            made.learn_named(json.loads(text) if is_json else tomllib.loads(text))
        for user in re.findall(r"://([^/\s@\"']+)@", text):
            made.learn(user.partition(":")[2])
    return made


def files(look: Look) -> Iterator[tuple[str, str, bool]]:
    """(name in the archive, text, is it JSON) of configurations and pages; never a key."""
    its = look.settings
    if (text := read_text(look.config_file)) is not None:
        yield "config/agent.toml", text, False
    for page in ("node.json", "subnet.env"):
        if (text := read_text(its.run_dir / page)) is not None:
            yield f"agent/{page}", text, page.endswith(".json")
    with contextlib.suppress(OSError):
        for path in sorted(its.cni_conf_dir.iterdir()):
            if path.suffix in conflists.SUFFIXES and (text := read_text(path)) is not None:
                yield f"cni/{path.name}", text, True
    for path_text in (runtimes.CONTAINERD, runtimes.CRIO):
        if (text := look.text(path_text)) is not None:
            yield f"runtimes/{Path(path_text).name}", text, False


def said(verb: str, settings: Config) -> str:
    """What ``overlayctl VERB --output json`` prints."""
    row = next(one for one in VERBS if one.name == verb)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        row.run()(argparse.Namespace(output="json", stale=False, watch=None), settings)
    return out.getvalue()


def versions(look: Look) -> dict[str, object]:
    """Of all that takes part."""
    status = look.agent().status
    return {
        "overlayctl": __version__,
        "agent": status.get("version") if status else None,
        "python": sys.version,
        "kernel": " ".join(platform.uname()),
        "os": (look.text("/etc/os-release") or "").splitlines()[:3],
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _run(look: Look, words: Sequence[str]) -> str:
    done = look.run(words, timeout_s=WITHIN_S)
    if done.absent:
        raise OverlayError(done.err)
    return done.out + (f"\n[exit code {done.code}] {done.err}" if done.code or done.err else "")


def _switches(look: Look) -> list[str]:
    lines = [f"net/ipv4/ip_forward = {look.switch('net/ipv4/ip_forward')}"]
    for family in ("ipv4", "ipv6"):
        with contextlib.suppress(OSError):
            for path in sorted((PROC / "sys/net" / family / "conf").iterdir()):
                for name in _SWITCHES:
                    switch = f"net/{family}/conf/{path.name}/{name}"
                    if (value := look.switch(switch)) is not None:
                        lines.append(f"{switch} = {value}")
    return lines
