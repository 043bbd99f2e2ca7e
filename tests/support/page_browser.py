"""The page in a real Chromium against the real daemon: the browser, what it complains of, and what can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from bridge.demo.song import render_demo_song
from tests.support import daemon as daemons
from tests.support.audio import save
from tests.support.daemon import Client, Daemon

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio")
WAIT_MS = 20_000


@dataclass
class Stage:
    """A daemon with a song that a DAW has told it of, and a browser."""

    daemon: Daemon
    browser: Browser
    folder: Path
    daw: Client
    complaints: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.daemon.ready['http_port']}/"

    @contextmanager
    def page(self, width: int = 1280, height: int = 900, *, scheme: Any = "light", scale: float = 1) -> Iterator[Page]:
        """The page, connected; errors, violations and requests elsewhere are kept in `complaints`."""
        context: BrowserContext = self.browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
        )
        page = context.new_page()
        page.set_default_timeout(WAIT_MS)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        page.on("request", lambda asked: self._elsewhere(asked.url))
        try:
            page.goto(self.url)
            page.locator('#connection[data-state="open"]').wait_for()
            yield page
        finally:
            context.close()

    def _elsewhere(self, url: str) -> None:
        if not url.startswith((self.url, self.url.replace("http", "ws", 1), "blob:", "data:")):
            self.complaints.append(f"asked {url}")

    def quiet(self) -> list[str]:
        """What the browser complained of since the last time."""
        said, self.complaints = self.complaints, []
        return said


@contextmanager
def chromium() -> Iterator[Browser]:
    """The system's own Chromium. Only one at a time: Playwright's synchronous face holds a loop of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def stage(browser: Browser, folder: Path, *options: str, engine: str = "sketch") -> Iterator[Stage]:
    """A daemon of its own with a song of 74 s: A minor, 104 BPM, bars 17 to 20 selected."""
    song = render_demo_song()
    project = folder / "night-drive"
    save(project / "night-drive.wav", song.audio, song.rate, subtype="PCM_24")
    with daemons.running(folder / "data", "--http-port", "0", *options, engine=engine) as daemon:
        daw = daemon.client()
        tell_song(daw, project)
        yield Stage(daemon, browser, folder, daw)


def tell_song(daw: Client, project: Path) -> None:
    """What a DAW says when the project is opened."""
    daw.tell("/stembridge/project", str(project), 48_000)
    daw.tell("/stembridge/source", str(project / "night-drive.wav"), 0.0)
    daw.tell("/stembridge/tempo", 104.0)
    daw.tell("/stembridge/timesig", 4, 4)
    daw.tell("/stembridge/key", "A minor")
    daw.tell("/stembridge/region/bars", 17, 4)
    daw.tell("/stembridge/position", 38.1)


def patient(folder: Path) -> tuple[str, ...]:
    """The options of a daemon whose engine takes two seconds for everything."""
    file = folder / "patient.toml"
    file.write_text('[engine.plugins]\npatient = "tests.support.patient:Patient"\n', encoding="utf-8")
    return ("--config", str(file))


# --- what a reader with other senses finds ----------------------------------------------------------------------------
_AUDIT = Path(__file__).with_name("page_audit.js")
_FOCUSED = Path(__file__).with_name("page_focus.js")


def audit(page: Page) -> list[str]:
    """What somebody who does not see, or sees little, would stumble over."""
    found: list[str] = page.evaluate(_AUDIT.read_text(encoding="utf-8"))
    return found


def keyboard_round(page: Page, most: int = 200) -> list[str]:
    """The names of what the Tab key reaches from the top, in order, once round; all of them visibly focused."""
    reached: list[str] = []
    page.evaluate("document.activeElement.blur()")
    for _ in range(most):
        page.keyboard.press("Tab")
        told = page.evaluate(_FOCUSED.read_text(encoding="utf-8"))
        if told["body"]:
            return reached
        assert told["ring"], f"focus cannot be seen on {told['name']}"
        reached.append(told["name"])
    raise AssertionError(f"Tab does not come round: {reached[-5:]}")
