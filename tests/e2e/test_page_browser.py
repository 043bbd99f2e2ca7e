"""The page in headless Chromium against the real daemon: what a musician does with it, by mouse and by keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect

from bridge.lan import interfaces_here
from tests.support import daemon as daemons
from tests.support.page_browser import (
    CHROMIUM,
    WAIT_MS,
    Stage,
    audit,
    chromium,
    keyboard_round,
    patient,
    stage,
    tell_song,
)

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed (Debian: chromium)"),
]
expect.set_options(timeout=WAIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def the_stage(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage(browser, tmp_path_factory.mktemp("page")) as made:
        made.daw.send("/stembridge/repaint", "id", "first", "variations", 2, "prompt", "warm electric piano")
        made.daw.finish("first")
        yield made


@pytest.fixture
def on_stage(the_stage: Stage) -> Iterator[Stage]:
    """The stage; afterwards the browser must not have complained of anything."""
    the_stage.quiet()
    yield the_stage
    assert the_stage.quiet() == []


def make(page: Page, mode: str) -> None:
    """Choose a mode of the form by its words."""
    page.locator(".modes label", has_text=mode).click()


def test_what_the_daw_says_is_shown_with_who_says_it(on_stage: Stage) -> None:
    with on_stage.page() as page:
        expect(page.locator("#fact-tempo .value")).to_have_text("104")
        expect(page.locator("#fact-tempo .detail")).to_have_text("BPM, 4/4")
        expect(page.locator("#fact-key .value")).to_have_text("A minor")
        expect(page.locator("#fact-region .value")).to_have_text("Bars 17\u201320")
        expect(page.locator("#fact-tempo .told")).to_have_text(re.compile(rf"OSC {on_stage.daw.port}, "))
        on_stage.daw.tell("/stembridge/position", 61.5)
        on_stage.daw.tell("/stembridge/play")
        expect(page.locator("#fact-position .value")).to_have_text("1:01.5")
        expect(page.locator("#fact-position .detail")).to_have_text("playing")
        on_stage.daw.tell("/stembridge/stop")
        expect(page.locator("#fact-position .detail")).to_have_text("stopped")


def test_a_job_is_made_through_the_page_and_its_take_is_heard(on_stage: Stage) -> None:
    with on_stage.page() as page:
        page.get_by_label("Prompt", exact=True).first.fill("brushed drums")
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.locator("#announcer")).to_have_text(re.compile(r"Repaint bars 17–20: done\."))
        job = page.locator("details.job").first
        expect(job).to_contain_text("brushed drums")
        expect(job.locator(".seam")).to_have_count(2)
        expect(job.locator(".edge-words").first).to_have_text(re.compile(r"seam \d+(st|nd|rd|th) percentile, no click"))
        expect(job.locator(".onsets line.onset").nth(5)).to_be_attached()
        expect(job.locator(".axis")).to_contain_text("17")
        play = job.get_by_role("button", name="Play Take 1")
        play.click()
        sounding = job.get_by_role("button", name="Pause Take 1")
        expect(sounding).to_be_visible()
        place = job.get_by_role("slider", name="Place in Take 1")
        begun = float(place.get_attribute("aria-valuenow") or "nan")
        page.wait_for_function(
            "([node, begun]) => Number(node.getAttribute('aria-valuenow')) > begun + 0.2",
            arg=[place.element_handle(), begun],
        )
        job.get_by_role("button", name="Original").click()
        expect(sounding).to_be_visible()  # it goes on, with the song as it was
        assert float(place.get_attribute("aria-valuenow") or "nan") > begun
        sounding.click()
        expect(play).to_be_visible()


def test_one_player_sounds_at_a_time_and_the_next_goes_on_at_the_same_place(on_stage: Stage) -> None:
    with on_stage.page() as page:
        job = page.locator('details.job[data-job="first"]')
        if job.get_attribute("open") is None:
            job.locator("summary").first.click()
        first, second = job.locator(".take").nth(0), job.locator(".take").nth(1)
        first.locator(".wave").press("Home")
        first.locator(".play").click()
        expect(first.locator(".play")).to_have_attribute("aria-pressed", "true")
        second.locator(".play").click()
        expect(second.locator(".play")).to_have_attribute("aria-pressed", "true")
        expect(first.locator(".play")).to_have_attribute("aria-pressed", "false")
        places = [float(take.locator(".wave").get_attribute("aria-valuenow") or "nan") for take in (first, second)]
        assert abs(places[1] - places[0]) < 1.5


def test_the_page_is_played_from_the_keyboard_alone(on_stage: Stage) -> None:
    with on_stage.page() as page:
        page.locator(".onsets:not([hidden])").first.wait_for()
        reached = keyboard_round(page)
        assert reached[0] == "Skip to the takes"
        for wanted in ("Play Take 1", "Place in Take 1", "Original", "In the session", "Make", "Start"):
            assert any(wanted in name for name in reached), (wanted, reached)
        place = page.get_by_role("slider", name=re.compile("Place in Take 1")).first
        place.focus()
        before = float(place.get_attribute("aria-valuenow") or "nan")
        page.keyboard.press("ArrowRight")
        expect(place).to_have_attribute("aria-valuenow", f"{before + 1:.1f}")
        page.keyboard.press("Space")
        expect(page.locator(".play").first).to_have_attribute("aria-pressed", "true")
        page.keyboard.press("Space")
        expect(page.locator(".play").first).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_left_out(on_stage: Stage, scheme: str) -> None:
    with on_stage.page(scheme=scheme) as page:
        page.locator(".onsets:not([hidden])").first.wait_for()
        for summary in page.locator(".measures > summary, .more > summary").all():
            summary.click()
        assert audit(page) == []


@pytest.mark.parametrize(("width", "height"), [(360, 740), (768, 1024), (1024, 768), (1920, 1080)])
def test_no_screen_scrolls_sideways(on_stage: Stage, width: int, height: int) -> None:
    with on_stage.page(width, height) as page:
        page.locator(".onsets:not([hidden])").first.wait_for()
        for mode in ("In the session", "From a prompt", "From a file"):
            make(page, mode)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("for (const details of document.querySelectorAll('details')) details.open = true")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_settings_hold_for_the_daemon_and_say_what_they_allow(on_stage: Stage) -> None:
    with on_stage.page() as page:
        steps = page.get_by_label("Steps", exact=True)
        steps.fill("30")
        steps.press("Tab")
        setting = page.locator('[data-setting="steps"]')
        expect(setting).to_have_class(re.compile("is-set"))
        on_stage.daw.send("/stembridge/session")
        on_stage.daw.wait_for(lambda m: m.address == "/stembridge/session/state" and m.args[:2] == ["set/steps", "30"])
        steps.fill("301")
        steps.press("Tab")
        expect(setting.locator(".problem")).to_have_text(re.compile("must be a whole number from 1 to 300"))
        on_stage.daw.tell("/stembridge/set/steps", 40)
        expect(steps).to_have_value("40")
        setting.get_by_role("button", name="Unset steps").click()
        expect(setting).not_to_have_class(re.compile("is-set"))
        expect(steps).to_have_value("")


def test_music_is_made_from_a_prompt_without_a_daw_and_downloaded(on_stage: Stage, tmp_path: Path) -> None:
    with on_stage.page() as page:
        make(page, "From a prompt")
        page.locator(".make-form [name=prompt]").fill("slow pads")
        page.locator(".make-form [name=duration]").fill("30")
        page.locator(".make-form [name=key_scale]").fill("H minor")
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.locator(".make-status")).to_have_text(re.compile("keyScale"))
        on_stage.quiet()  # Chromium notes a status of 400 as an error
        page.locator(".make-form [name=key_scale]").fill("A minor")
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.locator(".make-status")).to_contain_text("Done;")
        expect(page.locator(".make-status .note")).to_contain_text(re.compile("sketch|stands in", re.IGNORECASE))
        with page.expect_download() as download:
            page.get_by_role("link", name="download it").click()
        file = tmp_path / "made.flac"
        download.value.save_as(file)
        assert soundfile.info(file).duration == pytest.approx(30, abs=0.01)
        expect(page.locator("details.job").first).to_contain_text("Generate")


def test_a_span_of_a_file_is_made_anew(on_stage: Stage, tmp_path: Path) -> None:
    song = on_stage.folder / "night-drive" / "night-drive.wav"
    with on_stage.page() as page:
        make(page, "From a file")
        page.locator("input[type=file]").set_input_files(song)
        wave = page.locator(".picked .wave canvas").first
        wave.wait_for()
        box = page.locator(".picked .wave").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 0.25 * box["width"], box["y"] + 30)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.375 * box["width"], box["y"] + 30, steps=8)
        page.mouse.up()
        expect(page.get_by_label("From, s")).to_have_value(re.compile(r"18\.\d+"))
        page.get_by_label("From, s").fill("18.5")
        page.get_by_label("To, s").fill("24")
        page.get_by_label("To, s").press("Tab")
        expect(page.locator(".picked .hint")).to_have_text("Repaint 18.50\u201324.00 s.")
        page.locator(".make-form [name=prompt]").fill("brushes")
        page.get_by_role("button", name="Make", exact=True).click()
        expect(page.locator(".make-status")).to_contain_text("Done;")
        with page.expect_download() as download:
            page.get_by_role("link", name="download it").click()
        download.value.save_as(tmp_path / "made.flac")
        assert soundfile.info(tmp_path / "made.flac").frames == soundfile.info(song).frames


def test_a_live_run_is_started_shown_and_silenced(on_stage: Stage) -> None:
    with on_stage.page() as page:
        live = page.locator("#live")
        live.get_by_label("Phrase bars").fill("2")
        live.get_by_role("button", name="Start").click()
        expect(live.locator(".live-state")).to_have_text(re.compile("Waiting|Running"))
        expect(live.get_by_role("button", name="Start")).to_be_hidden()
        live.get_by_role("button", name="Panic: silence").click()
        expect(live.locator(".live-state")).to_have_text("Off")
        expect(live.get_by_role("button", name="Start")).to_be_visible()


def test_a_job_is_cancelled_and_asked_for_again(browser: Browser, tmp_path: Path) -> None:
    with stage(browser, tmp_path, *patient(tmp_path), engine="patient") as made, made.page() as page:
        for job in ("one", "two"):
            made.daw.ask("/stembridge/repaint", "id", job, "prompt", "slow")
        first = page.locator('#queue-list li[data-job="one"]')
        bar = first.get_by_role("progressbar")
        expect(bar).to_have_attribute("aria-valuenow", re.compile("[1-9]"))
        expect(page.locator('#queue-list li[data-job="two"]')).to_contain_text("1st in line")
        page.locator('#queue-list li[data-job="two"]').get_by_role("button", name=re.compile("Cancel")).click()
        first.get_by_role("button", name=re.compile("Cancel")).click()
        cancelled = page.locator('article[data-job="one"]')
        expect(cancelled).to_contain_text("Cancelled.")
        expect(page.locator("#queue-empty")).to_be_visible()
        cancelled.get_by_role("button", name=re.compile("Retry")).click()
        expect(page.locator('details.job[data-job="one"]')).to_contain_text("1 take")
        assert made.quiet() == []


def test_the_pin_for_controllers_is_shown_and_renewed_on_this_machine(browser: Browser, tmp_path: Path) -> None:
    addresses = [ip for interface in interfaces_here() for ip in interface.ipv4 if not ip.startswith("127.")]
    if not addresses:
        pytest.skip("this machine has no network: there is nothing to pair over")
    file = tmp_path / "lan.toml"
    file.write_text(f'[lan]\nenabled = true\ninterfaces = ["{addresses[0]}"]\n', encoding="utf-8")
    with stage(browser, tmp_path, "--config", str(file)) as made, made.page() as page:
        shown = page.locator("#network .pin")
        for _ in range(2):
            made.daw.send("/stembridge/lan")
            pin = made.daw.wait_for(lambda m: m.address == "/stembridge/lan/state").args[1]
            expect(shown).to_have_text(f"{pin[:3]} {pin[3:]}")
            page.get_by_role("button", name="New PIN").click()
            expect(shown).not_to_have_text(f"{pin[:3]} {pin[3:]}")
        expect(page.locator("#network")).to_contain_text("Nobody has paired.")
        expect(page.locator("#network .hint").first).to_contain_text(f"to {addresses[0]}, UDP port {made.daemon.port}")
        assert audit(page) == []
        assert made.quiet() == []


def test_the_page_says_that_the_daemon_is_gone_and_comes_back_by_itself(browser: Browser, tmp_path: Path) -> None:
    with stage(browser, tmp_path) as made, made.page() as page:
        expect(page.locator("#fact-tempo .value")).to_have_text("104")
        made.daemon.kill()
        expect(page.locator("#gone")).to_contain_text("The daemon has gone")
        expect(page.locator("#fact-tempo .value")).to_have_text("\u2013")
        port = str(made.daemon.ready["http_port"])
        with daemons.running(made.folder / "data", "--http-port", port) as again:
            tell_song(again.client(), made.folder / "night-drive")
            expect(page.locator("#gone")).to_be_hidden()
            expect(page.locator("#fact-tempo .value")).to_have_text("104")
            page.context.close()
