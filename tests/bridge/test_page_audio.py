"""What the page plays and draws: exact stretches, any part of them, joined without a shift."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.doors.page_audio import Stretch, View, envelope, wav_bytes, wav_part
from protocol.errors import SourceUnreadable
from protocol.job import Job, Recipe, SourceRef, Take
from protocol.vocabulary import JobState, Verb
from tests.support.audio import noise, save, tones
from tests.support.jobs import job as plain_job

RATE = 8_000
START_S, START, FRAMES = 5.25, 42_000, 12_000
SONG_S = 12


def made(
    folder: Path, *, verb: Verb = Verb.REPAINT, song_rate: int = RATE, song_start_s: float = 0.25, channels: int = 2
) -> tuple[Job, Take, Path]:
    """A done job with one take of 1.5 s in a song of twelve that begins at `song_start_s`."""
    song = save(folder / "song.wav", tones(SONG_S * song_rate, song_rate, channels), song_rate, subtype="FLOAT")
    file = save(folder / "take.wav", noise(FRAMES, seed=3), RATE, subtype="FLOAT")
    request = plain_job(folder=folder).request
    source = SourceRef(file=str(song), start_s=song_start_s)
    request = request.model_copy(update={"verb": verb, "source": source})
    recipe = Recipe(request=request, seed=7, sample_rate=RATE, engine="sketch", engine_version="2")
    place = {"start_s": START_S, "start_frame": START, "frames": FRAMES, "sample_rate": RATE}
    take = Take(number=1, file=str(file), seed=7, score=90.0, recipe=recipe, **place)
    job = plain_job("done", state=JobState.DONE, folder=folder)
    return job.model_copy(update={"request": request, "takes": (take,), "ended": 1.0}), take, song


def whole(job: Job, take: Take, view: View) -> np.ndarray:
    with Stretch(job, take, view) as stretch:
        return np.concatenate(list(stretch.blocks()))


def test_in_the_song_a_take_lies_to_the_sample_between_the_songs_own_samples(tmp_path: Path) -> None:
    job, take, song = made(tmp_path)
    audio = whole(job, take, View.SONG)
    own, _ = soundfile.read(song, dtype="float32")
    first = START - 4 * RATE - 2_000  # four seconds before the take; the song begins at frame 2000
    assert len(audio) == FRAMES + 8 * RATE
    assert np.array_equal(audio[: 4 * RATE], own[first : first + 4 * RATE])
    assert np.array_equal(audio[4 * RATE : 4 * RATE + FRAMES], soundfile.read(take.file, dtype="float32")[0])
    after = START + FRAMES - 2_000
    assert np.array_equal(audio[4 * RATE + FRAMES :], own[after : after + 4 * RATE])


def test_every_view_of_a_take_covers_the_same_time_so_that_a_player_can_change_over(tmp_path: Path) -> None:
    job, take, _ = made(tmp_path)
    spans = set()
    for view in View:
        with Stretch(job, take, view) as stretch:
            spans.add((stretch.span, stretch.rate, stretch.channels, wav_bytes(stretch)))
    assert len(spans) == 1
    alone = whole(job, take, View.ALONE)
    assert not alone[: 4 * RATE].any()
    assert alone[4 * RATE : 4 * RATE + FRAMES].any()


def test_a_stem_that_is_added_sounds_on_top_of_the_song(tmp_path: Path) -> None:
    job, take, _ = made(tmp_path, verb=Verb.COMPLETE)
    together = whole(job, take, View.SONG)
    assert np.allclose(together, whole(job, take, View.ORIGINAL) + whole(job, take, View.ALONE), atol=1e-7)


def test_a_region_past_the_songs_end_is_followed_by_nothing(tmp_path: Path) -> None:
    job, take, _ = made(tmp_path, song_start_s=-8.0)  # the song ends at 4 s, before the take
    with Stretch(job, take, View.SONG) as stretch:
        assert stretch.span.end_s == pytest.approx(START_S + 1.5)
        assert stretch.span.start_s == pytest.approx(START_S - 4)


def test_without_its_song_a_take_is_played_alone(tmp_path: Path) -> None:
    job, take, song = made(tmp_path)
    song.unlink()
    with Stretch(job, take, View.SONG) as stretch:
        assert not stretch.has_song
        assert stretch.frames == FRAMES
    Path(take.file).unlink()
    with pytest.raises(SourceUnreadable, match="moved or deleted"), Stretch(job, take, View.SONG):
        pass


@pytest.mark.parametrize(("song_rate", "channels"), [(11_025, 2), (44_100, 1), (7_919, 2)])
def test_a_song_of_another_rate_is_read_in_pieces_that_fit_together(
    tmp_path: Path, song_rate: int, channels: int
) -> None:
    job, take, _ = made(tmp_path, song_rate=song_rate, channels=channels)
    with Stretch(job, take, View.ORIGINAL) as stretch:
        at_once = stretch.read(0, stretch.frames)
        pieces = np.concatenate([stretch.read(at, at + 1_000) for at in range(0, stretch.frames, 1_000)])
        first = stretch.first
    assert np.abs(pieces - at_once).max() < 1e-4
    expected = tones(len(at_once), RATE, start=first - 2_000).T[:, :1] if channels == 1 else None
    if expected is not None:  # the same chord at the new rate, in phase: nothing is shifted
        assert np.abs(at_once[1_000:-1_000, :1] - expected[1_000:-1_000]).max() < 5e-3


@settings(max_examples=40, deadline=None)
@given(cut=st.tuples(st.integers(0, 500_000), st.integers(0, 500_000)).map(sorted))
def test_any_part_of_the_wav_file_is_that_part(tmp_path_factory: pytest.TempPathFactory, cut: list[int]) -> None:
    job, take, _ = _once(tmp_path_factory)
    with Stretch(job, take, View.SONG) as stretch:
        size = wav_bytes(stretch)
        everything = wav_part(stretch, 0, size)
        start, stop = (min(edge, size) for edge in cut)
        assert wav_part(stretch, start, stop) == everything[start:stop]


_MADE: list[tuple[Job, Take, Path]] = []


def _once(factory: pytest.TempPathFactory) -> tuple[Job, Take, Path]:
    if not _MADE:
        _MADE.append(made(factory.mktemp("made")))
    return _MADE[0]


def test_the_wav_file_holds_the_samples_to_24_bits(tmp_path: Path) -> None:
    job, take, _ = made(tmp_path)
    with Stretch(job, take, View.SONG) as stretch:
        audio, rate = soundfile.read(io.BytesIO(wav_part(stretch, 0, wav_bytes(stretch))), dtype="float64")
    assert rate == RATE
    assert np.abs(audio - np.clip(whole(job, take, View.SONG), -1, 1)).max() <= 2**-23


@pytest.mark.parametrize("columns", [1, 7, 1_200, 44_001])
def test_an_envelope_is_the_least_and_greatest_sample_of_every_column(tmp_path: Path, columns: int) -> None:
    job, take, _ = made(tmp_path)
    audio = whole(job, take, View.SONG)
    with Stretch(job, take, View.SONG) as stretch:
        drawn = envelope(stretch, columns)
    edges = np.arange(columns + 1) * len(audio) // columns
    for low, high, first, last in zip(drawn.low, drawn.high, edges[:-1], edges[1:], strict=True):
        piece = np.clip(audio[first:last], -1, 1)
        assert low == round(1000 * float(piece.min()))
        assert high == round(1000 * float(piece.max()))
