"""The front page of overlayctl: its verbs by task on one screen, and what was probably meant by a wrong one. Pure."""

from agent.ctl.verbs import VERBS, Verb

HELP_ALL = "--help-all"
HELP = frozenset({"-h", "--help", HELP_ALL})
WIDTH = 100
TASKS = (
    ("look", ("status", "peers", "mesh", "drift", "plan")),
    ("explain", ("why", "probe", "trace", "history", "doctor")),
    ("mend", ("gc", "ipam", "leave", "node")),
    ("install", ("install", "uninstall", "completion")),
    ("etcd", ("init", "etcd", "leases", "reserve", "release")),
)
HIDDEN = "_"
"""Begins the names of verbs that are not for people."""


def visible() -> list[Verb]:
    """The rows for people."""
    return [row for row in VERBS if not row.name.startswith(HIDDEN)]


def by_task() -> list[tuple[str, list[Verb]]]:
    """Every visible verb under one task; one that is under none comes last."""
    rows = {row.name: row for row in visible()}
    found = [(task, [rows.pop(name) for name in names if name in rows]) for task, names in TASKS]
    return [(task, verbs) for task, verbs in (*found, ("more", list(rows.values()))) if verbs]


def page() -> str:
    """What ``overlayctl`` and ``overlayctl --help`` print."""
    lines = ["usage: overlayctl VERB [options]        overlayctl VERB --help says it all", ""]
    width = max(len(row.name) for row in visible())
    for task, rows in by_task():
        for row in rows:
            head = task if row is rows[0] else ""
            lines.append(f"  {head:<9}{row.name:<{width}}  {short(row.help, WIDTH - width - 13)}")
    lines += [
        "",
        "The agent is found by --run-dir, etcd by the agent's own settings (/etc/overlay/agent.toml, OVERLAY_*).",
        "Every verb takes --output json. Exit codes: 0 well, 1 degraded or refused, 2 down, 64 wrong usage.",
        "First steps: overlayctl status. Something is wrong: overlayctl doctor, overlayctl why POD POD.",
    ]
    return "\n".join(lines) + "\n"


def meant(word: str) -> str:
    """The sentence about a verb that is none."""
    import difflib  # seldom needed, and not small

    near = difflib.get_close_matches(word, [row.name for row in visible()], n=2, cutoff=0.5)
    guess = f"; did you mean {' or '.join(near)}?" if near else ""
    return f"there is no verb {word!r}{guess}"


def short(text: str, most: int) -> str:
    """The first clause of a row's sentence, cut to so many letters."""
    for end in (";", " (", " exit code"):
        text = text.partition(end)[0]
    if len(text) > most and "? " in text:
        text = text.partition("? ")[0] + "?"
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"
