"""The page's pictures in the documentation: ``python -m tests.support.page_pictures [FOLDER]``. Look at them."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.support.page_browser import Stage, chromium, stage

IMAGES = Path(__file__).parents[2] / "docs" / "images"
SCREENS = {
    "light": (1280, 880, "light", 1.5),
    "dark": (1280, 880, "dark", 1.5),
    "tablet": (1024, 768, "dark", 1.5),
    "phone": (390, 844, "dark", 2),
}


def take_pictures(folder: Path) -> None:
    """Draw every screen into `folder`."""
    with (
        tempfile.TemporaryDirectory() as name,
        chromium() as browser,
        stage(browser, Path(name)) as on_stage,
    ):
        _play(on_stage)
        with ExitStack() as pages:
            opened = {
                screen: pages.enter_context(on_stage.page(width, height, scheme=scheme, scale=scale))
                for screen, (width, height, scheme, scale) in SCREENS.items()
            }
            for page in opened.values():
                page.locator('[data-job="painted"] .onsets:not([hidden])').nth(1).wait_for()
            for verb in ("repaint", "cover", "extend", "repaint"):
                on_stage.daw.ask(f"/stembridge/{verb}", "prompt", "brushed drums, upright bass", "variations", 4)
            for screen, page in opened.items():
                page.locator('.queue [role="progressbar"]:not([aria-valuenow="0"])').first.wait_for()
                if screen == "phone":
                    page.evaluate("document.querySelector('#takes').scrollIntoView()")
                page.screenshot(path=folder / f"page-{screen}.png")
        for complaint in on_stage.quiet():
            sys.stderr.write(f"the browser says: {complaint}\n")


def _play(on_stage: Stage) -> None:
    daw = on_stage.daw
    daw.send("/stembridge/extend", "id", "extended", "bars", 4)
    daw.finish("extended")
    stems = ("tracks", "guitar,strings", "prompt", "fingerpicked acoustic guitar, soft strings")
    daw.send("/stembridge/complete", "id", "completed", *stems)
    daw.finish("completed")
    daw.send("/stembridge/repaint", "id", "painted", "variations", 2, "prompt", "warm electric piano, laid-back drums")
    daw.finish("painted")
    daw.tell("/stembridge/play")


if __name__ == "__main__":
    take_pictures(Path(sys.argv[1]) if len(sys.argv) > 1 else IMAGES)
