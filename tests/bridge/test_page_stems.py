"""The page of takes, where takes have stems, notes, chords and measures of their own, or no song."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile

from bridge.measure_rows import measure_rows
from bridge.page import CONTEXT_S, write_page
from engine import report
from protocol.music import TempoMap
from tests.support.pages import Elements
from tests.support.songs import render_song, sketch_request

RATE = 8000
TEMPO = TempoMap.constant(120.0)
SONG_S = 20.0
FRAMES = 4 * RATE
LEVELS = {("drums", 1): 0.1, ("bass", 1): 0.02, ("drums", 2): 0.3, ("bass", 2): 0.04}


def write_stems(folder: Path, verb: str = "complete", **changes: Any) -> Path:
    """Two variations of drums and bass, constant at `LEVELS`; the bass of variation 2 is the better one."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, ((track, variation), level) in enumerate(LEVELS.items(), 1):
        file = folder / f"{track}-{variation}.wav"
        soundfile.write(file, np.full((FRAMES, 2), level, np.float32), RATE, subtype="FLOAT")
        file.with_suffix(".mid").write_bytes(b"MThd")
        recipe = {"request": {"verb": verb}, "engine": "sketch", "engine_version": "2", "engine_notes": {}}
        entries.append(
            {
                "number": number, "variation": variation, "file": file.name, "midi": f"{file.stem}.mid",
                "start_frame": 8 * RATE, "track": track, "seed": 6 + variation, "score": 50.0 + number,
                "rank": 2 if (track, variation) in (("drums", 1), ("bass", 1)) else 1, "measures": {},
                "recipe": recipe, **changes,
            }
        )  # fmt: skip
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"takes": entries}), encoding="utf-8")
    return manifest


def noted(notes: Mapping[str, Any]) -> dict[str, Any]:
    return {"request": {"verb": "complete"}, "engine": "sketch", "engine_version": "2", "engine_notes": dict(notes)}


@pytest.fixture
def song(tmp_path: Path) -> Path:
    file = tmp_path / "song.wav"
    soundfile.write(file, np.full((round(SONG_S * RATE), 2), 0.2, np.float32), RATE, subtype="FLOAT")
    return file


def page_of(tmp_path: Path, manifest: Path, song: Path | None, tempo: TempoMap | None = TEMPO) -> Elements:
    out = write_page([manifest], song, tmp_path / "takes.html", tempo, "Takes")
    return Elements(out.read_text(encoding="utf-8"))


def heard(tmp_path: Path, name: str) -> Any:
    return soundfile.read(tmp_path / "takes_files" / f"job1_{name}.flac", always_2d=True)[0]


# --- stems ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("variation", [1, 2])
def test_all_stems_of_a_variation_can_be_heard_together_in_the_song(tmp_path: Path, song: Path, variation: int):
    page = page_of(tmp_path, write_stems(tmp_path / "job"), song)
    assert f"All stems of take {variation}" in page.text
    both = heard(tmp_path, f"take-{variation}_all-stems")
    inside = slice(round(CONTEXT_S * RATE), round((CONTEXT_S + 4) * RATE))
    together = 0.2 + LEVELS["drums", variation] + LEVELS["bass", variation]
    np.testing.assert_allclose(both[inside], together, atol=2**-22)
    np.testing.assert_allclose(both[: inside.start], 0.2, atol=2**-22)
    labels = [button["aria-label"] for button in page.all("button")]
    assert f"Play all stems of take {variation} in the song" in labels
    assert len(set(labels)) == len(labels)


def test_what_was_extracted_is_heard_by_itself_and_not_added_to_what_holds_it(tmp_path: Path, song: Path):
    page = page_of(tmp_path, write_stems(tmp_path / "job", "extract"), song)
    assert "All stems" not in page.text
    preview = heard(tmp_path, "take-1_in-the-song")
    inside = slice(round(CONTEXT_S * RATE), round((CONTEXT_S + 4) * RATE))
    np.testing.assert_allclose(preview[inside], LEVELS["drums", 1], atol=2**-22)
    np.testing.assert_allclose(preview[: inside.start], 0.2, atol=2**-22)


def test_the_notes_of_a_stem_are_linked_beside_it_if_they_are_still_there(tmp_path: Path, song: Path):
    manifest = write_stems(tmp_path / "job")
    (tmp_path / "job" / "bass-2.mid").unlink()
    links = [unquote(a["href"]) for a in page_of(tmp_path, manifest, song).all("a")]
    assert [link for link in links if link.endswith(".mid")] == ["job/drums-2.mid", "job/drums-1.mid", "job/bass-1.mid"]
    assert sum(link.endswith(".wav") for link in links) == 4


def test_the_ranking_leads_to_each_take(tmp_path: Path, song: Path):
    page = page_of(tmp_path, write_stems(tmp_path / "job"), song)
    links = [a["href"].removeprefix("#") for a in page.all("a") if a["href"].startswith("#")]
    rows = [row["id"] for row in page.all("div") if "id" in row]
    assert len(links) == 4
    assert sorted(links) == sorted(rows)
    assert page.text.index("Take 2, bass") < page.text.index("Take 1, bass"), "the better bass first"


# --- what is told of a take -------------------------------------------------------------------------------------------
def test_chords_stand_over_their_time_and_only_on_the_axis(tmp_path: Path, song: Path):
    spans = [[0.0, 6.0, "Am7"], [6.0, 10.0, "F<sus>"], [10.0, 10.0, "C"], [17.0, 20.0, "G"]]
    page = page_of(tmp_path, write_stems(tmp_path / "job", measures={"chords": {"spans": spans}}), song)
    boxes = [(li["style"], li["title"]) for li in page.all("li")]
    axis_s = 4.0 + 2 * CONTEXT_S
    for style, title in boxes:
        left, width = (float(part.split(":")[1].rstrip("%")) for part in style.split(";"))
        assert (left, left + width) == pytest.approx(
            (0.0, 100 * 2.0 / axis_s) if title == "Am7" else (100 * 2.0 / axis_s, 100 * 6.0 / axis_s), abs=0.01
        )
    assert [title for _, title in boxes] == ["Am7", "F<sus>"] * 5, "the song's own row, and one for each stem"


@pytest.mark.parametrize(
    ("notes", "says"),
    [
        ({"grid": "estimated"}, "No tempo was told: the beats were estimated."),
        ({"grid": "daw", "key_told": False}, "No key was told: it was estimated."),
        ({"clipped_samples": 12}, "12 samples were clipped to 24 bits."),
        ({"filled": "the song offers too little"}, "The song offers too little."),
        ({"warnings": ["strange things."]}, "Strange things."),
        (
            {"rolls": [{"seed": 7, "score": 61.2}, {"seed": 9, "score": 72.0}]},
            "The best of 2 tries: seed 7 scored 61, seed 9 scored 72.",
        ),
    ],
)
def test_what_one_should_know_is_said_once_if_it_holds_for_all_takes(
    tmp_path: Path, song: Path, notes: dict[str, Any], says: str
):
    assert page_of(tmp_path, write_stems(tmp_path / "all", recipe=noted(notes)), song).text.count(says) == 1
    manifest = write_stems(tmp_path / "one")
    content = json.loads(manifest.read_text())
    content["takes"][2]["recipe"]["engine_notes"] = notes
    manifest.write_text(json.dumps(content))
    page = page_of(tmp_path, manifest, song)
    assert page.text.count(says) == 1
    assert "sketch 2, seed 7" in page.text
    assert says not in page_of(tmp_path, write_stems(tmp_path / "none"), song).text


def real_measures() -> dict[str, Any]:
    """Of a repaint that is the song's own bars, 9 dB too soft."""
    source = render_song()
    region = source.frames_of_bars(9, 2)
    request = sketch_request(source, region)
    audio = source.audio[:, region[0] : region[1]] * np.float32(0.355)
    return report.measure(audio, region=region, rate=source.rate, request=request, spliced_gain_db=0.0)


def test_every_measure_stands_beside_the_songs_own_with_its_part_of_the_score(tmp_path: Path, song: Path):
    measures = real_measures()
    rows = {row.name: row for row in measure_rows(measures)}
    assert [*rows] == [name for name, _ in report.summary(measures)]
    for name, value in report.subscores(measures).items():
        if value is not None:
            assert rows[name].subscore == value
            assert rows[name].song, f"{name} tells what the song does itself"
    counted = [row for row in rows.values() if row.weight is not None]
    assert sum(row.weight or 0 for row in counted) == pytest.approx(100)
    mean = sum((row.weight or 0) * (row.subscore or 0) for row in counted)
    assert mean == pytest.approx(report.score(measures), abs=0.01)
    page = page_of(tmp_path, write_stems(tmp_path / "job", measures=measures), song)
    assert rows["level"].words in page.text
    assert rows["grid"].song in page.text
    widths = {span["style"] for span in page.all("span") if span.get("style", "").startswith("width")}
    assert {f"width:{100 * row.subscore:.1f}%" for row in counted if row.subscore is not None} <= widths
    details = page.all("details")
    assert [("open" in part) for part in details] == [True, True, False, False], "the best of each track are open"


def test_measures_of_an_engine_that_measures_otherwise_do_no_harm(tmp_path: Path, song: Path):
    page = page_of(tmp_path, write_stems(tmp_path / "job", measures={"sparkle": {"lock": 1.0}}), song)
    assert f"{FRAMES} samples" in page.text


# --- no song ----------------------------------------------------------------------------------------------------------
def test_takes_without_a_song_stand_and_play_alone(tmp_path: Path):
    page = page_of(tmp_path, write_stems(tmp_path / "job", "generate", track=None), None)
    assert "The song" not in page.text
    assert "In the song" not in page.text
    names = ("drums-1", "bass-1", "drums-2", "bass-2")
    assert sorted(audio["src"] for audio in page.all("audio")) == sorted(f"job/{name}.wav" for name in names)
    assert not list((tmp_path / "takes_files").iterdir())
    assert "Generate bars 5\u20136" in page.text
