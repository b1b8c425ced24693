"""A real browser for the page that overlayctl makes: Debian's Chromium, driven over plain WebDriver.

It lives in a network namespace that has nothing but a loopback: whatever it tries to fetch has nowhere to go. The
protocol (W3C WebDriver) is JSON over HTTP; the connection's socket is opened inside of that namespace.
"""

import base64
import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from e2e.lab import Lab
from e2e.node import wait_for
from e2e.process import CommandFailed, Daemon
from overlay.netlink.namespace import run_inside

PORT = 9515
ANSWER_WITHIN_S = 60.0
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # it runs as root, and shows one page of our own
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""The protocol's name for a reference to an element."""


class Browser:
    """One session; taken down with the lab."""

    def __init__(self, lab: Lab) -> None:
        self._space = lab.add_space("browser")
        home = lab.work / "browser"
        home.mkdir()
        self._driver = Daemon(
            "chromedriver",
            self._space.inside(["chromedriver", f"--port={PORT}", "--allowed-ips=127.0.0.1"]),
            lab.work / "chromedriver.log",
            environ={"HOME": str(home), "TMPDIR": str(home)},
        )
        lab.track(self._driver)
        wait_for(self._serves, "chromedriver", timeout_s=60)
        options = {"args": [*FLAGS, f"--user-data-dir={home}/profile"]}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def close(self) -> None:
        """End the browser, then its driver."""
        self._ask("DELETE", self._session)
        self._driver.end()

    def open(self, page: Path) -> None:
        """Load a file; returns once it is loaded."""
        self._post("/url", url=page.as_uri())

    def resize(self, width: int, height: int, *, scale: float = 1, dark: bool = False) -> None:
        """The page's own size, and what the machine prefers."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
        self._cdp("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._cdp("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401 - any JSON
        """The value of a JavaScript function's body."""
        return self._post("/execute/sync", script=script, args=list(arguments))

    def click(self, selector: str) -> None:
        """As a pointer would: what is covered or not visible is refused."""
        self._post(f"/element/{self._element(selector)}/click")

    def keys(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._post(f"/element/{self._element(selector)}/value", text=text)

    def complaints(self) -> list[str]:
        """What the console has had to say since it was last asked."""
        return [str(entry["message"]) for entry in self._post("/se/log", type="browser")]

    def picture(self, path: Path) -> None:
        """A PNG of what is seen."""
        path.write_bytes(base64.b64decode(self._ask("GET", f"{self._session}/screenshot")))

    def _element(self, selector: str) -> str:
        found: Mapping[str, str] = self._post("/element", using="css selector", value=selector)
        return found[_ELEMENT]

    def _cdp(self, command: str, given: Mapping[str, object]) -> None:
        self._post("/goog/cdp/execute", cmd=command, params=given)

    def _post(self, path: str, **given: object) -> Any:  # noqa: ANN401 - any JSON
        return self._ask("POST", self._session + path, given)

    def _serves(self) -> bool:
        if not self._driver.alive:
            raise CommandFailed(f"chromedriver ended: {self._driver.log.read_text()[-500:]}")
        try:
            return bool(self._ask("GET", "/status")["ready"])
        except OSError:
            return False

    def _ask(self, method: str, path: str, given: Mapping[str, object] | None = None) -> Any:  # noqa: ANN401 - any JSON
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=ANSWER_WITHIN_S)
        connection.sock = run_inside(self._space.path, _connected)
        try:
            body = None if given is None else json.dumps(given)
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        finally:
            connection.close()
        if answer.status != http.client.OK:
            raise CommandFailed(f"WebDriver {path}: {value.get('error')}: {value.get('message')}")
        return value


def _connected() -> socket.socket:
    return socket.create_connection(("127.0.0.1", PORT), timeout=ANSWER_WITHIN_S)
