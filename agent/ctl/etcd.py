"""overlayctl etcd: how every endpoint is, what threatens the store, and how this node's agent stands with it."""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, TypeVar

from agent import connect
from agent.config import Config
from agent.ctl import show
from agent.ctl.client import ask
from agent.etcd import Etcd, members
from agent.etcd.members import Alarm, Member, Status
from agent.printable import printable
from agent.storehealth import DEFAULT_QUOTA, alarm, human, judge
from overlay.errors import BadConfig, NotReady, OverlayError

CALLS = 3
SILENT_S = 60.0
"""A watch that lives has a sign of it every 30 s at most (agent.etcd.watch)."""
WELL, DEGRADED, DOWN = "well", "degraded", "down"
CODES = {WELL: 0, DEGRADED: 1, DOWN: 2}
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint asked. ``status`` is None where it does not answer; ``why`` says so."""

    url: str
    status: Status | None = None
    latency_ms: float = 0.0
    quota: int | None = None
    why: str = ""


@dataclass(slots=True)
class Report:
    """All that was found; ``warnings`` make it degraded, ``notices`` do not."""

    endpoints: list[Endpoint]
    warnings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    alarms: list[dict[str, str]] = field(default_factory=list)
    agent: dict[str, Any] = field(default_factory=dict)

    @property
    def answering(self) -> list[Endpoint]:
        """Those that do."""
        return [one for one in self.endpoints if one.status]

    @property
    def verdict(self) -> str:
        """down: nothing answers, or nothing that answers has a leader."""
        if not any(one.status and one.status.leader for one in self.endpoints):
            return DOWN
        away = len(self.answering) < len(self.endpoints)
        return DEGRADED if away or self.warnings or self.alarms else WELL


def etcd(flags: argparse.Namespace, settings: Config) -> int:
    """0 all well, 1 degraded, 2 nothing reachable or no leader."""
    with closing(connect.store(settings)) as store:
        report = survey(store, settings)
        _agent(report, store, settings)
    if flags.output == "json":
        show.as_json(_plain(report))
    else:
        _show(report)
    return CODES[report.verdict]


def survey(store: Etcd, settings: Config) -> Report:
    """Ask all endpoints at once, so that one that hangs costs one deadline; then one of them for the cluster."""
    limit = settings.etcd_timeout
    with ThreadPoolExecutor(len(store.endpoints)) as pool:
        report = Report(list(pool.map(lambda url: _endpoint(store, url, limit), store.endpoints)))
    for one in report.answering:
        if one.status:
            found = judge(one.status, DEFAULT_QUOTA if one.quota is None else one.quota)
            _add(report.warnings, [str(item) for item in found])
    clusters = {one.status.cluster for one in report.answering if one.status}
    if len(clusters) > 1:
        names = ", ".join(
            f"{one.url} is of {one.status.cluster:x}" for one in report.answering if one.status
        )
        report.warnings.append(f"the endpoints are not of one cluster: {names}")
    for one in report.answering[:1]:
        _ask_cluster(report, store, one.url, limit)
    return report


def _endpoint(store: Etcd, url: str, limit_s: float) -> Endpoint:
    took = []
    try:
        for _ in range(CALLS):
            begun = time.perf_counter()
            status = members.status(store, url, timeout_s=limit_s)
            took.append(time.perf_counter() - begun)
    except OverlayError as error:
        return Endpoint(url, why=str(error))
    quota = members.quota(store, url, timeout_s=limit_s)
    return Endpoint(url, status, 1000 * statistics.median(took), quota)


def _ask_cluster(report: Report, store: Etcd, url: str, limit_s: float) -> None:
    raised = _or_notice(report, lambda: members.alarms(store, url, timeout_s=limit_s), "alarms")
    listed = _or_notice(report, lambda: members.members(store, url, timeout_s=limit_s), "members")
    _alarms(report, raised or ())
    _members(report, listed or ())


def _or_notice(report: Report, question: Callable[[], T], what: str) -> T | None:
    """The answer; a user that may not ask, or a member that ceased to answer, leaves a notice."""
    try:
        return question()
    except BadConfig as error:
        report.notices.append(f"{what} not shown: {error}")
    except OverlayError as error:
        report.warnings.append(f"{what} not shown: {error}")
    return None


def _alarms(report: Report, raised: Sequence[Alarm]) -> None:
    for one in raised:
        found = alarm(one.what)
        report.alarms.append(
            {"member": f"{one.member:x}", "alarm": one.what, "text": found.text, "mend": found.mend}
        )
        report.warnings = [text for text in report.warnings if text != str(found)]


def _members(report: Report, listed: Sequence[Member]) -> None:
    """Members that this node would never ask: fewer ways out when others fail."""
    asked = {one.status.member for one in report.answering if one.status}
    known = {_place(one.url) for one in report.endpoints}
    for one in listed:
        if one.id not in asked and not known & {_place(url) for url in one.urls}:
            urls = ", ".join(one.urls) or "no client URL yet"
            report.notices.append(
                f"member {one.name or f'{one.id:x}'} ({urls}) is not among etcd_endpoints"
            )


def _agent(report: Report, store: Etcd, settings: Config) -> None:
    """What the agent says, and what follows from it together with the store's own revision."""
    try:
        said = ask(settings.run_dir, "etcd")
    except NotReady as error:
        report.notices.append(str(error))
        return
    left = None
    if said["etcd_lease"] and report.answering:
        try:
            left = store.time_to_live(said["etcd_lease"])
        except OverlayError as error:
            report.notices.append(f"time left of the lease not shown: {error}")
    revision = max((one.status.revision for one in report.answering if one.status), default=None)
    report.agent = {**said, "ttl_left_s": left, "store_revision": revision}
    if said["state"] != "connected":
        report.warnings.append(f"the agent is not connected to etcd: {said['text']}")
    if not said["lease"]:
        report.warnings.append(f"the agent holds no lease: {said['waiting_for']}")
    if said["heard_s"] is not None and said["heard_s"] > SILENT_S:
        report.warnings.append(f"the agent's watch has heard nothing for {said['heard_s']:.0f} s")


# --- how it looks ---------------------------------------------------------------------------------


def _plain(report: Report) -> dict[str, Any]:
    return {
        "verdict": report.verdict,
        "cluster": _cluster(report),
        "endpoints": [_plain_endpoint(one) for one in report.endpoints],
        "alarms": report.alarms,
        "warnings": report.warnings,
        "notices": report.notices,
        "agent": report.agent or None,
    }


def _plain_endpoint(one: Endpoint) -> dict[str, Any]:
    status = one.status
    if status is None:
        return {"endpoint": one.url, "reachable": False, "error": one.why}
    return {
        "endpoint": one.url,
        "reachable": True,
        "member": f"{status.member:x}",
        "version": status.version,
        "latency_ms": round(one.latency_ms, 3),
        "leader": status.leader == status.member,
        "has_leader": bool(status.leader),
        "term": status.term,
        "revision": status.revision,
        "size_bytes": status.size,
        "in_use_bytes": status.in_use,
        "quota_bytes": DEFAULT_QUOTA if one.quota is None else one.quota,
        "quota_assumed": one.quota is None,
        "learner": status.learner,
        "errors": list(status.errors),
    }


def _show(report: Report) -> None:
    columns = (
        "ENDPOINT",
        "STATE",
        "VERSION",
        "MS",
        "LEADER",
        "TERM",
        "REVISION",
        "DB IN USE / SIZE / QUOTA",
    )
    show.table(columns, [_cells(one) for one in report.endpoints])
    if any(one.quota is None for one in report.answering):
        print("quota: assumed 2 GiB, etcd's default, where /metrics does not tell")
    print(f"cluster {_cluster(report) or 'not known'}: {report.verdict}")
    if report.agent:
        _show_agent(report.agent)
    for raised in report.alarms:
        print(f"  ! alarm {raised['alarm']} of member {raised['member']}: {raised['text']}")
        if raised["mend"]:
            print(f"    next: {raised['mend']}")
    for text in report.warnings:
        print(printable(f"  ! {text}"))
    for text in report.notices:
        print(printable(f"  - {text}"))


def _cells(one: Endpoint) -> list[str]:
    status = one.status
    if status is None:
        why = one.why.removeprefix(f"etcd at {one.url}: ")
        return [one.url, why, *["-"] * 6]
    state = "learner" if status.learner else "ok"
    quota = (
        "none" if one.quota is not None and one.quota <= 0 else human(one.quota or DEFAULT_QUOTA)
    )
    return [
        one.url,
        "; ".join((state, *status.errors)),
        status.version,
        f"{one.latency_ms:.1f}",
        "yes" if status.leader == status.member else "no" if status.leader else "none",
        str(status.term),
        str(status.revision),
        f"{human(status.in_use)} / {human(status.size)} / {quota}",
    ]


def _show_agent(agent: Mapping[str, Any]) -> None:
    left = agent["ttl_left_s"]
    lease = agent["lease"] or "none"
    if agent["etcd_lease"]:
        lease += f", granted {agent['ttl_s']:.0f} s" + (
            "" if left is None else f", {left:.0f} s left"
        )
    elif agent["lease"]:
        lease += ", a reservation without expiry"
    heard = "nothing heard yet"
    if agent["heard_s"] is not None:
        heard = f"last heard {agent['heard_s']:.0f} s ago at revision {agent['heard_revision']}"
    print(f"agent: {agent['state']} since {agent['since']}")
    print(f"  lease {lease}")
    print(f"  watch {heard}; the store is at {agent['store_revision'] or 'an unknown revision'}")


def _cluster(report: Report) -> str:
    return ", ".join(sorted({f"{one.status.cluster:x}" for one in report.answering if one.status}))


def _place(url: str) -> str:
    return url.rpartition("://")[2].rstrip("/")


def _add(texts: list[str], more: Sequence[str]) -> None:
    texts += [text for text in more if text not in texts]
