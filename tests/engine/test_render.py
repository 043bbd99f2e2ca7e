"""engine/render.py: a job from request to exact files, with real files, the real report and a small real engine."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engine.audio import content_hash, write_wav
from engine.render import _ranked, library_versions, render
from engine.wire import LongStep
from protocol.errors import (
    Cancelled,
    DiskFull,
    EngineCannot,
    EngineError,
    MissingContext,
    RegionOutside,
    SourceDamaged,
    SourceMissing,
    SourceSilent,
    SourceUnreadable,
)
from protocol.job import JobRequest, Progress, ProjectRef, RenderedTake, SourceRef
from protocol.music import Region, TempoMap
from protocol.task import Task
from protocol.vocabulary import TrackClass, Verb
from tests.support.audio import ChoirEngine, NoiseEngine, noise, save, tones

RATE = 48_000


class Desk:
    """A project folder with a song, and what is needed to render from it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.engine: Any = NoiseEngine()
        self.progress: list[Progress] = []
        self.cancelled: Callable[[], bool] = lambda: False
        self.source: SourceRef | None = None
        self.rate: int | None = RATE

    def song(self, audio: Any, rate: int = RATE, name: str = "song.wav", start_s: float = 0.0, **how: Any) -> Path:
        path = save(self.folder / name, audio, rate, **how)
        self.source = SourceRef(file=str(path), start_s=start_s)
        return path

    def request(
        self, verb: Verb, *spans: tuple[float, float], tracks: tuple[TrackClass, ...] = (), **task: Any
    ) -> JobRequest:
        return JobRequest(
            verb=verb,
            task=Task(**{"seed": 7, **task}),
            engine="noise",
            project=ProjectRef(folder=str(self.folder), media_folder=str(self.folder), sample_rate=self.rate),
            source=self.source,
            tempo_map=TempoMap.constant(120.0),
            regions=tuple(Region(*span) for span in spans),
            tracks=tracks,
        )

    def render(self, request: JobRequest, spool: str = "spool") -> list[RenderedTake]:
        spool_dir = self.folder / spool
        spool_dir.mkdir(exist_ok=True)
        self.progress.clear()
        return render(
            request, self.engine, spool_dir, self.folder / "cache", self.progress.append, lambda: self.cancelled()
        )

    def repaint(self, start_s: float, end_s: float, **task: Any) -> RenderedTake:
        (take,) = self.render(self.request(Verb.REPAINT, (start_s, end_s), **task))
        return take


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.song(tones(6 * RATE, RATE) + noise(6 * RATE, level=0.01), subtype="FLOAT")
    return desk


def read(take: RenderedTake) -> np.ndarray[Any, Any]:
    return soundfile.read(take.file, dtype="float32", always_2d=True)[0].T


def project_frames(take: RenderedTake, start_s: float, end_s: float) -> None:
    """Promise 1, for the numbers in the record and for the file itself."""
    first, after = round(start_s * take.sample_rate), round(end_s * take.sample_rate)
    assert (take.start_frame, take.frames) == (first, after - first)
    info = soundfile.info(take.file)
    assert (info.frames, info.samplerate, info.channels) == (take.frames, take.sample_rate, take.channels)


# --- exactness --------------------------------------------------------------------------------------------------------
def test_a_repaint_is_exactly_the_region_and_meets_the_song_bit_for_bit(desk: Desk) -> None:
    take = desk.repaint(2.000013, 3.333337)
    project_frames(take, 2.000013, 3.333337)
    song = soundfile.read(desk.folder / "song.wav", dtype="float32", always_2d=True)[0].T
    audio = read(take)
    assert audio[:, 0].tobytes() == song[:, take.start_frame].tobytes()
    assert audio[:, -1].tobytes() == song[:, take.start_frame + take.frames - 1].tobytes()
    assert not np.array_equal(audio, song[:, take.start_frame : take.start_frame + take.frames])
    assert take.source_sha256 == content_hash(desk.folder / "song.wav", desk.folder / "cache")


@pytest.mark.parametrize("variation", [1, 3, 4])
def test_one_variation_alone_is_bit_for_bit_the_one_among_four(desk: Desk, variation: int) -> None:
    four = desk.render(desk.request(Verb.REPAINT, (2.0, 3.0), number_results=4))
    assert [(take.variation, take.seed) for take in four] == [(1, 7), (2, 8), (3, 9), (4, 10)]
    alone = desk.render(desk.request(Verb.REPAINT, (2.0, 3.0), seed=6 + variation), "alone")
    assert Path(alone[0].file).read_bytes() == Path(four[variation - 1].file).read_bytes()
    assert len({Path(take.file).read_bytes() for take in four}) == 4


def test_one_region_alone_is_bit_for_bit_the_one_among_three(desk: Desk) -> None:
    spans = [(1.0, 1.5), (2.5, 3.0), (4.0, 5.0)]
    three = desk.render(desk.request(Verb.REPAINT, *spans))
    assert [take.region for take in three] == [0, 1, 2]
    alone = desk.render(desk.request(Verb.REPAINT, spans[1]), "alone")
    assert Path(alone[0].file).read_bytes() == Path(three[1].file).read_bytes()


@pytest.mark.parametrize(
    ("name", "rate", "channels", "how"),
    [
        ("mono.wav", 48_000, 1, {}),
        ("surround.wav", 48_000, 6, {"subtype": "FLOAT"}),
        ("cd.wav", 44_100, 2, {}),
        ("high.wav", 96_000, 2, {"subtype": "PCM_24"}),
        ("song.flac", 44_100, 2, {}),
        ("song.ogg", 44_100, 2, {}),
        ("song.mp3", 48_000, 1, {}),
        ("song.aiff", 48_000, 2, {"subtype": "PCM_24"}),
        ("Gesänge ü/Lied ß.wav", 48_000, 2, {}),
    ],
)
@pytest.mark.parametrize("project_rate", [48_000, 44_100, None])
def test_every_kind_of_file_gives_exact_takes_at_the_projects_rate(
    desk: Desk, name: str, rate: int, channels: int, how: dict[str, str], project_rate: int | None
) -> None:
    desk.song(tones(3 * rate, rate, channels, first_hz=110.0), rate, name, **how)
    desk.rate = project_rate
    take = desk.repaint(1.0, 1.777)
    assert take.sample_rate == (project_rate or rate)
    assert take.channels == channels
    project_frames(take, 1.0, 1.777)


@pytest.mark.parametrize("span", [(0.0, 1.0), (5.0, 6.0), (0.0, 6.0)])
def test_a_region_at_the_very_edge_of_the_file_keeps_its_first_or_last_sample(
    desk: Desk, span: tuple[float, float]
) -> None:
    take = desk.repaint(*span)
    project_frames(take, *span)
    song = soundfile.read(desk.folder / "song.wav", dtype="float32", always_2d=True)[0].T
    assert read(take)[:, 0].tobytes() == song[:, take.start_frame].tobytes()
    assert read(take)[:, -1].tobytes() == song[:, take.start_frame + take.frames - 1].tobytes()


def test_a_source_that_starts_between_two_samples_is_placed_on_the_nearest(desk: Desk) -> None:
    start_s = 10.0 + 0.4 / RATE
    desk.song(tones(2 * RATE, RATE), subtype="FLOAT", start_s=start_s)
    take = desk.repaint(10.5, 11.0)
    project_frames(take, 10.5, 11.0)
    song = tones(2 * RATE, RATE)
    assert read(take)[:, 0].tobytes() == song[:, RATE // 2].tobytes()
    assert desk.engine.requests[-1].time_of(0) == 10.0


@pytest.mark.parametrize("fraction", [0.1, 0.4, 0.5, 0.6, 0.9])
def test_a_whole_item_between_samples_is_inside_itself(desk: Desk, fraction: float) -> None:
    start_s = (1000 + fraction) / RATE
    for rate in (RATE, 44_100):
        desk.song(tones(RATE + 1, rate), rate, subtype="FLOAT", start_s=start_s)
        end_s = start_s + (RATE + 1) / rate
        project_frames(desk.repaint(start_s, end_s), start_s, end_s)


def test_a_source_ten_hours_into_the_project_is_as_exact(desk: Desk) -> None:
    song = tones(6 * RATE, RATE) + noise(6 * RATE, level=0.01)
    desk.song(song, subtype="FLOAT", start_s=35_990.0)
    take = desk.repaint(35_992.000021, 35_993.7)
    project_frames(take, 35_992.000021, 35_993.7)
    first = round(35_992.000021 * RATE) - 35_990 * RATE
    assert read(take)[:, 0].tobytes() == song[:, first].tobytes()


def test_an_extension_and_a_prepended_part_go_past_the_ends_by_exactly_what_was_asked(desk: Desk) -> None:
    desk.song(tones(2 * RATE, RATE), subtype="FLOAT", start_s=4.0)
    for verb, span in ((Verb.EXTEND, (6.0, 7.5)), (Verb.EXTEND, (5.5, 7.0)), (Verb.PREPEND, (2.5, 4.0))):
        (take,) = desk.render(desk.request(verb, span))
        project_frames(take, *span)
    (before_zero,) = desk.render(desk.request(Verb.PREPEND, (-1.5, 4.0)))
    project_frames(before_zero, -1.5, 4.0)


def test_24_bit_stems_keep_the_bits_of_a_24_bit_song(desk: Desk) -> None:
    path = desk.song(tones(6 * RATE, RATE), subtype="PCM_24")
    take = desk.repaint(2.0, 3.0, stem_format="wav24")
    assert soundfile.info(take.file).subtype == "PCM_24"
    song = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    assert read(take)[:, 0].tobytes() == song[:, 2 * RATE].tobytes()
    assert read(take)[:, -1].tobytes() == song[:, 3 * RATE - 1].tobytes()


def test_stems_are_cut_exactly_and_neither_faded_nor_turned_up(desk: Desk) -> None:
    tracks = (TrackClass.DRUMS, TrackClass.BASS)
    takes = desk.render(desk.request(Verb.LEGO, (2.0, 3.0), tracks=tracks, number_results=2))
    assert [(take.variation, take.track) for take in takes] == [(1, "drums"), (1, "bass"), (2, "drums"), (2, "bass")]
    assert len({take.file for take in takes}) == 4
    (raw, *_) = desk.engine.generate(desk.engine.requests[-1], lambda _: None, lambda: False)
    assert read(takes[0]).tobytes() == raw.audio[:, 2400 : 2400 + RATE].tobytes()
    assert "splice" not in takes[0].engine_notes


def test_music_from_nothing_needs_no_source(desk: Desk) -> None:
    desk.source, desk.rate = None, 44_100
    (take,) = desk.render(desk.request(Verb.GENERATE, (3.0, 4.5)))
    project_frames(take, 3.0, 4.5)
    assert take.source_sha256 is None
    desk.rate = None
    assert desk.render(desk.request(Verb.GENERATE, (3.0, 4.5)))[0].sample_rate == 48_000


# --- the record -------------------------------------------------------------------------------------------------------
def test_a_take_carries_what_its_recipe_needs(desk: Desk) -> None:
    take = desk.repaint(2.0, 3.0)
    assert (take.engine, take.engine_version, take.seed) == ("noise", "1.0", 7)
    assert set(take.versions) == {"python", "numpy", "scipy", "librosa", "soundfile", "soxr", "libsndfile"}
    assert take.engine_notes["splice"]["joins"] == ["original", "original"]
    assert take.engine_notes["level"] > 0
    assert take.measures["length"]["exact"]
    assert RenderedTake.model_validate_json(take.model_dump_json()) == take


def test_takes_come_ranked_by_their_score_and_ties_by_their_number(desk: Desk) -> None:
    takes = desk.render(desk.request(Verb.REPAINT, (2.0, 3.0), number_results=4))
    best_first = sorted(takes, key=lambda take: take.rank)
    assert [take.rank for take in best_first] == [1, 2, 3, 4]
    assert best_first == sorted(takes, key=lambda take: (-take.score, take.variation))
    scored = [take.model_copy(update={"score": score}) for take, score in zip(takes, (5, 9, 5, 7), strict=True)]
    assert [take.rank for take in _ranked(scored)] == [3, 1, 4, 2]
    apart = [take.model_copy(update={"region": number % 2}) for number, take in enumerate(scored)]
    assert [take.rank for take in _ranked(apart)] == [1, 1, 2, 2]


def test_progress_only_rises_from_reading_through_the_engine_to_the_end(desk: Desk) -> None:
    desk.render(desk.request(Verb.REPAINT, (1.0, 2.0), (3.0, 4.0), number_results=2))
    fractions = [step.fraction for step in desk.progress]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    by_engine = [step for step in desk.progress if step.stage == "making noise"]
    assert len(by_engine) == 16
    assert by_engine[0].fraction == pytest.approx(0.05)
    assert by_engine[0].seconds_left == pytest.approx(20.0)
    assert by_engine[8].seconds_left == pytest.approx(10.0)
    desk.repaint(1.0, 2.0)
    assert max(step.fraction for step in desk.progress if step.stage == "making noise") < 0.90


def test_what_an_engine_tells_the_watchdog_reaches_it(desk: Desk) -> None:
    class Slow(NoiseEngine):
        def generate(self, request, progress, cancelled):  # type: ignore[no-untyped-def]
            progress(LongStep(fraction=0.1, stage="loading the model", allowance_s=300.0))
            return super().generate(request, progress, cancelled)

    desk.engine = Slow()
    desk.repaint(2.0, 3.0)
    (step,) = [step for step in desk.progress if isinstance(step, LongStep)]
    assert step.allowance_s == 300.0
    assert step.fraction == pytest.approx(0.05 + 0.085)


def test_versions_of_the_engines_own_libraries_go_into_the_recipe(desk: Desk) -> None:
    class Heavy(NoiseEngine):
        def capabilities(self):  # type: ignore[no-untyped-def]
            return replace(super().capabilities(), libraries=("pytest", "no-such-library"))

    desk.engine = Heavy()
    versions = desk.repaint(2.0, 3.0).versions
    assert versions["pytest"] == pytest.__version__
    assert versions == library_versions(("pytest", "no-such-library"))
    assert set(versions) - set(library_versions()) == {"pytest"}


@pytest.mark.parametrize("stem_format", ["wav", "wav24"])
def test_an_engine_that_wants_to_know_hears_exactly_what_the_file_holds(desk: Desk, stem_format: str) -> None:
    heard: list[Any] = []

    class Curious(NoiseEngine):
        def generate(self, request, progress, cancelled):  # type: ignore[no-untyped-def]
            takes = super().generate(request, progress, cancelled)
            return [replace(take, on_written=heard.append) for take in takes]

    desk.engine = Curious()
    takes = desk.render(desk.request(Verb.REPAINT, (2.0, 3.0), number_results=2, stem_format=stem_format))
    assert [audio.tobytes() for audio in heard] == [read(take).tobytes() for take in takes]
    assert {(audio.dtype, audio.shape) for audio in heard} == {(np.dtype(np.float32), (2, RATE))}


def test_an_engine_that_fails_to_use_what_was_written_costs_nothing_but_a_line_in_the_log(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(audio: Any) -> None:
        raise ZeroDivisionError

    class Clumsy(NoiseEngine):
        def generate(self, request, progress, cancelled):  # type: ignore[no-untyped-def]
            return [replace(take, on_written=fail) for take in super().generate(request, progress, cancelled)]

    desk.engine = Clumsy()
    take = desk.repaint(2.0, 3.0)
    project_frames(take, 2.0, 3.0)
    assert "could not use what was written to region-1_variation-1.wav" in caplog.text


# --- several regions at once, and a reference ------------------------------------------------------------------------
SPANS = [(1.0, 1.5), (2.5, 3.0), (4.0, 5.0)]


def test_an_engine_that_makes_regions_together_is_asked_once_for_all(desk: Desk) -> None:
    desk.engine = ChoirEngine()
    takes = desk.render(desk.request(Verb.REPAINT, *SPANS, number_results=2))
    assert desk.engine.together == [3]
    assert [(take.region, take.variation) for take in takes] == [(n, v) for n in range(3) for v in (1, 2)]
    for take in takes:
        project_frames(take, *SPANS[take.region])
        assert take.engine_notes["regions_together"] == [0, 1, 2]
    fractions = [step.fraction for step in desk.progress]
    assert fractions == sorted(fractions)
    assert [step.seconds_left for step in desk.progress if step.stage == "making"] == [3.0, 2.0, 1.0]
    assert max(step.fraction for step in desk.progress if step.stage == "making") < 0.65
    assert fractions[-1] == 1.0
    assert len(set(fractions)) > 8


def test_a_single_region_is_made_the_ordinary_way(desk: Desk) -> None:
    desk.engine = ChoirEngine()
    take = desk.repaint(2.0, 3.0)
    assert desk.engine.together == []
    assert "regions_together" not in take.engine_notes


@pytest.mark.parametrize("wrong", ["too few", "another seed"])
def test_an_engine_that_breaks_its_word_about_regions_is_found_out(desk: Desk, wrong: str) -> None:
    class Careless(ChoirEngine):
        def generate_regions(self, requests, progress, cancelled):  # type: ignore[no-untyped-def]
            made = super().generate_regions(requests, progress, cancelled)
            return made[:-1] if wrong == "too few" else [*made[:-1], []]

    desk.engine = Careless()
    with pytest.raises(EngineError, match=r"for 2 regions where 3|for the seeds \[\] where \[7\]"):
        desk.render(desk.request(Verb.REPAINT, *SPANS))
    assert list((desk.folder / "spool").iterdir()) == []


@pytest.mark.parametrize("verb", [Verb.REPAINT, Verb.GENERATE])
def test_a_reference_is_given_to_the_engine_at_48_khz_and_named_in_the_recipe(desk: Desk, verb: Verb) -> None:
    path = save(desk.folder / "voice.wav", tones(2 * 44_100, 44_100), 44_100)
    desk.rate = 96_000
    request = desk.request(verb, (2.0, 3.0)).model_copy(update={"reference": SourceRef(file=str(path))})
    (take,) = desk.render(request)
    reference = desk.engine.requests[-1].reference
    assert reference is not None
    assert (reference.rate, reference.channels, reference.frames) == (48_000, 2, 96_000)
    assert take.reference_sha256 == reference.sha256 == content_hash(path, desk.folder / "cache")
    assert take.sample_rate == 96_000
    fractions = [step.fraction for step in desk.progress]
    assert fractions == sorted(fractions)
    (without,) = desk.render(desk.request(verb, (2.0, 3.0)), "without")
    assert without.reference_sha256 is None
    assert desk.engine.requests[-1].reference is None


def test_a_reference_that_is_gone_is_refused_before_any_work(desk: Desk) -> None:
    gone = SourceRef(file=str(desk.folder / "gone.wav"))
    request = desk.request(Verb.REPAINT, (2.0, 3.0)).model_copy(update={"reference": gone})
    refused(desk, SourceMissing, "gone", request)


# --- refusals ---------------------------------------------------------------------------------------------------------
def refused(desk: Desk, error: type[Exception], match: str, request: JobRequest) -> None:
    with pytest.raises(error, match=match):
        desk.render(request)
    assert not desk.engine.requests
    assert list((desk.folder / "spool").iterdir()) == []


def test_a_verb_the_engine_lacks_is_refused_with_its_own_reason_before_any_work(desk: Desk) -> None:
    desk.source = SourceRef(file=str(desk.folder / "nowhere.wav"))
    refused(desk, EngineCannot, "no voice of its own", desk.request(Verb.COVER, (1.0, 2.0)))
    refused(desk, EngineCannot, "noise engine cannot complete; it offers", desk.request(Verb.COMPLETE, (1.0, 2.0)))
    strings = desk.request(Verb.LEGO, (1.0, 2.0), tracks=(TrackClass.STRINGS, TrackClass.DRUMS))
    refused(desk, EngineCannot, "lego offers no strings. It offers bass, drums", strings)


def test_what_the_daw_has_not_told_is_asked_for(desk: Desk) -> None:
    refused(desk, MissingContext, "no region", desk.request(Verb.REPAINT))
    desk.source = None
    refused(desk, MissingContext, "/stembridge/source", desk.request(Verb.REPAINT, (1.0, 2.0)))


def test_region_outside_the_file_is_refused_before_the_engine_starts_on_any_other(desk: Desk) -> None:
    request = desk.request(Verb.REPAINT, (1.0, 2.0), (5.0, 7.0))
    refused(desk, RegionOutside, r"5\.000 s to 7\.000 s .* 0\.000 s to 6\.000 s", request)


def test_a_missing_file_is_refused(desk: Desk) -> None:
    desk.source = SourceRef(file=str(desk.folder / "nowhere.wav"))
    refused(desk, SourceMissing, "nowhere", desk.request(Verb.REPAINT, (1.0, 2.0)))


def test_a_truncated_wav_whose_header_claims_more_is_refused(desk: Desk) -> None:
    path = desk.folder / "song.wav"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    refused(desk, SourceUnreadable, r"6\.00 s, but it ends after 3\.00 s", desk.request(Verb.REPAINT, (1.0, 2.0)))


def test_nan_in_the_surroundings_is_refused_with_its_time(desk: Desk) -> None:
    audio = tones(6 * RATE, RATE)
    audio[0, RATE] = np.nan
    desk.song(audio, subtype="FLOAT", start_s=100.0)
    refused(desk, SourceDamaged, r"at 1\.000 s of the file", desk.request(Verb.REPAINT, (102.0, 103.0)))


def test_digital_silence_is_refused(desk: Desk) -> None:
    desk.song(np.zeros((2, 6 * RATE), dtype=np.float32))
    refused(desk, SourceSilent, r"0\.000 s to 1\.000 s and 2\.000 s", desk.request(Verb.REPAINT, (1.0, 2.0)))


@pytest.mark.parametrize("wrong", ["none", "another seed", "another order"])
def test_an_engine_that_breaks_its_word_is_found_out(desk: Desk, wrong: str) -> None:
    class Careless(NoiseEngine):
        def generate(self, request, progress, cancelled):  # type: ignore[no-untyped-def]
            takes = super().generate(request, progress, cancelled)
            return {"none": [], "another seed": takes[:1], "another order": takes[::-1]}[wrong]

    desk.engine = Careless()
    with pytest.raises(EngineError, match=r"seeds .* where \[7, 8\]"):
        desk.render(desk.request(Verb.REPAINT, (1.0, 2.0), number_results=2))


# --- hard times -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("polls", [0, 1, 2, 4, 7, 9, 10])
def test_cancelling_at_any_poll_ends_the_job_and_leaves_only_whole_files(desk: Desk, polls: int) -> None:
    left = iter([False] * polls)
    desk.cancelled = lambda: next(left, True)
    with pytest.raises(Cancelled):
        desk.render(desk.request(Verb.REPAINT, (1.0, 2.0), number_results=2))
    for path in (desk.folder / "spool").iterdir():
        assert soundfile.info(path).frames == RATE


def test_cancelling_after_the_engine_ends_between_two_takes(desk: Desk) -> None:
    desk.cancelled = lambda: any((desk.folder / "spool").glob("*_variation-2.wav"))
    with pytest.raises(Cancelled):
        desk.render(desk.request(Verb.REPAINT, (1.0, 2.0), number_results=4))
    assert len(list((desk.folder / "spool").iterdir())) == 2


def test_a_full_disk_is_named_and_leaves_nothing_half_written(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.io import wavfile

    def full(file: Any, rate: int, data: Any) -> None:
        file.write(b"RIFF")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(wavfile, "write", full)
    with pytest.raises(DiskFull, match="spool is full"):
        desk.repaint(1.0, 2.0)
    assert list((desk.folder / "spool").iterdir()) == []


def test_the_spool_file_of_a_retry_takes_the_place_of_the_first(desk: Desk) -> None:
    (desk.folder / "spool").mkdir()
    write_wav(desk.folder / "spool" / "region-1_variation-1.wav", noise(10), RATE, "FLOAT")
    take = desk.repaint(1.0, 2.0)
    assert [Path(take.file)] == list((desk.folder / "spool").iterdir())
    assert soundfile.info(take.file).frames == RATE
