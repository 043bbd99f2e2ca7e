"""From outside, over real UDP, without a GPU: added parts with their notes, extraction, a cover, a song from words."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from mido import MidiFile

from tests.e2e.conftest import Project
from tests.e2e.test_main_job import run, take_path
from tests.support.daemon import Daemon
from tests.support.midi import midi_notes

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def redo(stem: Path, data_dir: Path) -> str:
    told = subprocess.run(
        [sys.executable, "-m", "bridge.cli", "redo", str(stem), "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    return told.stdout + told.stderr


def samples(project: Project, take: dict[str, Any]) -> np.ndarray:
    return soundfile.read(take_path(project, take), dtype="float32", always_2d=True)[0]


def test_complete_brings_a_stem_and_its_notes_for_every_track_and_variation(
    daemon: Daemon, project: Project, tmp_path: Path
) -> None:
    client = daemon.client()
    start_s, end_s = project.bar_s(8), project.bar_s(12)
    project.introduce(client, region=(start_s, end_s))
    asked = ("tracks", "guitar,strings,brass,percussion", "variations", 2, "seed", 5, "prompt", "soft acoustic guitar")
    manifest = run(client, "complete", *asked)
    first, after = round(start_s * project.rate), round(end_s * project.rate)
    takes = manifest["takes"]
    assert len(takes) == 8
    for take in takes:
        assert (take["start_frame"], take["frames"]) == (first, after - first)
        assert samples(project, take).shape == (after - first, 2)
        file = take_path(project, take).with_suffix(".mid")
        assert take["midi"] == file.name
        assert midi_notes(file)
        assert max(beat for beat, _ in midi_notes(file)) < 16.0
        tempos = [m.tempo for m in MidiFile(file).tracks[0] if m.type == "set_tempo"]
        assert tempos == [round(60e6 / project.bpm)]
    guitars = [take for take in takes if take["track"] == "guitar"]
    assert guitars[0]["recipe"]["engine_notes"]["instrument"] == "acoustic guitar"
    assert midi_notes(take_path(project, guitars[0]).with_suffix(".mid")) != midi_notes(
        take_path(project, guitars[1]).with_suffix(".mid")
    )
    assert "identical" in redo(take_path(project, guitars[1]), tmp_path / "other data")


def test_the_engine_without_a_voice_says_so_and_what_it_offers(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    project.introduce(client, region=(project.bar_s(8), project.bar_s(10)))
    reply = client.ask("/stembridge/lego", "tracks", "backing vocals")
    assert (reply.address, reply.args[0]) == ("/stembridge/error", "engine_cannot")
    assert "has no voice" in reply.args[1]
    assert "guitar" in reply.args[1]


def test_extract_takes_the_mix_apart_and_says_what_each_part_is(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    region = (project.bar_s(8), project.bar_s(12))
    project.introduce(client, region=region)
    manifest = run(client, "extract", "tracks", "drums,bass,vocals,keyboard")
    parts = {take["track"]: samples(project, take) for take in manifest["takes"]}
    first, after = (round(time_s * project.rate) for time_s in region)
    original = project.original(first, after - first)
    total = np.sum(list(parts.values()), axis=0)
    assert float(np.abs(total - original).max()) < 1e-3
    assert all(float(np.sqrt(np.mean(part**2))) > 1e-3 for part in parts.values())
    told = {take["track"]: take["recipe"]["engine_notes"] for take in manifest["takes"]}
    assert all(notes["separator"] == "masks" for notes in told.values())
    assert "not the keyboard alone" in told["keyboard"]["extracted"]


def test_a_cover_is_another_band_over_the_same_bars(daemon: Daemon, project: Project) -> None:
    client = daemon.client()
    region = (project.bar_s(8), project.bar_s(12))
    project.introduce(client, region=region)
    (take,) = run(client, "cover", "prompt", "bossa nova with nylon guitar and flute", "seed", 2)["takes"]
    assert take["frames"] == round(region[1] * project.rate) - round(region[0] * project.rate)
    assert take["midi"]
    assert any(text.startswith("woodwinds") for text in take["recipe"]["engine_notes"]["band"])


def test_a_song_from_words_needs_no_source_and_is_made_again_bit_for_bit(
    daemon: Daemon, project: Project, tmp_path: Path
) -> None:
    client = daemon.client()
    client.tell("/stembridge/project", str(project.folder), project.rate)
    manifest = run(client, "generate", "prompt", "minor key house, 122 bpm", "duration", 12.5, "seed", 9)
    (take,) = manifest["takes"]
    assert take["frames"] == round(12.5 * project.rate)
    told = take["recipe"]["engine_notes"]
    assert told["bpm"] == 122.0
    assert told["key"].endswith("minor")
    assert float(np.abs(samples(project, take)).max()) < 0.95
    assert "identical" in redo(take_path(project, take), tmp_path / "other data")
