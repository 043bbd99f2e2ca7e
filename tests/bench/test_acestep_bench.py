"""The benchmark of the engine: its geometries are what they claim, and its script runs from end to end."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.bench import acestep, acestep_jobs, geometry


def test_xl_has_the_published_number_of_parameters() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        parts = geometry.modules(geometry.XL, "meta")
    counts = {
        name: sum(part.numel() for part in parts[name].parameters())
        for name in ("transformer", "condition_encoder", "vae")
    }
    # facts/acestep.md, section 3; the VAE's agrees with the published file's size.
    assert counts == {"transformer": 4_168_897_088, "condition_encoder": 608_369_664, "vae": 168_695_426}


@pytest.mark.slow
def test_weights_made_in_memory_are_those_that_are_written(tmp_path: Path) -> None:
    songs = acestep.make_songs(tmp_path, [0.5])
    checkpoint = geometry.write(geometry.TINY, tmp_path / "bench-tiny-base")
    sounds = []
    for in_memory in (False, True):
        work = tmp_path / f"in-memory-{in_memory}"
        work.mkdir()
        setting = acestep_jobs.Setting("tiny", "cpu", checkpoint, in_memory, work, steps=2, repeats=1)
        (take,) = acestep_jobs.Ours(setting, songs[0]).takes(songs[0], "repaint", (10.0, 12.0), seed=3)
        sounds.append(soundfile.read(take.file, dtype="float32")[0])
    assert np.isfinite(sounds[0]).all()
    np.testing.assert_array_equal(*sounds)


@pytest.mark.bench
@pytest.mark.timeout(900)
def test_a_quick_run_measures_everything_and_writes_no_page(capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in acestep.DOCS.glob("benchmarks-engine*")}
    assert acestep.main(["--quick", "--geometry", "tiny", "--device", "cpu"]) == 0
    page = capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in acestep.DOCS.glob("benchmarks-engine*")} == before
    titles = re.findall(r"^## (.+)$", page, re.MULTILINE)
    assert titles == [
        "Goals",
        "Repaint of 8 s",
        "Complete of 30 s",
        "Variations",
        "One guided step of the network",
        "Peak memory",
        "On a GPU, XL geometry",
    ]
    assert page.count("length exact, bit-identical, and so are the region's first and last sample") == 2
    assert page.count("1,000 samples missing") == 2
    assert "| the second repaint encodes nothing | 0 frames | yes |" in page
    assert "these rows are empty" in page
    errors = [float(error) for error in re.findall(r"x \((\d+e-\d+)\)", page)]
    assert errors
    assert max(errors) < 1e-4
