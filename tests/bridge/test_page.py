"""The page of takes: what it shows must be where it says, and nothing on it may come from elsewhere."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bridge.page import CONTEXT_S, write_page
from bridge.page_plots import VIEW_HEIGHT, envelope, png_data_uri, spectrogram, wave_path
from protocol.errors import SourceUnreadable
from protocol.music import Region, TempoMap
from tests.support.pages import Elements

RATE = 8000
TEMPO = TempoMap.constant(120.0)
SONG_S = 20.0


def write_manifest(folder: Path, verb: str, region: Region, level: float, takes: int = 2) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    first, last = region.frames(RATE)
    entries = []
    for number in range(1, takes + 1):
        file = folder / f"{verb} <{number}>.wav"
        soundfile.write(file, np.full((last - first, 2), level * number, np.float32), RATE, subtype="FLOAT")
        entries.append(
            {
                "number": number, "file": file.name, "start_s": region.start_s, "start_frame": first,
                "frames": last - first, "sample_rate": RATE, "score": 50.0 + number, "rank": takes + 1 - number,
                "measures": {}, "recipe": {"request": {"verb": verb}},
            }
        )  # fmt: skip
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({"protocol": 1, "job": {}, "takes": entries}), encoding="utf-8")
    return manifest


@pytest.fixture
def song(tmp_path: Path) -> Path:
    time = np.arange(round(SONG_S * RATE)) / RATE
    samples = np.stack([0.5 * np.sin(2 * np.pi * 220 * time), 0.5 * np.sin(2 * np.pi * 330 * time)], axis=1)
    file = tmp_path / "Gesänge ü <1>.wav"
    soundfile.write(file, samples, RATE, subtype="FLOAT")
    return file


def page_of(tmp_path: Path, song: Path, *manifests: Path, tempo: TempoMap | None = TEMPO) -> Elements:
    out = write_page(manifests, song, tmp_path / "takes.html", tempo, "A <song> & more")
    return Elements(out.read_text(encoding="utf-8"))


def test_every_player_leads_to_a_file_that_can_be_played(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job 1", "repaint", Region(8.0, 12.0), 0.2))
    sources = [audio["src"] for audio in page.all("audio")]
    assert len(sources) == 1 + 1 + 2 * 2, "the song, the original, and every take twice"
    for source in sources:
        assert soundfile.info(tmp_path / unquote(source)).frames > 0
    links = [a["href"] for a in page.all("a")]
    assert [link for link in links if not link.startswith("#")] == [
        "job%201/repaint%20%3C2%3E.wav",
        "job%201/repaint%20%3C1%3E.wav",
    ]


def test_the_preview_is_the_song_with_the_take_in_place_of_the_region_to_the_sample(tmp_path: Path, song: Path):
    region = Region(8.0, 12.0)
    page_of(tmp_path, song, write_manifest(tmp_path / "job", "repaint", region, 0.2))
    whole = soundfile.read(song, always_2d=True)[0]
    preview, rate = soundfile.read(tmp_path / "takes_files" / "job1_take-1_in-the-song.flac", always_2d=True)
    first, last = region.frames(rate)
    margin = round(CONTEXT_S * rate)
    expected = whole[first - margin : last + margin].copy()
    expected[margin : margin + last - first] = 0.2
    np.testing.assert_allclose(preview, expected, atol=2**-22)
    original = soundfile.read(tmp_path / "takes_files" / "job1_original.flac", always_2d=True)[0]
    np.testing.assert_allclose(original, whole[first - margin : last + margin], atol=2**-22)


def test_an_extension_is_shown_after_the_song_and_has_no_original(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job", "extend", Region(SONG_S, SONG_S + 4), 0.3, takes=1))
    assert not (tmp_path / "takes_files" / "job1_original.flac").exists()
    preview = soundfile.read(tmp_path / "takes_files" / "job1_take-1_in-the-song.flac", always_2d=True)[0]
    assert len(preview) == round((CONTEXT_S + 4) * RATE)
    np.testing.assert_allclose(preview[-4 * RATE :], 0.3, atol=2**-22)
    assert "Extend bars 11\u201312" in page.text


def test_a_stem_that_accompanies_is_heard_together_with_the_song(tmp_path: Path, song: Path):
    page_of(tmp_path, song, write_manifest(tmp_path / "job", "complete", Region(8.0, 12.0), 0.1, takes=1))
    whole = soundfile.read(song, always_2d=True)[0]
    preview = soundfile.read(tmp_path / "takes_files" / "job1_take-1_in-the-song.flac", always_2d=True)[0]
    inside = slice(round(CONTEXT_S * RATE), round((CONTEXT_S + 4) * RATE))
    np.testing.assert_allclose(preview[inside], whole[8 * RATE : 12 * RATE] + 0.1, atol=2**-22)


def test_the_page_asks_the_network_for_nothing(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2))
    assert not page.all("link")
    assert all("src" not in script for script in page.all("script"))
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    text = (tmp_path / "takes.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|url\(", text)


def test_names_are_shown_as_they_are_and_never_become_markup(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2))
    assert "A <song> & more" in page.text
    assert "Gesänge ü <1>" in page.text
    assert not page.all("song")


def test_the_seams_and_bar_lines_lie_at_their_times_on_every_axis(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2, takes=1))
    seams = [float(line["x1"]) for line in page.all("line") if line["class"] == "seam"]
    assert seams[:2] == pytest.approx([400, 600], abs=0.01), "8 s and 12 s of 20 s"
    assert seams[2:] == pytest.approx([1000 / 3, 2000 / 3] * 3, abs=0.01), "4 s of context, region, context"
    bars = [float(line["x1"]) for line in page.all("line") if line["class"] == "bar"]
    assert bars[:10] == pytest.approx([100.0 * bar for bar in range(10)], abs=0.01)


def test_the_best_take_comes_first(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2))
    assert page.text.index("Take 2") < page.text.index("Take 1")
    assert "score 52, best" in page.text


def test_without_a_tempo_the_axis_is_in_seconds(tmp_path: Path, song: Path):
    manifest = write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2)
    page = page_of(tmp_path, song, manifest, tempo=None)
    assert "Repaint 8.00\u201312.00 s" in page.text
    assert not [line for line in page.all("line") if line["class"] == "bar"]


def test_every_picture_and_button_has_words_for_those_who_do_not_see_it(tmp_path: Path, song: Path):
    page = page_of(tmp_path, song, write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2))
    assert all(image["alt"] for image in page.all("img"))
    labels = [button["aria-label"] for button in page.all("button")]
    assert len(set(labels)) == len(labels)
    assert all("aria-label" in svg or svg.get("aria-hidden") == "true" for svg in page.all("svg"))


def test_a_song_at_another_rate_is_resampled_for_the_previews(tmp_path: Path):
    file = tmp_path / "song.wav"
    soundfile.write(file, np.zeros((round(SONG_S * 11025), 1)), 11025)
    page_of(tmp_path, file, write_manifest(tmp_path / "job", "repaint", Region(8.0, 12.0), 0.2))
    info = soundfile.info(tmp_path / "takes_files" / "job1_take-1_in-the-song.flac")
    assert (info.samplerate, info.frames, info.channels) == (RATE, 12 * RATE, 2)


@pytest.mark.parametrize("content", ["", "[]", '{"takes": [{}]}', '{"takes": [{"file": "gone.wav"}]}'])
def test_a_manifest_that_is_not_one_is_an_error_that_names_it(tmp_path: Path, song: Path, content: str):
    manifest = tmp_path / "manifest.json"
    manifest.write_text(content)
    with pytest.raises(SourceUnreadable, match=r"manifest\.json"):
        page_of(tmp_path, song, manifest)
    assert not (tmp_path / "takes.html").exists()


@given(st.integers(0, 5000), st.integers(1, 300))
def test_the_envelope_holds_every_sample_whatever_the_lengths(frames: int, columns: int):
    audio = np.random.default_rng(frames).uniform(-1, 1, (2, frames)).astype(np.float32)
    low, high = envelope(audio, columns)
    assert len(low) == len(high) == columns
    if frames:
        assert high.max() == audio.max()
        assert low.min() == audio.min()


def test_a_waveform_path_stays_inside_its_box():
    points = re.findall(r"[ML](\S+) ([^LZ]+)", wave_path([-2.0, 0.0, -0.5], [2.0, 0.0, 0.25], first=10))
    assert {float(x) for x, _ in points} == {10, 11, 12, 13}
    assert all(0 <= float(y) <= VIEW_HEIGHT for _, y in points)


@pytest.mark.parametrize("hz", [110.0, 1000.0, 9000.0])
def test_a_tone_is_brightest_at_its_own_height_in_the_spectrogram(hz: float):
    rate = 48000
    time = np.arange(rate) / rate
    picture = spectrogram(np.sin(2 * np.pi * hz * time).astype(np.float32)[None], rate, width=50, height=128)
    row = int(picture[:, 10:40].astype(int).sum(axis=1).argmax())
    shown = 40 * (16000 / 40) ** (1 - (row + 0.5) / 128)
    assert shown == pytest.approx(hz, rel=0.15)


def test_silence_gives_a_dark_picture_and_a_png_that_opens():
    picture = spectrogram(np.zeros((2, 4000), np.float32), RATE, width=40, height=20)
    assert picture.max() == 0
    data = base64.b64decode(png_data_uri(picture).split(",")[1])
    image = Image.open(io.BytesIO(data)).convert("RGB")
    assert image.size == (40, 20)
    assert max(image.getpixel((5, 5))) < 20
