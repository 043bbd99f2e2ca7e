"""Draw the pictures of docs/reaper.md: ``python -m tests.support.reaper_pictures``.

The real scripts run in the double of REAPER, the real daemon answers, and what lies in the project then is drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.support.daemon import ROOT
from tests.support.reascript.model import Project
from tests.support.reascript.picture import View, draw, draw_window
from tests.support.reascript.projects import song_project
from tests.support.studio import Studio, select, studio

IMAGES = ROOT / "docs" / "images"
BAR_S = 2.0


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        desk = studio(Path(folder))
        try:
            desk.start_daemon()
            _repaint(desk, Path(folder))
            _complete(desk, Path(folder))
            desk.stop()
            desk.start_daemon(engine="patient")
            _window(desk, Path(folder))
        finally:
            desk.stop()


def _repaint(desk: Studio, folder: Path) -> None:
    project = desk.reaper.open(song_project(folder / "Repaint", tracks=("Guitar", "Piano")))
    span = (8 * BAR_S, 12 * BAR_S)
    select(project, *span, project.tracks[0])
    project.ext_state["stembridge"] = {"variations": "2", "seed": "7"}
    desk.reaper.answers.user_inputs = [["calmer, brushed drums"]]
    desk.act("Repaint selection with prompt")
    _write("reaper-repaint", project, View(4 * BAR_S, 16 * BAR_S), span)


def _complete(desk: Studio, folder: Path) -> None:
    project = desk.reaper.open(song_project(folder / "Complete", tracks=("Guitar",)))
    span = (4 * BAR_S, 12 * BAR_S)
    select(project, *span, project.tracks[0])
    project.ext_state["stembridge"] = {"seed": "7"}
    desk.reaper.answers.user_inputs = [["drums, bass, keyboard", "laid back"]]
    desk.act("Complete selection with")
    _write("reaper-complete", project, View(2 * BAR_S, 14 * BAR_S), span)


def _window(desk: Studio, folder: Path) -> None:
    project = desk.reaper.open(song_project(folder / "Window", tracks=("Guitar", "Piano")))
    for track, bar in zip(project.tracks, (8, 16), strict=True):
        select(project, bar * BAR_S, (bar + 4) * BAR_S, track)
        desk.begin("Repaint selection")
    reaper = desk.reaper
    reaper.pump_until(lambda: any(window.shows("left") for window in reaper.windows), 60)
    (IMAGES / "reaper-window.svg").write_text(draw_window(reaper.windows[0]), encoding="utf-8")
    desk.finish()


def _write(name: str, project: Project, view: View, span: tuple[float, float]) -> None:
    bars = [(bar + 1, bar * BAR_S) for bar in range(24)]
    (IMAGES / f"{name}.svg").write_text(draw(project, view, bars, span), encoding="utf-8")


if __name__ == "__main__":
    main()
