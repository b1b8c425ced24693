"""Certificates and secrets: usable, valid now and for a while, readable by nobody else."""

import os
import stat
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from agent.ctl.doctor.certificate import Validity, validities
from agent.ctl.doctor.finding import Finding, Fix, found
from agent.ctl.doctor.look import Look, read_text
from agent.etcd import Credentials
from agent.etcd.tls import TlsFiles
from agent.moment import span, utc
from overlay.errors import BadConfig

SOON_S = 30 * 86400.0
OTHERS = 0o077
SECRETS = ("etcd_password",)


@dataclass(frozen=True, slots=True)
class Facts:
    """``certificates`` by path, ``modes`` of files that hold a secret; ``unusable`` is why TLS cannot be set up."""

    now: float
    certificates: Mapping[str, tuple[Validity, ...]] = field(default_factory=dict)
    modes: Mapping[str, int] = field(default_factory=dict)
    unusable: str = ""


def check(look: Look) -> list[Finding]:
    """The TLS files of the settings, and agent.toml."""
    return judge(read(look))


def judge(facts: Facts) -> list[Finding]:
    """Pure."""
    findings = []
    if facts.unusable:
        title, mend = facts.unusable, "ls -l the file; openssl x509 -in FILE -noout -text"
        findings.append(found("tls-file", "fault", title, mend))
    for path, its in facts.certificates.items():
        for one in its:
            findings += _dated(path, one, facts.now)
    for path, mode in facts.modes.items():
        if mode & OTHERS:
            fix = Fix(f"chmod 0600 {path}", partial(os.chmod, path, 0o600))
            title = f"{path} holds a secret, and its mode is {mode:04o}"
            findings.append(found("secret-readable", "warning", title, fix.text, fix=fix))
    return findings


def _dated(path: str, one: Validity, now: float) -> list[Finding]:
    renew = (
        f"a new certificate in place of {path}, which the agent takes up by itself; "
        f"look: openssl x509 -in {path} -noout -dates"
    )
    if now > one.until:
        return [found("tls-expired", "fault", f"{path} has expired at {utc(one.until)}", renew)]
    if now < one.since:
        title = f"{path} is valid from {utc(one.since)} on, the clock says {utc(now)}"
        return [found("tls-not-yet", "fault", title, "timedatectl; is the clock right?")]
    if now > one.until - SOON_S:
        left = span(one.until - now)
        return [
            found("tls-expires", "warning", f"{path} expires in {left}, at {utc(one.until)}", renew)
        ]
    return []


def read(look: Look) -> Facts:
    """The files."""
    its = look.settings
    certificates = {
        path: found_here
        for path in (its.etcd_cafile, its.etcd_certfile)
        if path and (found_here := validities(read_text(Path(path)) or ""))
    }
    holding = [Path(its.etcd_keyfile)] if its.etcd_keyfile else []
    if _has_secret(read_text(look.config_file) or ""):
        holding.append(look.config_file)
    modes = {str(path): mode for path in holding if (mode := _mode(path)) is not None}
    return Facts(time.time(), certificates, modes, _unusable(look))


def _unusable(look: Look) -> str:
    its = look.settings
    if not any(one.startswith("https") for one in its.etcd_endpoints) and not its.etcd_cafile:
        return ""
    files = Credentials(
        cafile=its.etcd_cafile, certfile=its.etcd_certfile, keyfile=its.etcd_keyfile
    )
    try:
        TlsFiles(files).context()
    except BadConfig as error:
        return str(error)
    return ""


def _has_secret(text: str) -> bool:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return any(table.get(key) for key in SECRETS)


def _mode(path: Path) -> int | None:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return None
