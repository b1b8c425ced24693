"""etcd: reachable, healthy, new enough, room left; and whether the network config is there and can be read."""

from contextlib import closing

from agent import connect
from agent.ctl import etcd
from agent.ctl.doctor.finding import Finding, found
from agent.ctl.doctor.look import Configured, Look
from agent.ctl.etcd import DOWN, Report
from overlay.errors import BadConfig

SAFE = {(3, 4): (3, 4, 34), (3, 5): (3, 5, 16)}
"""From these on no deletion is lost at a compaction (docs/etcd.md); from 3.6 on none ever was."""
_EXAMPLE = "overlayctl init --network 10.5.0.0/16"


def check(look: Look) -> list[Finding]:
    """All endpoints."""
    try:
        with closing(connect.store(look.settings)) as store:
            return judge(etcd.survey(store, look.settings))
    except BadConfig as error:  # the settings contradict themselves, or a file is of no use
        mend = error.hint or "put it right in agent.toml; overlay-agent --help"
        return [found("etcd-unreachable", "fault", str(error), mend)]


def judge(report: Report) -> list[Finding]:
    """Pure."""
    findings = []
    if report.verdict == DOWN:
        why = "; ".join(f"{one.url}: {one.why or 'no leader'}" for one in report.endpoints)
        findings.append(
            found("etcd-unreachable", "fault", f"no etcd serves: {why}", "overlayctl etcd")
        )
    else:
        findings += [
            found(
                "etcd-degraded",
                "warning",
                f"{one.url} does not answer: {one.why}",
                "overlayctl etcd",
            )
            for one in report.endpoints
            if one.status is None
        ]
    for text in report.warnings:
        what, _, mend = text.partition("; to mend: ")
        findings.append(found("etcd-degraded", "warning", what, mend or "overlayctl etcd"))
    for raised in report.alarms:
        title = f"alarm {raised['alarm']} of member {raised['member']}: {raised['text']}"
        findings.append(found("etcd-alarm", "fault", title, raised["mend"] or "etcdctl alarm list"))
    notices = [found("etcd-notice", "note", text, "overlayctl etcd") for text in report.notices]
    return [*findings, *_old(report), *notices]


def _old(report: Report) -> list[Finding]:
    versions = {one.url: one.status.version for one in report.answering if one.status}
    return [
        found("etcd-old", "warning", f"{url} is etcd {version}", f"upgrade it to {wanted} or later")
        for url, version in versions.items()
        if (wanted := too_old(version))
    ]


def too_old(version: str) -> str:
    """The version to upgrade to, empty if this one is all right or cannot be read. Pure."""
    parts = version.split("-")[0].split(".")
    if len(parts) < 3 or not all(part.isdigit() for part in parts[:3]):
        return ""
    major, minor, patch = (int(part) for part in parts[:3])
    safe = SAFE.get((major, minor))
    if (major, minor) < min(SAFE):
        safe = SAFE[(3, 4)]
    return ".".join(map(str, safe)) if safe and (major, minor, patch) < safe else ""


def check_config(look: Look) -> list[Finding]:
    """P/config."""
    return judge_config(look.configured(), look.settings.etcd_prefix)


def judge_config(configured: Configured, prefix: str) -> list[Finding]:
    """Pure; where etcd does not answer nothing is known."""
    if configured.absent:
        title = f"there is no network config at {prefix}/config"
        return [found("network-config-missing", "warning", title, _EXAMPLE)]
    if configured.answered and configured.network is None:
        mend = f"etcdctl get {prefix}/config; {_EXAMPLE} --force"
        return [found("network-config-bad", "fault", configured.why, mend)]
    if not configured.answered:
        title = f"the network config is not known, so that nothing was compared with it: {configured.why}"
        if configured.network is not None:
            title = f"the network config is that of the last copy, etcd does not answer: {configured.why}"
        return [found("network-config-unknown", "note", title, "overlayctl etcd")]
    return []
