"""reload: what can change while the agent runs is taken, what cannot is named, and a bad file changes nothing."""

import logging
from dataclasses import fields, replace

import pytest

from agent.config import Config
from agent.reload import LIVE, SECRET, Reload, compared, worded
from overlay.errors import BadConfig
from tests.agent.test_config import load

BEFORE = load([])
SECOND = replace(BEFORE, etcd_endpoints=("http://192.0.2.2:2379",), bridge="br7")


class FakeDoor:
    """An etcd client that can be told to refuse."""

    def __init__(self, refusal: str = "", news: str = "") -> None:
        self.refusal, self.news = refusal, news
        self.dialled: list[Config] = []

    def redial(self, config: Config) -> str:
        if self.refusal:
            raise BadConfig(self.refusal, hint="look at the file")
        self.dialled.append(config)
        return self.news


def _read(text: str) -> Config:
    raise BadConfig(f"log_level = {text!r}: not one of debug, info, warning, error")


def test_every_setting_is_either_taken_or_waits() -> None:
    """And what waits stays as it was; a setting that is renamed here is renamed in LIVE."""
    other = load(["--bridge", "br7", "--log-level", "debug", "--resync-interval", "30s"])

    found = compared(BEFORE, other)

    assert set(found.taken) == {"log_level", "resync_interval"}
    assert found.waiting == ("bridge",)
    assert (found.now.log_level, found.now.bridge) == ("DEBUG", BEFORE.bridge)
    assert {field.name for field in fields(Config)} >= LIVE
    assert compared(BEFORE, BEFORE).taken == compared(BEFORE, BEFORE).waiting == ()


def test_what_is_taken_is_told_and_what_waits_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Followers hear of what is in force, which is not all that was read."""
    door, told = FakeDoor(), list[Config]()
    reload = Reload(BEFORE, lambda: SECOND, door, [told.append])

    with caplog.at_level(logging.INFO):
        reload.now()

    in_force = replace(BEFORE, etcd_endpoints=SECOND.etcd_endpoints)
    assert [reload.config] == told == door.dialled == [in_force]
    assert "settings read again: etcd_endpoints=http://192.0.2.2:2379" in caplog.text
    waits = "needs a restart of overlay-agent (pods keep running): bridge=br7, in force is bridge=overlay0"
    assert waits in caplog.text

    caplog.clear()
    with caplog.at_level(logging.INFO):
        reload.now()
    assert "settings read again: nothing to take" in caplog.text
    assert waits in caplog.text  # it still does


@pytest.mark.parametrize("where", ["file", "certificates"])
def test_a_bad_file_changes_nothing(where: str, caplog: pytest.LogCaptureFixture) -> None:
    """One error, with what to do next; nobody is told of half the settings."""
    told: list[Config] = []
    door = FakeDoor("etcd_keyfile = 'x': No such file" if where == "certificates" else "")
    read = (lambda: _read("loud")) if where == "file" else (lambda: SECOND)
    reload = Reload(BEFORE, read, door, [told.append])

    with caplog.at_level(logging.INFO):
        reload.now()

    assert (reload.config, told) == (BEFORE, [])
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "new settings refused, those of before stay in force" in record.getMessage()


def test_new_certificates_are_told_though_no_setting_changed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Their files are the same settings with other contents."""
    with caplog.at_level(logging.INFO):
        Reload(BEFORE, lambda: BEFORE, FakeDoor(news="new certificates"), []).now()
    assert "settings read again: new certificates" in caplog.text


@pytest.mark.parametrize("levels", [("INFO", "WARNING"), ("WARNING", "INFO")])
def test_a_change_of_the_log_level_is_said_by_the_more_talkative_one(
    levels: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Once, in either direction."""
    before, after = (replace(BEFORE, log_level=level) for level in levels)
    logger = logging.getLogger("agent.reload")
    follow = [lambda config: logger.setLevel(config.log_level)]
    with caplog.at_level(logging.DEBUG):
        try:
            logger.setLevel(before.log_level)
            Reload(before, lambda: after, FakeDoor(), follow).now()
        finally:
            logger.setLevel(logging.NOTSET)
    assert caplog.text.count("settings read again: log_level=") == 1


def test_a_password_is_never_shown() -> None:
    """The journal is read by more people than the file."""
    config = replace(BEFORE, etcd_password="hunter2")
    assert {name for name in SECRET if "hunter2" in worded(name, config)} == set()
