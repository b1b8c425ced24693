"""Does the agent run, is it this version, and what does it say itself? Its unit, by systemctl and journalctl."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.ctl import programs
from agent.ctl.doctor.finding import Finding, Fix, found
from agent.ctl.doctor.look import Look
from overlay import __version__
from overlay.errors import OverlayError

PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "UnitFileState", "NRestarts")
_BOOTS = ("enabled", "enabled-runtime", "static", "alias", "generated", "indirect", "linked")
_OFFLOAD_BAD = "broken"


@dataclass(frozen=True, slots=True)
class Facts:
    """``unit`` are systemd's properties, empty without systemd; ``status`` is the agent's, None if it is silent.

    ``ran`` says that an agent has been on this node: its run directory has pages, or attachments.
    """

    name: str = "overlay-agent.service"
    version: str = __version__
    unit: Mapping[str, str] = field(default_factory=dict)
    last: str = ""
    status: Mapping[str, Any] | None = None
    why: str = ""
    ran: bool = False


def check(look: Look) -> list[Finding]:
    """The unit and the agent."""
    return judge(read(look), lambda: _enable(look))


def judge(facts: Facts, enable: Callable[[], None] = lambda: None) -> list[Finding]:
    """Pure; ``enable`` is what the fix of a unit that is not enabled calls."""
    findings = _silent(facts) if facts.status is None else _said(facts, facts.status)
    state = facts.unit.get("UnitFileState", "")
    if facts.unit.get("LoadState") == "loaded" and state and state not in _BOOTS:
        mend = f"systemctl enable {facts.name}"
        title = f"{facts.name} is {state}"
        findings.append(found("agent-not-enabled", "warning", title, mend, fix=Fix(mend, enable)))
    return findings


def _silent(facts: Facts) -> list[Finding]:
    loaded = facts.unit.get("LoadState") == "loaded"
    active, result = facts.unit.get("ActiveState", ""), facts.unit.get("Result", "")
    if not loaded and not facts.ran:
        title = "no overlay-agent is installed here"
        return [found("agent-not-installed", "note", title, "overlayctl install")]
    logs = f"journalctl -u {facts.name} -n 50"
    if loaded and (active == "failed" or result not in ("", "success")):
        last = f"; its last words: {facts.last}" if facts.last else ""
        title = f"{facts.name} has failed ({result or active}){last}"
        return [
            found(
                "agent-failed", "fault", title, f"{logs}; systemctl restart {facts.name}", down=True
            )
        ]
    again = facts.unit.get("NRestarts", "0")
    often = f", started anew {again} times" if again != "0" else ""
    state = f" ({facts.name} is {active}{often})" if loaded else ""
    last = f"; its last words: {facts.last}" if facts.last and active != "inactive" else ""
    title = f"no agent answers{state}: {facts.why}{last}"
    mend = f"systemctl start {facts.name}; {logs}"
    return [found("agent-down", "fault", title, mend, down=True)]


def _said(facts: Facts, status: Mapping[str, Any]) -> list[Finding]:
    findings = []
    theirs = str(status.get("version", ""))
    if theirs != facts.version:
        title = f"overlayctl is {facts.version}, the running agent is {theirs or 'older'}"
        findings.append(found("agent-version", "warning", title, f"systemctl restart {facts.name}"))
    if waiting := status.get("waiting_for"):
        down = status.get("verdict") == "down"
        title = f"the agent waits: {waiting}"
        mend = "overlayctl status; overlayctl etcd"
        findings.append(
            found("agent-waiting", "fault" if down else "warning", title, mend, down=down)
        )
    for who, why in dict(status.get("trouble") or {}).items():
        findings.append(found("agent-degraded", "warning", f"{who}: {why}", "overlayctl status"))
    for link, how in dict(status.get("offload") or {}).items():
        if str(how).startswith(_OFFLOAD_BAD):
            title = f"checksum offload below {link} is {how}"
            mend = f"ethtool -K {link} tx off stays so; newer firmware or driver for the card below, then docs/mtu.md"
            findings.append(found("checksum-offload", "warning", title, mend))
    return findings


def read(look: Look) -> Facts:
    """Ask both."""
    agent, name = look.agent(), look.unit()
    shown = look.run(("systemctl", "show", name, "--no-pager", "--property", ",".join(PROPERTIES)))
    unit = programs.properties(shown.out) if shown.code == 0 else {}
    last = ""
    if agent.status is None and unit.get("LoadState") == "loaded":
        last = last_words(
            look.run(("journalctl", "-u", name, "-n", "20", "-o", "cat", "--no-pager")).out
        )
    run_dir = look.settings.run_dir
    ran = any((run_dir / page).exists() for page in ("node.json", "cni.sock", "attachments"))
    return Facts(name, __version__, unit, last, agent.status, agent.why, ran)


def last_words(journal: str) -> str:
    """The last line that the agent itself wrote; of a start that failed it is the reason. Pure."""
    lines = [line.strip() for line in journal.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith("overlay-agent:")]
    return (told or [line for line in lines if "systemd" not in line] or [""])[-1][:300]


def _enable(look: Look) -> None:
    said = look.run(("systemctl", "enable", look.unit()))
    if said.code:
        raise OverlayError(
            f"systemctl enable {look.unit()}: {said.err.strip()}",
            hint=f"systemctl status {look.unit()}; journalctl -u {look.unit()}",
        )
